from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from napari_unet.learning.doubt import entropy, widened


def test_a_certain_pixel_is_in_no_doubt_and_an_open_one_in_most():
    probabilities = torch.tensor([[1.0, 0.25], [0.0, 0.25], [0.0, 0.25], [0.0, 0.25]])
    certain, open_ = entropy(probabilities[None, :, None])[0, 0]
    assert certain == 0
    assert open_ == pytest.approx(np.log(4), rel=1e-6)


@pytest.mark.parametrize("shape", [(40, 50), (3, 60), (2, 1)])
def test_a_mask_grows_by_a_square_whatever_the_size_of_the_slice(shape):
    mask = np.random.default_rng(0).random((2, *shape)) > 0.98
    mask[0, 0, 0] = mask[1, -1, -1] = True
    expected = [ndimage.binary_dilation(each, np.ones((7, 7))) for each in mask]
    before = mask.copy()
    assert np.array_equal(widened(torch.from_numpy(mask), 3).numpy(), expected)
    assert np.array_equal(mask, before)
