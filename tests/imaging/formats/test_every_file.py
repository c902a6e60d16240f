"""Every file that other packages test themselves with opens as it should, or says why not.

The table was written by looking at each file. A file that is in no row fails: look at what
happens to it, and write that down if it is right.
"""

import fnmatch
import shutil
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from napari_unet.errors import VolumeError
from napari_unet.imaging.formats.registry import open_scan
from napari_unet.imaging.loading import load_volume


@dataclass(frozen=True)
class Opens:
    """A scan of this shape (file order) and orientation; `note` is part of what is said."""

    shape: tuple[int, int, int]
    orientation: str
    volumes: int = 1
    note: str = ""
    is_mask: bool = False


@dataclass(frozen=True)
class Refused:
    """`says` is part of the sentence."""

    says: str


NO_IMAGE_NAME = Refused("is not named like an image that can be read")
PAR_REC = Refused("Philips PAR/REC file. Convert it to NIfTI (.nii.gz), for instance with dcm2niix")
AFNI = Refused("AFNI file. Convert it to NIfTI (.nii.gz), for instance with 3dAFNItoNIFTI")
MINC = Refused("MINC file. Convert it to NIfTI (.nii.gz), for instance with mnc2nii")
HALF = Refused("is half of a pair")
STREAMLINES = Refused("is a file of streamlines")
MOSAIC = Refused("is a Siemens mosaic")
COLOUR = Refused("is a colour image")
NOWHERE = Refused("does not say where it lies in the patient")
NO_IMAGE = Refused("holds no image")
INDEX = Refused("is the index of a disc")
REPORT = Refused("is a report, not a scan")
PLAN = Refused("is a radiotherapy plan, not a scan")
DOSE = Refused("is a radiotherapy dose, not a scan")
INCOMPLETE = Refused("is incomplete: its header announces 2048 bytes of pixels")
GAP = Refused("Slices of Routine Brain are missing")
SEVERAL = "DICOM series. Choose one by its name"

SERIES = Opens((256, 256, 20), "LPS", note="Its slices lie 6.958 to 7.071 mm apart")
CT5N = Opens((16, 16, 5), "LPS")


def slice_of(columns: int, rows: int, orientation: str, thickness: str) -> Opens:
    """One DICOM image alone."""
    note = f"It is a single slice; its thickness is taken as {thickness} mm"
    return Opens((columns, rows, 1), orientation, note=note)


MR_SMALL = slice_of(64, 64, "LPS", "0.8")

