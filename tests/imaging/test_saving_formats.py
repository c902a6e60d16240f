"""A mask lies at the same millimetre in every format, as the format's own library reads it."""

import json
import os
import sys

import nibabel as nib
import nrrd
import numpy as np
import pytest

from napari_unet.errors import SaveError
from napari_unet.imaging.formats.registry import WRITABLE
from napari_unet.imaging.loading import load_labels
from napari_unet.imaging.saving import save_mask
from napari_unet.imaging.sidecar import structures_beside
from napari_unet.imaging.volume import Grid

SHAPE = (5, 6, 7)
MARKED = (1, 4, 2)
ORIENTATIONS = ("RAS", "LPS", "LAS", "RPI", "PIR", "SAL", "ASR", "ILP")
STRUCTURES = [(1, "Tumour", "#ff0000"), (3, "Ödem, links", "#0080ff")]


def affine_of(orientation: str) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = 0
    for column, (letter, length) in enumerate(zip(orientation, (1.5, 1.0, 2.0))):
        affine["LRPAIS".index(letter) // 2, column] = length * (1 if letter in "RAS" else -1)
    affine[:3, 3] = (-7.1, 11.3, 23.7)
    return affine


def oblique(degrees: float = 45.0) -> np.ndarray:
    """Turned about two axes, 0.4 x 0.4 x 6 mm, left-handed."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turn = np.array([[1, 0, 0], [0, c, -s], [0, s, c]]) @ [[c, 0, s], [0, 1, 0], [-s, 0, c]]
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([-0.4, 0.4, 6.0])
    affine[:3, 3] = (76.9, -82.2, 112.5)
    return affine


def sheared() -> np.ndarray:
    affine = oblique(20)
    affine[:3, 2] += affine[:3, 0]
    return affine


AFFINES = {
    **{name: affine_of(name) for name in ORIENTATIONS},
    "oblique": oblique(),
    "sheared": sheared(),
}


def grid_on(affine: np.ndarray) -> Grid:
    return Grid(SHAPE, affine, sform_code=1)


def mask_on(grid: Grid, value: int = 1) -> np.ndarray:
    stored = np.zeros(SHAPE, np.int64)
    stored[MARKED] = value
    return grid.to_display(stored)


def marked_millimetres(path) -> np.ndarray:
    """RAS millimetres of the one marked voxel, by a library that is not ours."""
    if path.name.endswith(".nrrd"):
        stored, header = nrrd.read(str(path))
        assert header["space"] == "left-posterior-superior"
        (at,) = np.argwhere(stored)
        lps = header["space origin"] + at @ header["space directions"]
        return lps * (-1, -1, 1)
    if path.name.endswith(".mha"):
        sitk = pytest.importorskip("SimpleITK")
        image = sitk.ReadImage(str(path))
        (zyx,) = np.argwhere(sitk.GetArrayFromImage(image))
        lps = image.TransformIndexToPhysicalPoint([int(i) for i in zyx[::-1]])
        return np.array(lps) * (-1, -1, 1)
    image = nib.load(path)
    (at,) = np.argwhere(np.asarray(image.dataobj).reshape(SHAPE))
    return nib.affines.apply_affine(image.affine, at)


@pytest.fixture(params=[each for each in WRITABLE if each not in (".tif", ".tiff", ".png")])
def suffix(request):
    if request.param == ".mha":
        pytest.importorskip("SimpleITK")
    return request.param


@pytest.mark.parametrize("affine", AFFINES.values(), ids=AFFINES)
def test_a_marked_voxel_lies_at_its_millimetre_in_every_format(tmp_path, suffix, affine):
    grid = grid_on(affine)
    path = tmp_path / f"mask{suffix}"
    receipt = save_mask(mask_on(grid), grid, path)
    assert receipt.ok
    assert receipt.displacement_mm < (1e-12 if suffix in (".nrrd", ".mha") else 1e-4)
    expected = nib.affines.apply_affine(affine, MARKED)
    np.testing.assert_allclose(marked_millimetres(path), expected, atol=1e-4)


@pytest.mark.parametrize(("value", "stored"), [(1, "uint8"), (255, "uint8"), (300, None)])
def test_labels_take_as_few_bytes_as_they_need(tmp_path, suffix, value, stored):
    grid = grid_on(affine_of("LPS"))
    path = tmp_path / f"mask{suffix}"
    assert save_mask(mask_on(grid, value), grid, path).ok
    wider = "int16" if suffix in (".mgz", ".mgh") else "uint16"  # MGH has had uint16 for long not
    if suffix.endswith("nrrd"):
        found = nrrd.read(str(path))[0].dtype
    elif suffix == ".mha":
        sitk = pytest.importorskip("SimpleITK")
        found = sitk.GetArrayFromImage(sitk.ReadImage(str(path))).dtype
    else:
        found = nib.load(path).get_data_dtype()
    assert found.newbyteorder("=") == (stored or wider)


def test_labels_too_large_for_a_format_are_refused(tmp_path):
    grid = grid_on(affine_of("LPS"))
    with pytest.raises(SaveError, match="MGH cannot hold the label 4000000000"):
        save_mask(mask_on(grid, 4_000_000_000), grid, tmp_path / "mask.mgz")
    assert list(tmp_path.iterdir()) == []
    assert save_mask(mask_on(grid, 4_000_000_000), grid, tmp_path / "mask.seg.nrrd").ok


def test_slicer_finds_its_fields_for_every_structure_and_unnamed_value(tmp_path):
    grid = grid_on(affine_of("LPS"))
    stored = np.zeros(SHAPE, np.uint8)
    stored[1:3, 2, 3:6] = 1
    stored[4, 5, 6] = 2  # which nobody named
    path = tmp_path / "mask.seg.nrrd"
    save_mask(grid.to_display(stored), grid, path, structures=STRUCTURES)
    _, header = nrrd.read(str(path))
    assert header["Segmentation_MasterRepresentation"] == "Binary labelmap"
    assert header["Segmentation_ReferenceImageExtentOffset"] == "0 0 0"
    fields = ("ID", "Name", "Color", "LabelValue", "Layer", "Extent", "Tags")
    found = [[header[f"Segment{number}_{field}"] for field in fields] for number in range(3)]
    assert found == [
        ["Segment_1", "Tumour", "1 0 0", "1", "0", "1 2 2 2 3 5", "|"],
        ["Segment_2", "Structure 2", "1 0.843137 0", "2", "0", "4 4 5 5 6 6", "|"],
        ["Segment_3", "dem, links", "0 0.501961 1", "3", "0", "0 -1 0 -1 0 -1", "|"],
    ]
    assert "Segment3_ID" not in header
    # pynrrd drops what is not ASCII; 3D Slicer and we read UTF-8.
    assert "Segment2_Name:=Ödem, links\n".encode() in path.read_bytes()


@pytest.mark.parametrize("name", ["Ödem", "腫瘍", "Œdème – à gauche: 2", "@0@"])
def test_a_segmentation_keeps_names_in_any_script_and_its_voxels(tmp_path, name):
    grid = grid_on(affine_of("LPS"))
    path = tmp_path / "mask.seg.nrrd"
    save_mask(mask_on(grid), grid, path, structures=[(1, name, "#ff0000"), (3, "Ä", "#00ff00")])
    (tmp_path / "mask.json").unlink()
    assert structures_beside(path)[0] == (1, name, "#ff0000")
    np.testing.assert_array_equal(load_labels(path, grid)[0], mask_on(grid))
    sitk = pytest.importorskip("SimpleITK")
    assert sitk.ReadImage(str(path)).GetMetaData("Segment0_Name") == name


def test_a_name_that_is_no_text_does_not_cost_the_segmentation(tmp_path):
    grid = grid_on(affine_of("LPS"))
    path = tmp_path / "mask.seg.nrrd"
    save_mask(mask_on(grid), grid, path, structures=[(1, "caf\udce9", "#ff0000")])
    (tmp_path / "mask.json").unlink()
    assert structures_beside(path)[0] == (1, r"caf\udce9", "#ff0000")


def test_a_segment_without_colour_or_name_costs_itself_only(tmp_path):
    grid = grid_on(affine_of("LPS"))
    path = tmp_path / "mask.seg.nrrd"
    rows = [(1, "Tumour", "#ff0000"), (2, "Ödem", "#00ff00"), (3, "Cyst", "#0000ff")]
    save_mask(mask_on(grid), grid, path, structures=rows)
    (tmp_path / "mask.json").unlink()
    start, blank, rest = path.read_bytes().partition(b"\n\n")
    lines = start.split(b"\n")
    kept = [line for line in lines if not line.startswith((b"Segment1_Color:", b"Segment2_Name:"))]
    path.write_bytes(b"\n".join(kept) + blank + rest)
    assert structures_beside(path) == (
        rows[0],
        (2, "Ödem", "#ffd700"),
        (3, "Structure 3", "#0000ff"),
    )


def test_a_plain_nrrd_has_no_fields_of_slicer(tmp_path):
    grid = grid_on(affine_of("LPS"))
    save_mask(mask_on(grid), grid, tmp_path / "mask.nrrd", structures=STRUCTURES)
    assert not [key for key in nrrd.read_header(str(tmp_path / "mask.nrrd")) if "Segment" in key]
    names = json.loads((tmp_path / "mask.json").read_text(encoding="utf-8"))["Structures"]
    assert [row["name"] for row in names] == ["Tumour", "Ödem, links"]


def test_without_simpleitk_the_command_to_install_it_is_said(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "SimpleITK", None)
    grid = grid_on(affine_of("LPS"))
    with pytest.raises(SaveError, match=r"pip install 'napari-unet-mri\[metaimage\]'"):
        save_mask(mask_on(grid), grid, tmp_path / "mask.mha")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["M.NII.GZ", "M.NRRD", "M.MGZ", "M.MHA", "M.TIF", "M.PNG"])
def test_names_in_capital_letters_are_written_and_read_like_others(tmp_path, name):
    if name == "M.MHA":
        pytest.importorskip("SimpleITK")
    grid = Grid.from_spacing((1, 5, 6), (10.0, 1.0, 1.0))
    labels = np.ones(grid.shape_zyx, np.uint8)
    assert save_mask(labels, grid, tmp_path / name).ok
    found, own = load_labels(tmp_path / name)
    np.testing.assert_array_equal(found, labels)
    np.testing.assert_allclose(own.affine, grid.affine)


def test_what_simpleitk_cannot_write_is_said_without_a_temporary_name(tmp_path, monkeypatch):
    sitk = pytest.importorskip("SimpleITK")

    def fail(_image, path, **_):
        raise RuntimeError(f"itk::ERROR\nReason: no space for {path}")

    monkeypatch.setattr(sitk, "WriteImage", fail)
    grid = Grid.from_spacing((4, 5, 6))
    with pytest.raises(SaveError, match="no space for the file"):
        save_mask(np.ones(grid.shape_zyx, np.uint8), grid, tmp_path / "m.mha")


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="names are UTF-8 there")
def test_a_folder_whose_name_is_not_utf_8_takes_masks_of_every_format(tmp_path, suffix):
    folder = tmp_path / os.fsdecode(b"M\xfcller")
    folder.mkdir()
    grid, path = grid_on(affine_of("LPS")), folder / os.fsdecode(b"t\xeate" + suffix.encode())
    assert save_mask(mask_on(grid), grid, path, sources=[path]).ok
    np.testing.assert_array_equal(load_labels(path)[0], mask_on(grid))
    (beside,) = folder.glob("*.json")
    assert json.loads(beside.read_text("utf-8"))["Geometry"]["File"] == path.name
