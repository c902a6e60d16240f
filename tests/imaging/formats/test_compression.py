"""Whether a file is compressed is seen by its bytes, whatever its name or header says."""

import bz2
import gzip
import zlib
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

from napari_unet.imaging.formats.registry import open_scan

DATA = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6)
AFFINE = np.diag([-1.0, 2.0, 3.0, 1.0])

NRRD = (
    "NRRD0004\ntype: int16\ndimension: 3\nspace: LPS\nsizes: 4 5 6\nendian: little\n"
    "space directions: (1,0,0) (0,1,0) (0,0,1)\nspace origin: (0,0,0)\nencoding: {}\n"
)
METAIMAGE = (
    "ObjectType = Image\nNDims = 3\nDimSize = 4 5 6\nElementSpacing = 1 1 1\n"
    "ElementType = MET_SHORT\nCompressedData = {}\nElementDataFile = {}\n"
)


def stored(path: Path) -> NDArray[np.int16]:
    return np.asarray(open_scan(path).read(0).stored)


@pytest.mark.parametrize(
    ("kind", "right", "wrong"),
    [
        (nib.Nifti1Image, "a.nii", "b.nii.gz"),
        (nib.Nifti1Image, "a.nii.gz", "b.nii"),
        (nib.Nifti2Image, "a.nii.gz", "B.NII"),
        (nib.Nifti2Image, "a.nii", "b.nii.gz"),
        (nib.MGHImage, "a.mgh", "b.mgz"),
        (nib.MGHImage, "a.mgz", "b.mgh"),
    ],
)
def test_a_name_that_is_wrong_about_compression_does_not_matter(tmp_path, kind, right, wrong):
    nib.save(kind(DATA, AFFINE), tmp_path / right)
    (tmp_path / right).rename(tmp_path / wrong)
    np.testing.assert_array_equal(stored(tmp_path / wrong), DATA)
    np.testing.assert_allclose(open_scan(tmp_path / wrong).grid.affine, AFFINE)


@pytest.mark.parametrize("kind", [nib.Nifti1Pair, nib.Spm99AnalyzeImage])
@pytest.mark.parametrize("packed", [".img", ".hdr"])
def test_either_half_of_a_pair_may_be_compressed(tmp_path, kind, packed):
    nib.save(kind(DATA, AFFINE), tmp_path / "a.img")
    half = tmp_path / f"a{packed}"
    half.write_bytes(gzip.compress(half.read_bytes()))
    np.testing.assert_array_equal(stored(tmp_path / "a.hdr"), DATA)


@pytest.mark.parametrize("detached", [False, True])
@pytest.mark.parametrize("said", ["raw", "gzip", "bzip2"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, zlib.compress])
def test_an_nrrd_header_that_is_wrong_about_compression_does_not_matter(
    tmp_path, said: str, pack: Callable[[bytes], bytes], detached: bool
):
    voxels, header = pack(DATA.tobytes("F")), NRRD.format(said)
    path = tmp_path / ("a.nhdr" if detached else "a.nrrd")
    if detached:
        (tmp_path / "a.raw.gz").write_bytes(voxels)
        path.write_text(f"{header}data file: a.raw.gz\n\n")
    else:
        path.write_bytes(f"{header}\n".encode() + voxels)
    np.testing.assert_array_equal(stored(path), DATA)


@pytest.mark.parametrize("detached", [False, True])
@pytest.mark.parametrize("said", [True, False])
@pytest.mark.parametrize("pack", [bytes, gzip.compress, zlib.compress])
def test_a_metaimage_header_that_is_wrong_about_compression_does_not_matter(
    tmp_path, said: bool, pack: Callable[[bytes], bytes], detached: bool
):
    voxels = pack(DATA.tobytes("F"))
    path = tmp_path / ("a.mhd" if detached else "a.mha")
    header = METAIMAGE.format(said, "a.zraw" if detached else "LOCAL").encode()
    path.write_bytes(header if detached else header + voxels)
    (tmp_path / "a.zraw").write_bytes(voxels)
    np.testing.assert_array_equal(stored(path), DATA)


def test_uncompressed_voxels_may_begin_like_a_compressed_file(tmp_path):
    data = DATA.copy()
    data[:2, 0, 0] = np.frombuffer(b"\x1f\x8b\x08\x00", "<i2")
    (tmp_path / "a.nrrd").write_bytes(f"{NRRD.format('raw')}\n".encode() + data.tobytes("F"))
    np.testing.assert_array_equal(stored(tmp_path / "a.nrrd"), data)
