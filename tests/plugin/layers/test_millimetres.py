"""From a file through a real window to a saved mask: what is painted stays in its millimetre."""

import gc
import itertools

import nibabel as nib
import numpy as np
import pytest
from napari.layers import Labels
from pydicom.uid import generate_uid
from qtpy.QtCore import QThreadPool
from qtpy.QtWidgets import QFileDialog
from scipy.spatial.transform import Rotation

from napari_unet.errors import SaveError
from napari_unet.imaging.formats.registry import open_scan
from napari_unet.plugin.layers import reader

from ..conftest import HANGS_MS

PLUGIN = "napari-unet-mri"
SHAPE = (11, 12, 13)
MARKED = (2, 9, 4)


def affine_of(codes: str, degrees=(0.0, 0.0, 0.0), spacing=(1.5, 1.0, 2.0)) -> np.ndarray:
    """Voxel to RAS mm of axes towards `codes`, then turned about x, y and z."""
    axes = np.zeros((3, 3))
    for column, letter in enumerate(codes):
        axes["LRPAIS".index(letter) // 2, column] = 1 if letter in "RAS" else -1
    affine = np.eye(4)
    turn = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    affine[:3, :3] = turn @ axes * spacing
    affine[:3, 3] = (-7.1, 11.3, 23.7)
    return affine


ORDERS = [
    "".join(letters[axis] for axis in order)
    for order in itertools.permutations(range(3))
    for letters in itertools.product("LR", "PA", "IS")
]
TILTED = {
    "oblique": affine_of("LPS", (17.0, -9.0, 5.0)),
    "45 degrees, thick": affine_of("RAS", (45.0, 0.0, 0.0), (0.4, 0.4, 6.0)),
    "left-handed, thick": affine_of("LAS", (40.0, -30.0, 20.0), (0.4, 0.4, 6.0)),
}


@pytest.fixture
def window(make_napari_viewer, monkeypatch):
    """A viewer with the widget; the file dialog of it answers what `typed` says."""
    viewer = make_napari_viewer()
    _, widget = viewer.window.add_plugin_dock_widget(PLUGIN, "U-Net annotator")
    window = {"viewer": viewer, "widget": widget, "typed": "", "offered": ""}

    def ask(_parent, _title, _name, kinds):
        window["offered"] = kinds
        return window["typed"], ""

    monkeypatch.setattr(QFileDialog, "getSaveFileName", ask)
    # napari collects garbage whenever a layer goes. In a process that has run all other tests
    # that takes longer than everything else here, unless what is there already is left out.
    gc.collect()
    gc.freeze()
    yield window
    gc.unfreeze()
    widget.disconnect_viewer()
    assert QThreadPool.globalInstance().waitForDone(HANGS_MS)


def open_and_paint(window, path, millimetres) -> Labels:
    """Open a file, start to annotate it, and paint the voxel at a place of the patient."""
    viewer, widget = window["viewer"], window["widget"]
    (image,) = viewer.open(str(path), plugin=PLUGIN)
    widget.annotator.choose([image])
    labels = widget.annotator.session.labels
    # Where our reader puts the place, by the grid of the file: the layer's voxel that holds it.
    grid = open_scan(path).grid
    at = np.linalg.solve(grid.affine_zyx, [*millimetres, 1])[:3]
    np.testing.assert_allclose(at, at.round(), atol=1e-3)
    # It is the bright one, also where the viewer shows it.
    where = np.unravel_index(np.argmax(image.data), image.data.shape)
    np.testing.assert_array_equal(where, at.round())
    np.testing.assert_allclose(labels.data_to_world(where), image.data_to_world(where))
    labels.data_setitem(tuple(np.array([n]) for n in where), 1)
    return labels


@pytest.mark.slow
@pytest.mark.timeout(900)  # fifty-one scans, one after the other
def test_a_voxel_painted_in_the_window_is_there_for_other_readers(window, qtbot, tmp_path):
    voxels = np.random.default_rng(0).integers(0, 99, SHAPE).astype(np.int16)
    voxels[MARKED] = 1000
    affines = [*(affine_of(codes) for codes in ORDERS), *TILTED.values()]
    for number, affine in enumerate(affines):
        scaled = number % 2  # half of them are stored with a slope and an intercept
        image = nib.Nifti1Image(voxels * 0.25 if scaled else voxels, affine)
        if scaled:
            image.set_data_dtype(np.int16)  # nibabel then chooses slope and intercept
        image.set_qform(affine, 1)
        path, saved = tmp_path / f"scan{number}.nii.gz", tmp_path / f"mask{number}.nii.gz"
        image.to_filename(path)
        millimetres = nib.affines.apply_affine(affine, MARKED)
        before = list(window["viewer"].layers)
        open_and_paint(window, path, millimetres)
        window["typed"] = str(saved)
        window["widget"].result.save_mask.click()
        said = window["widget"].message
        assert not said.failed, said.text
        assert "re-read and identical to the scan's grid" in said.text
        assert "DICOM" not in window["offered"]
        mask = nib.load(saved)
        (at,) = np.argwhere(np.asarray(mask.dataobj))
        np.testing.assert_array_equal(at, MARKED)
        found = nib.affines.apply_affine(mask.affine, at)
        np.testing.assert_allclose(found, millimetres, atol=1e-4)
        check_with_simpleitk(saved, millimetres)
        # One by one, and never all: napari 0.9.2 crashes in software OpenGL when the last goes.
        for layer in before:
            window["viewer"].layers.remove(layer)
        qtbot.wait(1)


def check_with_simpleitk(path, millimetres) -> None:
    """The only voxel of a mask is there in LPS millimetres, too, where SimpleITK is installed."""
    try:
        import SimpleITK
    except ImportError:
        return
    image = SimpleITK.ReadImage(str(path))
    ((z, y, x),) = np.argwhere(SimpleITK.GetArrayFromImage(image))
    lps = image.TransformIndexToPhysicalPoint([int(x), int(y), int(z)])
    np.testing.assert_allclose(np.multiply(lps, (-1, -1, 1)), millimetres, atol=1e-4)


def test_a_scan_from_dicom_can_be_saved_as_a_dicom_segmentation(window, dicom, tmp_path):
    highdicom = pytest.importorskip("highdicom", reason="writing DICOM needs the extra 'dicom'")
    voxels = np.random.default_rng(0).integers(0, 99, (9, 12, 13)).astype(np.int16)
    voxels[3, 4, 1] = 1000
    dicom.write(voxels)
    lps = (dicom.tilted() @ [1, 4, 3, 1])[:3]
    open_and_paint(window, dicom.folder, lps * (-1, -1, 1))

    window["typed"] = str(tmp_path / "mask.dcm")
    window["widget"].result.save_mask.click()
    assert not window["widget"].message.failed, window["widget"].message.text
    assert "DICOM segmentation (*.dcm)" in window["offered"]
    saved = highdicom.seg.segread(tmp_path / "mask.dcm")
    (number, row, column) = (int(n[0]) for n in np.nonzero(saved.pixel_array.reshape(-1, 12, 13)))
    frame = saved.PerFrameFunctionalGroupsSequence[number]
    corner = np.array(frame.PlanePositionSequence[0].ImagePositionPatient, float)
    affine = dicom.tilted()
    np.testing.assert_allclose(corner + affine[:3, :2] @ [column, row], lps, atol=1e-3)


def test_slices_that_were_joined_are_said_to_be_of_several_series(window, dicom, monkeypatch):
    pytest.importorskip("highdicom", reason="writing DICOM needs the extra 'dicom'")

    def apart(ds, k):
        ds.SeriesInstanceUID = generate_uid()

    names = [f"SE{k}/IM" for k in range(9)]
    for name in names:
        (dicom.folder / name).parent.mkdir()
    dicom.write(np.zeros((9, 12, 13), np.int16), names=names, edit=apart)
    monkeypatch.setattr(reader, "open_window", object)
    monkeypatch.setattr(reader, "choose", lambda *_: [0])
    (image,) = window["viewer"].open(str(dicom.folder), plugin=PLUGIN)
    window["widget"].annotator.choose([image])
    with pytest.raises(SaveError, match="its images are of several series"):
        window["widget"].annotator.save_mask(dicom.folder.with_name("mask.dcm"))


def test_a_name_for_dicom_needs_a_scan_from_dicom(window, tmp_path):
    nib.save(
        nib.Nifti1Image(np.arange(11 * 12 * 13.0).reshape(SHAPE), np.eye(4)), tmp_path / "a.nii"
    )
    (image,) = window["viewer"].open(str(tmp_path / "a.nii"), plugin=PLUGIN)
    window["widget"].annotator.choose([image])
    with pytest.raises(SaveError, match="a DICOM series, but none is known"):
        window["widget"].annotator.save_mask(tmp_path / "mask.dcm")
