"""What a model is worth: metrics with intervals, on faces that were never trained on, bare and covered."""
