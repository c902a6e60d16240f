"""NRRD files of every layout open on exactly their own grid, or are refused with the reason."""

import bz2
import gzip
import re
from pathlib import Path

import nrrd
import numpy as np
import pytest

from napari_unet.imaging.formats.registry import open_scan
from napari_unet.imaging.loading import load_labels, load_volume

MARKED = (1, 4, 2)
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def write(path: Path, voxels, ras=None, *, signs=(-1, -1, 1), **fields) -> Path:
    """Write an image; `ras` is its affine, `signs` bring RAS to the space of the header."""
    header = dict(fields)
    if ras is not None:
        to_space = np.diag(signs) @ ras[:3]
        header.setdefault("space", "left-posterior-superior")
        header.setdefault("space directions", to_space[:, :3].T)
        header.setdefault("space origin", to_space[:, 3])
    nrrd.write(str(path), voxels, header, index_order="F")
    return path


@pytest.mark.parametrize("encoding", ["raw", "gzip", "bzip2", "ascii"])
@pytest.mark.parametrize("name", ["scan.nrrd", "scan.nhdr"])
def test_every_encoding_attached_or_beside_is_read_where_it_is(
    tmp_path, marked_voxels, tilted, mark_at, encoding, name
):
    path = write(tmp_path / name, marked_voxels, tilted, encoding=encoding)
    np.testing.assert_allclose(mark_at(path), (tilted @ [*MARKED, 1])[:3], atol=1e-9)
    volume = load_volume(path)
    np.testing.assert_array_equal(volume.grid.to_source(volume.data[0]), marked_voxels)
    assert volume.notes == ()
    assert len(open_scan(path).files) == (2 if name == "scan.nhdr" else 0)


