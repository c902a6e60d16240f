"""Training on a few annotated slices; `train` is the loop, start reading there."""

from napari_unet.learning.runtime import load_torch

load_torch()
