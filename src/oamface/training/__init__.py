"""Training: a dataset, augmentation, losses, a learner and the loop around it. Needs the `train` extra."""