@pytest.mark.parametrize("kind", ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"])
@pytest.mark.parametrize("order", "<>")
def test_every_number_type_in_either_byte_order_is_read(
    tmp_path, marked_voxels, tilted, kind, order
):
    voxels = np.minimum(marked_voxels, 100).astype(order + kind)
    volume = load_volume(write(tmp_path / "scan.nrrd", voxels, tilted, encoding="gzip"))
    np.testing.assert_array_equal(volume.grid.to_source(volume.data[0]), voxels)


@pytest.mark.parametrize(
    ("space", "signs"),
    [
        ("left-posterior-superior", (-1, -1, 1)),
        ("LPS", (-1, -1, 1)),
        ("right-anterior-superior", (1, 1, 1)),
        ("RAS", (1, 1, 1)),
        ("left-anterior-superior", (-1, 1, 1)),
    ],
)
def test_the_space_of_the_header_is_obeyed(tmp_path, marked_voxels, tilted, mark_at, space, signs):
    path = write(tmp_path / "scan.nrrd", marked_voxels, tilted, signs=signs, space=space)
    np.testing.assert_allclose(mark_at(path), (tilted @ [*MARKED, 1])[:3], atol=1e-9)
    assert load_volume(path).notes == ()


def test_without_a_space_the_axes_of_itk_are_taken_and_said(tmp_path, marked_voxels, mark_at):
    affine = LPS @ np.diag([1.5, 2, 3, 1])
    path = write(tmp_path / "scan.nrrd", marked_voxels, spacings=[1.5, 2.0, 3.0])
    np.testing.assert_allclose(mark_at(path), (affine @ [*MARKED, 1])[:3])
    assert "towards L, P, S" in " ".join(load_volume(path).notes)
    bare = write(tmp_path / "bare.nrrd", marked_voxels)
    assert "1 mm is taken" in load_volume(bare).notes[0]


def test_it_agrees_with_simpleitk(tmp_path, marked_voxels, tilted, mark_at):
    sitk = pytest.importorskip("SimpleITK")
    for number, fields in enumerate(
        (
            {"ras": tilted},
            {"spacings": [1.5, 2.0, 3.0]},
            {"ras": tilted, "space": "RAS", "signs": (1, 1, 1)},
        )
    ):
        path = write(tmp_path / f"{number}.nrrd", marked_voxels, **fields)
        theirs = sitk.ReadImage(str(path)).TransformIndexToPhysicalPoint(MARKED)
        np.testing.assert_allclose(mark_at(path), LPS[:3, :3] @ theirs, atol=1e-6)


@pytest.mark.parametrize("axis", [0, 3])
@pytest.mark.parametrize("kind", ["list", "time", "none"])
def test_a_further_axis_counts_volumes(tmp_path, marked_voxels, tilted, mark_at, axis, kind):
    series = np.stack([0 * marked_voxels, marked_voxels, 2 * marked_voxels], axis=axis)
    kinds, directions = ["domain"] * 3, list((LPS @ tilted)[:3, :3].T)
    kinds.insert(axis, kind)
    directions.insert(axis, np.full(3, np.nan))
    path = write(
        tmp_path / "scan.nrrd", series, tilted, kinds=kinds, **{"space directions": directions}
    )
    assert len(open_scan(path).volumes) == 3
    np.testing.assert_allclose(mark_at(path, volumes=[1]), (tilted @ [*MARKED, 1])[:3], atol=1e-9)


@pytest.mark.parametrize("kind", ["vector", "RGB-color", "3-vector", "complex"])
def test_values_that_belong_together_are_refused(tmp_path, tilted, refusal, kind):
    directions = [np.full(3, np.nan), *(LPS @ tilted)[:3, :3].T]
    path = write(
        tmp_path / "scan.nrrd",
        np.zeros((3, 5, 6, 7), np.float32),
        tilted,
        kinds=[kind, "domain", "domain", "domain"],
        **{"space directions": directions},
    )
    assert f"belong together ({kind.lower()})" in refusal(path)


def test_a_segmentation_of_slicer_is_a_mask_unless_its_structures_overlap(
    tmp_path, tilted, refusal
):
    labels = np.zeros((5, 6, 7), np.uint8)
    labels[MARKED] = 3
    segments = {"Segment0_ID": "Segment_1", "Segment0_LabelValue": "3", "Segment0_Layer": "0"}
    path = write(tmp_path / "tumour.seg.nrrd", labels, tilted, **segments)
    scan = open_scan(path)
    assert scan.is_mask
    assert scan.name == "tumour"
    found, grid = load_labels(path)
    np.testing.assert_array_equal(grid.to_source(found), labels)
    assert open_scan(write(tmp_path / "plain.nrrd", labels, tilted, **segments)).is_mask
    assert not open_scan(write(tmp_path / "scan.nrrd", labels, tilted)).is_mask

    layers = np.stack([labels, labels])
    directions = [np.full(3, np.nan), *(LPS @ tilted)[:3, :3].T]
    path = write(
        tmp_path / "layers.seg.nrrd",
        layers,
        tilted,
        kinds=["list", "domain", "domain", "domain"],
        **{"space directions": directions},
    )
    assert "2 layers, whose structures may overlap" in refusal(path)


HEADER = """NRRD0004
type: short
dimension: 3
space: left-posterior-superior
sizes: 5 6 7
space directions: (1,0,0) (0,1,0) (0,0,1)
space origin: (0,0,0)
encoding: raw
endian: little
"""


def handmade(path: Path, voxels, *changes, data: bytes | None = None) -> Path:
    """Write a file from text: `changes` are pairs of what to replace and by what."""
    text = HEADER
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    content = voxels.tobytes(order="F") if data is None else data
    path.write_bytes(text.encode() + b"\n" + content)
    return path


def test_bytes_and_lines_in_front_of_the_voxels_are_skipped(tmp_path, marked_voxels):
    raw = marked_voxels.tobytes(order="F")
    plain = "encoding: raw\n"
    for change, data in (
        (plain + "line skip: 2\n", b"one\ntwo\n" + raw),
        (plain + "byte skip: 5\n", b"12345" + raw),
        (plain + "byte skip: -1\n", b"whatever is here" + raw),
        ("encoding: gzip\nbyte skip: 5\n", gzip.compress(b"12345" + raw)),
        ("encoding: bz2\nline skip: 1\n", b"one\n" + bz2.compress(raw)),
    ):
        path = handmade(tmp_path / "scan.nrrd", marked_voxels, (plain, change), data=data)
        volume = load_volume(path)
        np.testing.assert_array_equal(volume.grid.to_source(volume.data[0]), marked_voxels)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("sizes: 5 6 7", "sizes: 5 6 0"), "no voxels"),
        (("sizes: 5 6 7", "sizes: 5 6 -7"), "no voxels"),
        (("sizes: 5 6 7", "sizes: 5 6"), "2 sizes for 3 dimensions"),
        (("sizes: 5 6 7", "sizes: 50000 60000 70000"), "announces 420,000,000,000,000 bytes"),
        (("type: short", "type: block"), "type 'block'"),
        (("encoding: raw", "encoding: hex"), "encoding 'hex'"),
        (("encoding: raw", "encoding: gzip\nbyte skip: 1"), "cannot be read"),
        (("encoding: raw", "encoding: bzip2\nbyte skip: 1"), "cannot be read"),
        (("encoding: raw", "encoding: text"), "cannot be read"),
        (("encoding: raw", "encoding: raw\nbyte skip: -7"), "negative length"),
        (("encoding: raw", "encoding: raw\nbyte skip: 9"), "announces 429 bytes"),
        (("encoding: raw", "encoding: raw\nline skip: 999"), "fewer lines|shorter"),
        (("endian: little\n", ""), "cannot be read"),
        (("endian: little", "endian: middling"), "byte order"),
        (("(0,0,1)", "(0,1,0)"), "singular"),
        (("(0,0,1)", "none"), "two-dimensional"),
        (("origin: (0,0,0)", "origin: (nan,0,0)"), "not a number"),
        (("NRRD0004", "NRRD0009"), "Unsupported NRRD file version"),
        (("NRRD0004", "text"), "Invalid NRRD magic line"),
        (("endian", "data file: gone.raw\nendian"), "gone.raw, which is not there"),
        (("endian", "data file: LIST\nendian"), "many files"),
        (("endian", "data file: s%03d.raw 1 7 1\nendian"), "many files"),
    ],
)
def test_damaged_and_unusual_headers_are_refused_in_a_sentence(
    tmp_path, marked_voxels, refusal, change, says
):
    path = handmade(tmp_path / "scan.nrrd", marked_voxels, change)
    assert re.search(says, refusal(path))


def test_truncated_voxels_are_refused(tmp_path, marked_voxels, tilted, refusal):
    for encoding in ("raw", "gzip", "bzip2", "ascii"):
        path = write(tmp_path / "scan.nrrd", marked_voxels, tilted, encoding=encoding)
        path.write_bytes(path.read_bytes()[:-20])
        assert "cannot be read" in refusal(path)


def test_sheared_voxels_are_said(tmp_path, marked_voxels, tilted, mark_at):
    tilted[:3, 2] += tilted[:3, 0] * 3
    path = write(tmp_path / "scan.nrrd", marked_voxels, tilted)
    assert "sheared" in load_volume(path).notes[0]
    np.testing.assert_allclose(mark_at(path), (tilted @ [*MARKED, 1])[:3], atol=1e-9)
