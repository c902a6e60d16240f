"""What all tests share."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    EnhancedMRImageStorage,
    ExplicitVRLittleEndian,
    MRImageStorage,
    generate_uid,
)

from napari_unet.errors import VolumeError
from napari_unet.imaging.loading import load_volume
from napari_unet.learning import presets
from napari_unet.learning.config import AUTO, ModelConfig

if "PYTEST_XDIST_WORKER" in os.environ:
    # Tests run side by side: each process computes with one thread, whatever else is free.
    os.environ["OMP_NUM_THREADS"] = "1"  # read when torch is loaded, later
    os.sched_getaffinity = lambda pid: {0}


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder with real scans, which may not be distributed with the code."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("NAPARI_UNET_DATA", beside))
    if not folder.is_dir():
        pytest.skip(f"no real scans: set NAPARI_UNET_DATA to their folder (looked in {folder})")
    return folder


@pytest.fixture
def narrow_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Train a small network where none is asked for: tests learn balls, and wait for it."""
    chosen, small = presets.choose_preset, ModelConfig(width=8, levels=4)

    def choose(name: str, device_type: str) -> ModelConfig:
        return small if name == AUTO else chosen(name, device_type)

    monkeypatch.setattr(presets, "choose_preset", choose)


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


class DicomWriter:
    """Writes series of single images, or enhanced ones, and knows where their voxels are."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.study = generate_uid()
        self.frame_of_reference = generate_uid()

    @staticmethod
    def tilted(degrees=(17.0, -9.0), pixel=(0.8, 1.2), step=5.0) -> np.ndarray:
        """Affine (column, row, slice) to LPS mm; `pixel` is (row, column) spacing."""
        a, b = np.radians(degrees)
        turn = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
        turn = turn @ [[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]]
        affine = np.eye(4)
        affine[:3, :3] = turn @ np.diag([pixel[1], pixel[0], step])
        affine[:3, 3] = [-31.0, 12.5, 7.25]
        return affine

    def header(self, series: str, description: str, kind=MRImageStorage) -> Dataset:
        ds = Dataset()
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.file_meta.MediaStorageSOPClassUID = kind
        ds.SOPClassUID = kind
        ds.StudyInstanceUID, ds.SeriesInstanceUID = self.study, series
        ds.FrameOfReferenceUID = self.frame_of_reference
        ds.Modality, ds.SeriesDescription, ds.SeriesNumber = "MR", description, 4
        ds.PatientName, ds.PatientID = "Müller^Jörg", "7"
        ds.SpecificCharacterSet = "ISO_IR 100"
        ds.ImageType = ["ORIGINAL", "PRIMARY", "M"]
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1
        return ds

    def write(
        self,
        data: np.ndarray,
        affine: np.ndarray | None = None,
        *,
        ks: list[int] | None = None,
        names: list[str] | None = None,
        prefix: str = "im",
        description: str = "T1 axial",
        series: str | None = None,
        edit: Callable[[Dataset, int], None] = lambda ds, k: None,
    ) -> list[Path]:
        """Write int16 `data` (slice, row, column), a file each for the slices `ks`."""
        affine = self.tilted() if affine is None else affine
        series = series or generate_uid()
        lengths = np.linalg.norm(affine[:3, :3], axis=0)
        written = []
        for n, k in enumerate(range(len(data)) if ks is None else ks):
            ds = self.header(series, description)
            ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()
            ds.InstanceNumber = n + 1
            ds.ImagePositionPatient = [f"{v:.6f}" for v in affine[:3, 3] + k * affine[:3, 2]]
            directions = (affine[:3, :2] / lengths[:2]).T.ravel()
            ds.ImageOrientationPatient = [f"{v:.9f}" for v in directions]
            ds.PixelSpacing = [lengths[1], lengths[0]]
            ds.SliceThickness = 3.0
            ds.Rows, ds.Columns = data.shape[1:]
            ds.PixelData = data[k].astype("<i2").tobytes()
            edit(ds, k)
            path = self.folder / (names[n] if names else f"{prefix}{n:03}.dcm")
            ds.save_as(path, enforce_file_format=True)
            written.append(path)
        return written

    def write_enhanced(
        self, data: np.ndarray, affine: np.ndarray, ks: list[int], marks=None
    ) -> Path:
        """Write one multi-frame file with slices `ks` of `data`, in this order."""
        ds = self.header(generate_uid(), "enhanced", EnhancedMRImageStorage)
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        ds.Rows, ds.Columns = data.shape[1:]
        ds.NumberOfFrames = len(ks)
        lengths = np.linalg.norm(affine[:3, :3], axis=0)
        shared, measures, orientation, values = Dataset(), Dataset(), Dataset(), Dataset()
        measures.PixelSpacing = [lengths[1], lengths[0]]
        measures.SliceThickness = measures.SpacingBetweenSlices = lengths[2]
        directions = (affine[:3, :2] / lengths[:2]).T.ravel()
        orientation.ImageOrientationPatient = [f"{v:.9f}" for v in directions]
        values.RescaleSlope, values.RescaleIntercept, values.RescaleType = 2, -10, "US"
        shared.PixelMeasuresSequence = [measures]
        shared.PlaneOrientationSequence = [orientation]
        shared.PixelValueTransformationSequence = [values]
        ds.SharedFunctionalGroupsSequence = [shared]
        ds.PerFrameFunctionalGroupsSequence = []
        for n, k in enumerate(ks):
            own, position, content = Dataset(), Dataset(), Dataset()
            position.ImagePositionPatient = [f"{v:.6f}" for v in affine[:3, 3] + k * affine[:3, 2]]
            own.PlanePositionSequence = [position]
            if marks:
                content.TemporalPositionIndex = marks[n]
            own.FrameContentSequence = [content]
            ds.PerFrameFunctionalGroupsSequence.append(own)
        ds.PixelData = data[ks].astype("<i2").tobytes()
        path = self.folder / "enhanced.dcm"
        ds.save_as(path, enforce_file_format=True)
        return path


@pytest.fixture
def dicom(tmp_path) -> DicomWriter:
    folder = tmp_path / "dicom"
    folder.mkdir()
    return DicomWriter(folder)
