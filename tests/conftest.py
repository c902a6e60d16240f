"""What all tests share."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from napari_unet.errors import VolumeError
from napari_unet.imaging.loading import load_volume


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder with real scans, which may not be distributed with the code."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("NAPARI_UNET_DATA", beside))
    if not folder.is_dir():
        pytest.skip(f"no real scans: set NAPARI_UNET_DATA to their folder (looked in {folder})")
    return folder


MARKED = (1, 4, 2)
"""The voxel of `marked_voxels` that stands out, in file order."""


@pytest.fixture
def marked_voxels() -> NDArray[np.int16]:
    """Voxels (5, 6, 7) between 0 and 99, of which one is 1000."""
    voxels = np.random.default_rng(0).integers(0, 99, (5, 6, 7)).astype(np.int16)
    voxels[MARKED] = 1000
    return voxels


@pytest.fixture
def mark_at() -> Callable[..., NDArray[np.float64]]:
    """Give where (RAS mm) our reader puts the voxel that stands out."""

    def find(path: Path, **choices: object) -> NDArray[np.float64]:
        volume = load_volume(path, **choices)
        where = np.argwhere(volume.data[0] == 1000)
        assert len(where) == 1
        return (volume.grid.affine_zyx @ [*where[0], 1])[:3]

    return find


@pytest.fixture
def refusal() -> Callable[..., str]:
    """Give the one sentence or two with which a file is refused."""

    def refuse(path: Path, **choices: object) -> str:
        with pytest.raises(VolumeError) as caught:
            load_volume(path, **choices)
        message = str(caught.value)
        assert path.name in message
        assert "\n" not in message
        assert len(message) < 320
        return message

    return refuse


@pytest.fixture
def tilted() -> NDArray[np.float64]:
    """Affine of an oblique scan with LPS-like axes and thick slices, in mm."""
    a, b = np.radians([17.0, -9.0])
    turn = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    turn = turn @ [[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]]
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([-0.5, -0.5, 7.5])
    affine[:3, 3] = [76.9, 82.2, -12.5]
    return affine
