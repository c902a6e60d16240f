"""Training on a few annotated slices: data, augmentation, loss, optimiser, choice of weights."""
