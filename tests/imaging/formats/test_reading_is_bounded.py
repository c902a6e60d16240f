"""Reading a scan costs little more memory than the scan."""

import bz2
import struct
import tracemalloc
import zlib

import nibabel as nib
import nrrd
import numpy as np
import pytest

from napari_unet.cli import info as describe
from napari_unet.errors import VolumeError
from napari_unet.imaging.formats import nifti
from napari_unet.imaging.formats.registry import open_scan
from napari_unet.imaging.loading import load_volume

SHAPE = (128, 128, 64)
VOXELS = np.random.default_rng(0).integers(0, 2000, SHAPE).astype(np.int16)
STORED = VOXELS.nbytes
FLOAT32 = 2 * STORED
SLACK = 3 * 2**20
"""Bytes: a few planes, decompression buffers, modules that are loaded late."""

MAPPED = ("scan.nii", "scan.mgh", "scan.nrrd", "scan.mha")
PACKED = ("scan.nii.gz", "scan.mgz", "packed.nrrd", "packed.mha")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scans")
    for name in ("scan.nii", "scan.nii.gz"):
        image = nib.Nifti1Image(VOXELS, np.eye(4))
        image.header.set_slope_inter(0.5, 1)
        image.to_filename(folder / name)
    for name in ("scan.mgh", "scan.mgz"):
        nib.MGHImage(VOXELS, np.eye(4)).to_filename(folder / name)
    for name, encoding in (("scan.nrrd", "raw"), ("packed.nrrd", "gzip")):
        nrrd.write(str(folder / name), VOXELS, {"encoding": encoding})
    sitk = pytest.importorskip("SimpleITK")
    for name, packed in (("scan.mha", False), ("packed.mha", True)):
        image = sitk.GetImageFromArray(VOXELS.transpose(2, 1, 0).copy())
        sitk.WriteImage(image, str(folder / name), packed)
    return folder


def peak(work) -> int:
    """Bytes that were held at once."""
    tracemalloc.start()
    try:
        kept = work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        del kept


@pytest.mark.parametrize("name", MAPPED + PACKED)
def test_opening_reads_no_voxels(folder, name):
    assert peak(lambda: open_scan(folder / name)) < SLACK


@pytest.mark.parametrize("name", MAPPED)
def test_an_uncompressed_scan_is_held_once(folder, name):
    assert peak(lambda: load_volume(folder / name)) < FLOAT32 + SLACK
    assert peak(lambda: describe.volume(folder / name)) < SLACK


@pytest.mark.parametrize("name", PACKED)
def test_a_compressed_scan_is_held_once_and_once_as_stored(folder, name):
    assert peak(lambda: load_volume(folder / name)) < FLOAT32 + STORED + SLACK


def test_of_a_compressed_series_only_the_chosen_volume_is_held(tmp_path):
    series = np.stack([VOXELS // (n + 1) for n in range(4)], axis=-1)
    nib.Nifti1Image(series, np.eye(4)).to_filename(tmp_path / "bold.nii.gz")

    def load():
        return load_volume(tmp_path / "bold.nii.gz", volumes=[2])

    assert load().data.sum(dtype=float) == series[..., 2].sum()
    assert peak(load) < FLOAT32 + 2 * STORED + SLACK


def zeros(n_bytes: int, pack=lambda: zlib.compressobj(wbits=31), head: bytes = b"") -> bytes:
    """Pack zeros behind a beginning, as gzip does by default."""
    packer, block = pack(), bytes(2**20)
    blocks = [packer.compress(block) for _ in range(n_bytes // len(block))]
    return b"".join([packer.compress(head), *blocks, packer.flush()])


@pytest.mark.parametrize("length", [2**30, 0, 7], ids=["a gibibyte", "negative", "to the end"])
def test_an_extension_that_a_header_announces_is_not_unpacked_without_end(
    tmp_path, length, monkeypatch
):
    monkeypatch.setattr(nifti, "LONGEST_HEADER", 2**20)
    header = nib.Nifti1Header()
    header.set_data_shape((8, 8, 8))
    header["magic"], header["vox_offset"] = b"n+1", 2**28
    start = header.binaryblock + bytes([1, 0, 0, 0]) + struct.pack("<ii", length, 6)
    (tmp_path / "scan.nii.gz").write_bytes(zeros(2**24, head=start))

    def refused():
        with pytest.raises(VolumeError, match=r"scan\.nii\.gz cannot be read"):
            open_scan(tmp_path / "scan.nii.gz")

    assert peak(refused) < 2 * SLACK


@pytest.mark.parametrize("encoding", ["gzip", "bzip2"])
@pytest.mark.parametrize(("sizes", "skip"), [("8 8 8", 10**12), ("9999 9999 9999", 0)])
def test_what_a_packed_file_announces_is_bounded(tmp_path, encoding, sizes, skip):
    path = tmp_path / "scan.nrrd"
    pack = bz2.BZ2Compressor if encoding == "bzip2" else lambda: zlib.compressobj(wbits=31)
    path.write_bytes(
        f"NRRD0004\ntype: uchar\ndimension: 3\nsizes: {sizes}\nencoding: {encoding}\n"
        f"byte skip: {skip}\n\n".encode()
        + zeros(2**20, pack)
    )
    with pytest.raises(VolumeError, match="does not fit into memory|unpack|announces"):
        load_volume(path)


def test_a_small_shape_before_much_that_is_packed_costs_little(tmp_path):
    path = tmp_path / "scan.nrrd"
    start = b"NRRD0004\ntype: uchar\ndimension: 3\nsizes: 8 8 8\nencoding: bzip2\n\n"
    path.write_bytes(start + zeros(2**24, bz2.BZ2Compressor))
    assert peak(lambda: load_volume(path)) < 2 * SLACK
