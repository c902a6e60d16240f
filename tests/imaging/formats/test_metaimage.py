"""MetaImage files open on exactly the grid that ITK gives them, or are refused with the reason."""

import re
import zlib
from pathlib import Path

import numpy as np
import pytest

from napari_unet.imaging.formats.registry import open_scan
from napari_unet.imaging.loading import load_volume

MARKED = (1, 4, 2)
LPS = np.diag([-1.0, -1.0, 1.0])

HEADER = """ObjectType = Image
NDims = 3
BinaryData = True
BinaryDataByteOrderMSB = False
CompressedData = False
TransformMatrix = 0 1 0 -1 0 0 0 0 1
Offset = 4 -5 6
ElementSpacing = 1.5 2 3
DimSize = 5 6 7
ElementType = MET_SHORT
ElementDataFile = LOCAL
"""
LOCAL = "ElementDataFile = LOCAL"
AFFINE = np.array([[0, 2, 0, -4], [-1.5, 0, 0, 5], [0, 0, 3, 6], [0, 0, 0, 1.0]])
"""Where that puts voxels, in RAS mm."""


def handmade(path: Path, voxels, *changes, data: bytes | None = None) -> Path:
    """Write a file from text: `changes` are pairs of what to replace and by what."""
    text = HEADER
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path.write_bytes(text.encode() + (voxels.tobytes(order="F") if data is None else data))
    return path


def test_every_layout_is_read_where_it_is(tmp_path, marked_voxels, mark_at):
    raw = marked_voxels.tobytes(order="F")
    text = " ".join(str(value) for value in marked_voxels.ravel(order="F")).encode()
    (tmp_path / "voxels.raw").write_bytes(b"12345" + raw)
    (tmp_path / "voxels.zraw").write_bytes(zlib.compress(raw))
    big = marked_voxels.astype(">i2").tobytes(order="F")
    packed = ("CompressedData = False", "CompressedData = True")
    for change, data in (
        ((HEADER, HEADER), raw),
        (("OrderMSB = False", "OrderMSB = True"), big),
        (packed, zlib.compress(raw)),
        (("BinaryData = True", "BinaryData = False"), text),
        (("ElementDataFile = LOCAL", "HeaderSize = 5\nElementDataFile = voxels.raw"), b""),
        (("ElementDataFile = LOCAL", "HeaderSize = -1\nElementDataFile = voxels.raw"), b""),
        (("ElementDataFile = LOCAL", "CompressedData = True\nElementDataFile = voxels.zraw"), b""),
        (("TransformMatrix", "Orientation"), raw),
    ):
        path = handmade(tmp_path / "scan.mhd", marked_voxels, change, data=data)
        np.testing.assert_allclose(mark_at(path), (AFFINE @ [*MARKED, 1])[:3])
        volume = load_volume(path)
        np.testing.assert_array_equal(volume.grid.to_source(volume.data[0]), marked_voxels)
        assert volume.notes == ()


