"""What all tests share."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder with real scans, which may not be distributed with the code."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("NAPARI_UNET_DATA", beside))
    if not folder.is_dir():
        pytest.skip(f"no real scans: set NAPARI_UNET_DATA to their folder (looked in {folder})")
    return folder
