"""Evaluation: metrics with confidence intervals on faces that were never trained on, clean and occluded."""