TABLE: dict[str, dict[str, Opens | Refused]] = {
    "io": {
        "dicom_series": SERIES,
        "dicom_series/brain_*.dcm": SERIES,
        "dicom_syntaxes": Refused(f"5 {SEVERAL}"),
        "dicom_syntaxes/deflated.dcm": NOWHERE,
        "dicom_syntaxes/explicit_big.dcm": slice_of(256, 256, "LPS", "5"),
        "dicom_syntaxes/implicit_little.dcm": slice_of(256, 256, "LPS", "6"),
        "dicom_syntaxes/jpeg_2000.dcm": Opens((512, 512, 1), "LPS", note="compressed with loss"),
        "dicom_syntaxes/jpeg_lossless_sel1.dcm": slice_of(512, 400, "LIP", "1"),
        "dicom_syntaxes/rle.dcm": slice_of(512, 512, "LPS", "5"),
        "oblique_t2s.nii.gz": Opens((320, 320, 11), "LAS"),
        "oblique_t2s_label.nii.gz": Opens((320, 320, 11), "LAS", is_mask=True),
        "rgba32.nii.gz": COLOUR,
        "series_qform_only.nii.gz": Opens((91, 109, 91), "RPI", volumes=10),
        "stat_map.nii.gz": Opens((64, 64, 21), "RAS"),
        "trailing_axis.nii.gz": Opens((161, 191, 151), "LPI"),
        "vector_3components.nii.gz": Opens((128, 128, 53), "LAS", volumes=3),  # says no intent
    },
    "nibabel": {
        "?.dcm": MOSAIC,
        "*.PAR": PAR_REC,
        "*.REC": PAR_REC,
        "*.HEAD": AFNI,
        "*.BRIK": AFNI,
        "*.BRIK.gz": AFNI,
        "*.mnc": MINC,
        "*.hdr": HALF,
        "*.trk": STREAMLINES,
        "*.tck": STREAMLINES,
        "anatomical.nii": Opens((33, 41, 25), "LAS"),
        "example4d.nii.gz": Opens((128, 96, 24), "LAS", volumes=2),
        "example_nifti2.nii.gz": Opens((32, 20, 12), "LAS", volumes=2),
        "functional.nii": Opens((17, 21, 3), "LAS", volumes=20),
        "reoriented_anat_moved.nii": Opens((21, 26, 22), "RAS"),
        "resampled_anat_moved.nii": Opens((17, 21, 3), "LAS", note="153 voxels are NaN"),
        "row_major.dconn.nii": Refused("is a Cifti2Image, not a NIfTI volume"),
        "standard.nii.gz": Opens((4, 5, 7), "RAS"),
        "test.mgz": Opens((3, 4, 5), "SAR", volumes=2),
        "tinypet.v": Refused("is an ECAT file"),
        "*.py": NO_IMAGE_NAME,
        "*.m": NO_IMAGE_NAME,
        "*.rst": NO_IMAGE_NAME,
        ".gitignore": NO_IMAGE_NAME,
    },
    "pydicom": {
        "test_files/693_J2K*.dcm": Opens((512, 512, 1), "LPS", note="compressed with loss"),
        "test_files/CT_small.dcm": slice_of(128, 128, "LPS", "5"),
        "test_files/ExplVR_BigEnd.dcm": COLOUR,
        "test_files/ExplVR_*NoMeta.dcm": PLAN,
        "test_files/GDCMJ2K_TextGBR.dcm": COLOUR,
        "test_files/J2K_pixelrep_mismatch.dcm": slice_of(512, 512, "LPS", "5"),
        "test_files/JP*.dcm": NOWHERE,
        "test_files/MR_small*.dcm": MR_SMALL,
        "test_files/MR_truncated.dcm": Refused("cannot be read as DICOM"),
        "test_files/SC_*.dcm": COLOUR,
        "test_files/UN_sequence.dcm": NO_IMAGE,
        "test_files/badVR.dcm": DOSE,
        "test_files/dicomdirtests/77654033/CR?/*": NOWHERE,
        "test_files/dicomdirtests/77654033/CT2": GAP,
        "test_files/dicomdirtests/77654033/CT2/*": GAP,
        "test_files/dicomdirtests/98892001/CT2N": Refused(f"2 {SEVERAL}"),
        "test_files/dicomdirtests/98892001/CT2N/6293": slice_of(16, 16, "AIL", "650.182"),
        "test_files/dicomdirtests/98892001/CT2N/6924": slice_of(16, 16, "LIP", "650.182"),
        "test_files/dicomdirtests/98892001/CT5N": CT5N,
        "test_files/dicomdirtests/98892001/CT5N/*": CT5N,
        "test_files/dicomdirtests/98892003/MR1": Refused(f"3 {SEVERAL}"),
        "test_files/dicomdirtests/98892003/MR1/*": slice_of(16, 16, "PIR", "10"),
        "test_files/dicomdirtests/98892003/MR2": Refused(f"7 {SEVERAL}"),
        "test_files/dicomdirtests/98892003/MR2/4950": slice_of(16, 16, "LIP", "10"),
        "test_files/dicomdirtests/98892003/MR2/6935": slice_of(16, 16, "LIP", "10"),
        "test_files/dicomdirtests/98892003/MR2/4981": slice_of(16, 16, "LPS", "10"),
        "test_files/dicomdirtests/98892003/MR2/6273": slice_of(16, 16, "LPS", "10"),
        "test_files/dicomdirtests/98892003/MR2/*": slice_of(16, 16, "PIR", "10"),
        "test_files/dicomdirtests/98892003/MR700": Refused(f"7 {SEVERAL}"),
        "test_files/dicomdirtests/98892003/MR700/45*": slice_of(16, 16, "LIP", "1.2"),
        "test_files/dicomdirtests/98892003/MR700/*": slice_of(16, 16, "PIR", "1.2"),
        "test_files/dicomdirtests/DICOMDIR": Refused(f"21 {SEVERAL}"),
        "test_files/dicomdirtests/*DICOMDIR*": INDEX,
        "test_files/dicomdirtests/TINY_ALPHA/PT*/*/*/*": NO_IMAGE,
        "test_files/dicomdirtests/TINY_ALPHA/README": NO_IMAGE_NAME,
        "test_files/*/README.txt": NO_IMAGE_NAME,
        "test_files/empty_charset_LEI.dcm": NO_IMAGE,
        "test_files/examples_overlay.dcm": slice_of(484, 300, "LPS", "4"),
        "test_files/examples_*.dcm": COLOUR,
        "test_files/image_dfl.dcm": NOWHERE,
        "test_files/liver*_1frame.dcm": Refused("announces 1 frames but describes 3"),
        "test_files/meta_missing_tsyntax.dcm": NO_IMAGE,
        "test_files/nested_priv_SQ.dcm": NO_IMAGE,
        "test_files/no_meta.dcm": Refused("is named like DICOM, but is none"),
        "test_files/no_meta_group_length.dcm": NO_IMAGE,
        "test_files/priv_SQ.dcm": NO_IMAGE,
        "test_files/reportsi*.dcm": REPORT,
        "test_files/test-SR.dcm": REPORT,
        "test_files/rtdose*.dcm": DOSE,
        "test_files/rtplan*.dcm": PLAN,
        "test_files/rtstruct.dcm": Refused("is a set of radiotherapy contours, not a scan"),
        "test_files/waveform_ecg.dcm": Refused("is a waveform, not a scan"),
        "charset_files/chrSQEncoding*.dcm": NO_IMAGE,
        "charset_files/chrJapMulti*.dcm": INCOMPLETE,
        "charset_files/chrKoreanMulti.dcm": INCOMPLETE,
        "charset_files/*.dcm": NOWHERE,
        "palettes/*.dcm": NO_IMAGE,
        "*.txt": NO_IMAGE_NAME,
        "*.dump": NO_IMAGE_NAME,
        "*.icc": NO_IMAGE_NAME,
        "*.json": NO_IMAGE_NAME,
        "*.gz": NO_IMAGE_NAME,
        "*.md": NO_IMAGE_NAME,
        "*.py": NO_IMAGE_NAME,
    },
    "dipy": {
        "S0_10slices.nii.gz": Opens((128, 128, 10), "RAS", note="sheared (edges 34.4 degrees"),
        "aniso_vox.nii.gz": Opens((58, 58, 24), "LPS"),
        "ascm_out_test.nii.gz": Opens((58, 58, 24), "LPS"),
        "func_coef.nii.gz": Opens((2, 3, 4), "RAS", volumes=45),
        "func_discrete.nii.gz": Opens((2, 3, 4), "RAS", volumes=82),
        "small_101D.nii.gz": Opens((6, 10, 10), "LAS", volumes=102),
        "small_25.nii.gz": Opens((10, 8, 2), "RAS", volumes=26),
        "small_64D.nii": Opens((10, 10, 10), "PLS", volumes=65),
        "test_piesno.nii.gz": Opens((96, 96, 14), "RAS"),
        "*.zip": Refused("is an archive. Unpack it first"),
        "*.trk": STREAMLINES,
        **{
            f"*.{suffix}": NO_IMAGE_NAME
            for suffix in ("bval", "bvec", "npy", "npz", "pkl", "gz", "json", "txt")
        },
    },
}
"""Outcome of the files that match a pattern; the first pattern that matches counts."""

