"""Training on a few annotated slices: start reading at `loop.train`.

The loop asks a `TrainingRound` (`round`: what is learned from, held back and kept), whose
`WeightUpdater` takes a step on a batch of the `TrainingSet`.
"""

from napari_unet.learning.runtime import load_torch

load_torch()