@pytest.mark.parametrize("suffix", [".mha", ".mhd"])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"])
def test_it_agrees_with_simpleitk(tmp_path, marked_voxels, tilted, suffix, packed, kind):
    sitk = pytest.importorskip("SimpleITK")
    voxels = np.minimum(marked_voxels, 100).astype(kind)
    image = sitk.GetImageFromArray(voxels.transpose(2, 1, 0).copy())
    spacing = np.linalg.norm(tilted[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((LPS @ tilted[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin((LPS @ tilted[:3, 3]).tolist())
    sitk.WriteImage(image, str(tmp_path / f"scan{suffix}"), packed)
    volume = load_volume(tmp_path / f"scan{suffix}")
    where = np.argwhere(volume.data[0] == 100)
    theirs = sitk.ReadImage(str(tmp_path / f"scan{suffix}"))
    assert theirs.GetPixel(MARKED) == 100
    expected = LPS @ theirs.TransformIndexToPhysicalPoint(MARKED)
    np.testing.assert_allclose(volume.grid.affine_zyx[:3] @ [*where[0], 1], expected, atol=1e-5)
    np.testing.assert_array_equal(volume.grid.to_source(volume.data[0]), voxels)


def test_a_fourth_axis_counts_volumes(tmp_path, marked_voxels, mark_at, refusal):
    series = np.stack([0 * marked_voxels, marked_voxels], axis=-1)
    path = handmade(
        tmp_path / "scan.mha",
        series,
        ("NDims = 3", "NDims = 4"),
        ("0 1 0 -1 0 0 0 0 1", "0 1 0 0 -1 0 0 0 0 0 1 0 0 0 0 1"),
        ("4 -5 6", "4 -5 6 0"),
        ("1.5 2 3", "1.5 2 3 1"),
        ("5 6 7", "5 6 7 2"),
    )
    assert open_scan(path).volumes == ("volume 0", "volume 1")
    assert "2 volumes" in refusal(path)
    np.testing.assert_allclose(mark_at(path, volumes=[1]), (AFFINE @ [*MARKED, 1])[:3])


def test_without_voxel_size_one_millimetre_is_taken_and_said(tmp_path, marked_voxels):
    path = handmade(tmp_path / "scan.mha", marked_voxels, ("ElementSpacing = 1.5 2 3\n", ""))
    assert load_volume(path).notes == ("Its header gives no voxel size; 1 mm is taken.",)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("DimSize = 5 6 7", "DimSize = 5 6 9"), "announces 540 bytes.*holds 420"),
        (("DimSize = 5 6 7", "DimSize = 50000 60000 70000"), "announces 420,000,000,000,000"),
        (("DimSize = 5 6 7", "DimSize = 5 6 0"), "no voxels"),
        (("DimSize = 5 6 7", "DimSize = 5 6 x"), "cannot be read as MetaImage"),
        (("DimSize = 5 6 7\n", ""), "DimSize"),
        (("NDims = 3", "NDims = 33"), "3 lengths for 33"),
        (("ElementSpacing = 1.5 2 3", "ElementSpacing = 1.5 2"), "2 numbers for 3 axes"),
        (("ElementSpacing = 1.5 2 3", "ElementSpacing = a b c"), "cannot be read"),
        (("ElementSpacing = 1.5 2 3", "ElementSpacing = 1.5 0 3"), "singular"),
        (("Offset = 4 -5 6", "Offset = nan 0 0"), "not a number"),
        (("MET_SHORT", "MET_SHAPE"), "type 'MET_SHAPE'"),
        (("MET_SHORT", "MET_SHORT_ARRAY"), "belong together"),
        (("ElementType", "ElementNumberOfChannels = 3\nElementType"), "3 values per voxel"),
        ((f"{LOCAL}\n", f"CompressedData = True\n{LOCAL}\n\n"), "cannot be read"),
        (("BinaryData = True", "BinaryData = False"), "cannot be read"),
        (("LOCAL", "gone.raw"), "gone.raw, which is not there"),
        (("LOCAL", "LIST"), "many files"),
        (("LOCAL", "slice%03d.raw 1 7 1"), "many files"),
        (("ElementDataFile = LOCAL\n", ""), "no line 'ElementDataFile"),
        (("ObjectType = Image", "ObjectType = Tube"), "type 'Tube'"),
    ],
)
def test_damaged_and_unusual_headers_are_refused_in_a_sentence(
    tmp_path, marked_voxels, refusal, capfd, change, says
):
    path = handmade(tmp_path / "scan.mha", marked_voxels, change)
    assert re.search(says, refusal(path))
    assert capfd.readouterr() == ("", "")


def test_truncated_voxels_are_refused(tmp_path, marked_voxels, refusal):
    packed = zlib.compress(marked_voxels.tobytes(order="F"))
    change = ("CompressedData = False", "CompressedData = True")
    for data in (packed[:-20], zlib.compress(marked_voxels.tobytes()[:200])):
        path = handmade(tmp_path / "scan.mha", marked_voxels, change, data=data)
        assert "cannot be read" in refusal(path)
