"""Label layers, ours and those of others, saved where the viewer shows them."""

import json
from dataclasses import replace

import nibabel as nib
import nrrd
import numpy as np
import pytest
from napari.layers import Labels

from napari_unet.errors import SaveError
from napari_unet.imaging.saving import save_mask
from napari_unet.imaging.sidecar import structures_beside
from napari_unet.imaging.volume import Grid
from napari_unet.plugin.layers.reader import read_scans
from napari_unet.plugin.layers.writer import write_mask

SHAPE = (4, 5, 6)
MARKED = (1, 4, 2)


def marked_layer(**placed) -> Labels:
    data = np.zeros(SHAPE, np.int32)
    data[MARKED] = 3
    return Labels(data, **placed)


def save(layer: Labels, path) -> str:
    data, attributes, _ = layer.as_layer_data_tuple()
    write_mask(str(path), data, attributes)
    return str(path)


def marked_millimetres(path: str) -> np.ndarray:
    image = nib.load(path)
    (at,) = np.argwhere(image.dataobj)
    return nib.affines.apply_affine(image.affine, at)


QUARTER_TURN = np.eye(3)[[1, 0, 2]] * [[-1], [1], [1]]
SWAPPED = np.eye(4)[[1, 2, 0, 3]] * [[2.0], [-1.0], [3.0], [1.0]]
SWAPPED[:3, 3] = (5, -4, 9)


@pytest.mark.parametrize(
    "placed",
    [
        {},
        {"scale": (3, 1, 2), "translate": (-7, 11, 4)},
        {"scale": (-3, 1, 2), "translate": (-7, 11, 4)},
        {"scale": (-1, -1, -1)},
        {"affine": np.diag([2.0, -1.0, -3.0, 1.0])},
        {"affine": SWAPPED},
        {"affine": SWAPPED, "scale": (0.5, -1, 2), "translate": (1, 2, 3)},
        {"rotate": QUARTER_TURN, "scale": (3, 1, 2)},
    ],
    ids=["new", "placed", "flipped", "mirrored", "affine", "swapped", "both", "quarter-turn"],
)
def test_a_layer_of_others_is_saved_where_the_viewer_shows_it(tmp_path, placed):
    layer = marked_layer(**placed)
    path = save(layer, tmp_path / "mask.nii.gz")
    z, y, x = layer.data_to_world(MARKED)  # towards inferior, posterior, left
    np.testing.assert_allclose(marked_millimetres(path), (-x, -y, -z), atol=1e-5)
    assert np.asarray(nib.load(path).dataobj).max() == 3


def test_lengths_in_other_units_become_millimetres(tmp_path):
    layer = marked_layer(scale=(500, 1000, 1000), units=("um", "um", "um"))
    path = save(layer, tmp_path / "mask.nii.gz")
    np.testing.assert_allclose(nib.load(path).header.get_zooms(), (1, 1, 0.5))


@pytest.mark.parametrize(
    ("placed", "says"),
    [
        ({"rotate": (20, 0, 0)}, "rotated or sheared"),
        ({"shear": (0.2, 0, 0)}, "rotated or sheared"),
        ({"affine": np.array([[1, 0.1, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])},
         "rotated or sheared"),
    ],
    ids=["rotated", "sheared", "affine"],
)  # fmt: skip
def test_a_turned_layer_is_refused_with_a_reason(tmp_path, placed, says):
    with pytest.raises(SaveError, match=says):
        save(marked_layer(**placed), tmp_path / "mask.nii.gz")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("shape", [(5, 6), (2, 4, 5, 6)], ids=["2d", "4d"])
def test_a_layer_that_is_no_volume_is_refused_with_a_reason(tmp_path, shape):
    with pytest.raises(SaveError, match=f"Only 3D masks can be saved; this layer is {len(shape)}D"):
        save(Labels(np.ones(shape, int)), tmp_path / "mask.nii.gz")


@pytest.mark.window
def test_the_window_saves_names_and_colours_in_every_format_it_offers(bench, tmp_path):
    bench.paint(8)
    bench.annotator.add_structure()
    structures = bench.session.structures
    bench.annotator.change_structure(2, replace(structures[1], name="Oedema"))
    bench.annotator.save_mask(tmp_path / "button.seg.nrrd")
    assert "identical to the scan's grid" in bench.widget.message.text
    bench.viewer.layers.selection = {bench.session.labels}
    for name in ("dialog.seg.nrrd", "dialog.mgz", "dialog.nii.gz"):
        path = str(tmp_path / name)
        assert bench.viewer.layers.save(path, selected=True, plugin="napari-unet-mri") == [path]
    for door in ("button", "dialog"):
        stored, header = nrrd.read(str(tmp_path / f"{door}.seg.nrrd"))
        assert np.count_nonzero(stored) == np.count_nonzero(bench.session.labels.data)
        assert [header[f"Segment{n}_Name"] for n in (0, 1)] == [s.name for s in structures]
        beside = json.loads((tmp_path / f"{door}.json").read_text())["Structures"]
        assert [row["color"] for row in beside] == [s.color for s in structures]


def test_saving_again_replaces_the_mask_that_the_dialog_asked_about(bench, tmp_path):
    bench.paint(8)
    bench.annotator.save_mask(tmp_path / "mask.nii.gz")
    bench.paint(9)
    bench.annotator.save_mask(tmp_path / "mask.nii.gz")
    saved = np.asarray(nib.load(tmp_path / "mask.nii.gz").dataobj)
    assert np.count_nonzero(saved) == np.count_nonzero(bench.session.labels.data)


def test_a_mask_of_many_labels_keeps_all_of_them_on_its_way_through_the_viewer(tmp_path):
    labels = np.zeros(SHAPE, np.uint8)
    labels[MARKED], labels[0, 0, 0] = 254, 255
    nib.save(nib.Nifti1Image(labels, np.diag([2.0, 2, 3, 1])), tmp_path / "atlas_labels.nii")
    [(data, arguments, _)] = read_scans(str(tmp_path / "atlas_labels.nii"))
    save(Labels(data, **arguments), tmp_path / "again.nii")
    np.testing.assert_array_equal(nib.load(tmp_path / "again.nii").dataobj, labels)


def test_names_and_colours_of_a_saved_mask_stay_when_it_is_opened_and_saved_again(tmp_path):
    grid = Grid.from_spacing(SHAPE)
    labels = marked_layer().data
    rows = [(1, "Oedema", "#010203"), (3, "Core", "#040506")]
    save_mask(labels, grid, tmp_path / "g_mask.nii.gz", structures=rows)
    [(data, arguments, _)] = read_scans(str(tmp_path / "g_mask.nii.gz"))
    save(Labels(data, **arguments), tmp_path / "again.nii.gz")
    assert structures_beside(tmp_path / "again.nii.gz") == tuple(rows)


def test_a_mask_that_is_loaded_first_brings_its_names(bench, tmp_path):
    rows = [(1, "Oedema", "#010203"), (3, "Core", "#040506")]
    path = tmp_path / "g_mask.nii.gz"
    save_mask(bench.truth * np.uint8(3), bench.session.grid, path, structures=rows)
    bench.annotator.take_mask(bench.annotator.find_mask(path), complete=True)
    assert bench.session.class_names == ("Oedema", "Core")
    bench.annotator.change_structure(1, replace(bench.session.structures[0], name="Mine"))
    bench.annotator.take_mask(bench.annotator.find_mask(path), complete=True)
    assert bench.session.class_names == ("Mine", "Core")
    assert "Label 1, “Oedema” there, is “Mine” here" not in bench.widget.message.text, "not in it"