FOLDERS = {"nibabel": ("tests", "data"), "pydicom": ("data",), "dipy": ("data", "files")}
"""Where the packages keep their files."""


def folder_of(source: str) -> Path | None:
    """Folder of the files of a package, if it is installed."""
    found = find_spec(source)
    if found is None or found.origin is None:
        return None
    folder = Path(found.origin).parent.joinpath(*FOLDERS[source])
    return folder if folder.is_dir() else None


def files_below(folder: Path) -> list[str]:
    """Names of all files, and of folders of DICOM series."""
    files = [p for p in folder.rglob("*") if p.is_file() and "__pycache__" not in p.parts]
    names = [file.relative_to(folder).as_posix() for file in files]
    series = [name for name in TABLE[folder_name(folder)] if (folder / name).is_dir()]
    return sorted(names + series)


def folder_name(folder: Path) -> str:
    """Key of the table for a folder."""
    return next((name for name in FOLDERS if name in folder.parts), "io")


def outcome_of(source: str, name: str) -> Opens | Refused:
    """What the table says of a file."""
    for pattern, outcome in TABLE[source].items():
        if fnmatch.fnmatchcase(name, pattern):
            return outcome
    pytest.fail(f"{name} is in no row of the table. Look at it, and add one.")


def check(source: str, path: Path, name: str, lone: Path) -> None:
    """Open a file and compare what happens with the table.

    DICOM files of a folder that is no series are opened where they are `lone`.
    """
    wanted = outcome_of(source, name)
    if path.is_file() and is_among_strangers(source, name):
        lone.mkdir()
        path = Path(shutil.copy(path, lone))
    refusal = ""
    try:
        scan = open_scan(path)
        notes = scan.notes
        # The files of a series show the same voxels: read them once.
        if not name.startswith("dicom_series/"):
            many = len(scan.volumes) > 1
            volume = load_volume(path, volumes=[len(scan.volumes) - 1] if many else None)
            notes = volume.notes
            assert volume.data.dtype == np.float32
    except VolumeError as error:
        refusal = str(error)
    if "pip install" in refusal:
        pytest.skip(refusal)
    if isinstance(wanted, Refused):
        assert wanted.says in refusal
        return
    assert not refusal
    assert scan.grid.shape == wanted.shape
    assert scan.grid.orientation == wanted.orientation
    assert len(scan.volumes) == wanted.volumes
    assert scan.is_mask == wanted.is_mask
    assert (wanted.note in " ".join(notes)) if wanted.note else not notes, notes


def is_among_strangers(source: str, name: str) -> bool:
    """Whether the DICOM files beside this one have nothing to do with it."""
    return name.startswith(("dicom_syntaxes/", "charset", "palettes")) or (
        source in ("nibabel", "pydicom") and name.endswith(".dcm")
    )


@pytest.mark.parametrize("source", FOLDERS)
def test_test_data_of_other_packages_has_its_outcome(source, check_all):
    folder = folder_of(source)
    if folder is None:
        pytest.skip(f"{source} is not installed, or came without its files")
    check_all(folder, source)


def test_awkward_real_files_have_their_outcome(data_dir, check_all):
    check_all(data_dir / "io", "io")


@pytest.fixture
def check_all(tmp_path):
    """Check all files of a folder, and list all that are not as the table says."""

    def run(folder: Path, source: str) -> None:
        wrong = []
        for number, name in enumerate(files_below(folder)):
            try:
                check(source, folder / name, name, tmp_path / str(number))
            except pytest.skip.Exception:
                continue
            except (AssertionError, pytest.fail.Exception) as error:
                wrong.append(f"{name}: {error}")
        assert not wrong, "\n\n".join(wrong)

    return run
