"""From a network to labels: tiles, memory, and what annotated slices add."""

from napari_unet.learning.runtime import load_torch

load_torch()
