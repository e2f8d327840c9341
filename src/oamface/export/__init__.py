"""From a training checkpoint to a model file: the one place that knows both halves."""
