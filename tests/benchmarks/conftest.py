"""What the tests of the benchmarks share."""

import numpy as np
import pytest

from benchmarks.common.cases import Case
from napari_unet.imaging.volume import Grid, Volume


@pytest.fixture(scope="module")
def cone() -> Case:
    """A structure that grows from slice to slice, and a small lesion, in a noisy head."""
    y, x = np.ogrid[:32, :32]
    truth = np.zeros((13, 32, 32), np.uint8)
    for z in range(2, 11):
        truth[z] = np.hypot(y - 15.5, x - 15.5) < z
    truth[1, 3, 3:5] = 1
    noise = np.random.default_rng(0).normal(100, 5, truth.shape)
    volume = Volume((noise + 60 * truth)[None].astype(np.float32), Grid.from_spacing(truth.shape))
    return Case("cone", "core", volume, truth, ("cone",))
