"""Through `convert` and `save_mask` nothing moves, however a scan is stored.

Other libraries say where voxels are: nibabel in RAS millimetres, SimpleITK in LPS ones.
"""

import itertools
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from napari_unet.imaging.convert import convert
from napari_unet.imaging.loading import load_volume
from napari_unet.imaging.saving import save_mask

SHAPE = (5, 6, 7)
MARKED = (1, 4, 2)
THICK = (0.4, 0.4, 6.0)
ORDERS = list(
    itertools.product(itertools.permutations(range(3)), itertools.product((1, -1), repeat=3))
)
"""All 48 ways to lay three axes along those of the patient: which axis, and which way."""

NO_SHRINKING = (Phase.explicit, Phase.generate)
"""An example writes 15 files: to make a failing one simpler takes minutes."""

OTHER_FORMATS = (".nrrd", ".mha", ".mgz")


def affine_of(order, signs, spacing=(1.5, 1.0, 2.0), degrees=(0, 0, 0), origin=(-7.1, 11.3, 23.7)):
    """Voxel to RAS mm: axes laid along the patient's, then the whole turned about x, y, z."""
    affine = np.eye(4)
    axes = np.zeros((3, 3))
    axes[list(order), range(3)] = signs
    turn = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    affine[:3, :3] = turn @ axes * spacing
    affine[:3, 3] = origin
    return affine


def write_scan(path: Path, affine: NDArray, *, scaled: bool) -> Path:
    """Write a scan of int16, with or without a scaling that float32 can hold."""
    voxels = np.random.default_rng(0).integers(-99, 99, SHAPE).astype(np.int16)
    voxels[MARKED] = 1000
    image = nib.Nifti1Image(voxels, affine)
    image.set_sform(affine, 1)
    image.set_qform(affine, 1)
    image.header.set_xyzt_units("mm", "sec")
    image.to_filename(path)
    if scaled:
        raw = bytearray(path.read_bytes())
        raw[112:120] = np.array([0.5, -10], "<f4").tobytes()
        path.write_bytes(raw)
    return path


def check_identical(source: Path, copy: Path) -> None:
    """Numbers, type, scaling and every spatial field of two NIfTI files are the same."""
    old, new = nib.load(source), nib.load(copy)
    np.testing.assert_array_equal(new.dataobj.get_unscaled(), old.dataobj.get_unscaled())
    assert new.get_data_dtype() == old.get_data_dtype()
    assert (new.dataobj.slope, new.dataobj.inter) == (old.dataobj.slope, old.dataobj.inter)
    np.testing.assert_array_equal(new.get_sform(), old.get_sform())
    # A half turn has two quaternions, of opposite signs, that nibabel rounds differently.
    np.testing.assert_allclose(new.get_qform(), old.get_qform(), rtol=0, atol=1e-12)
    for field in ("sform_code", "qform_code", "xyzt_units"):
        assert new.header[field] == old.header[field]
    np.testing.assert_array_equal(new.header.get_zooms(), old.header.get_zooms())


def check_through_other_formats(source: Path) -> None:
    """Intensities and places survive the way into another format and back."""
    old = nib.load(source)
    for suffix in OTHER_FORMATS:
        if suffix == ".mha":
            pytest.importorskip("SimpleITK")
        between = source.with_name(f"between{suffix}")
        assert convert(source, between).ok
        assert convert(between, source.with_name(f"from{suffix}.nii")).ok
        new = nib.load(source.with_name(f"from{suffix}.nii"))
        np.testing.assert_array_equal(new.get_fdata(), old.get_fdata())
        np.testing.assert_allclose(new.affine, old.affine, atol=1e-4)


def check_mask(source: Path) -> None:
    """What is painted where the scan is brightest is there again for nibabel and SimpleITK."""
    volume = load_volume(source)
    painted = volume.data[0] == volume.data[0].max()
    mask = source.with_name("mask.nii")
    assert save_mask(painted, volume.grid, mask).ok
    expected = nib.affines.apply_affine(nib.load(source).affine, MARKED)

    (at,) = np.argwhere(volume.data[0] == volume.data[0].max())
    np.testing.assert_allclose((volume.grid.affine_zyx @ [*at, 1])[:3], expected, atol=1e-4)
    image = nib.load(mask)
    assert image.get_data_dtype() == np.uint8
    (at,) = np.argwhere(np.asarray(image.dataobj))
    assert tuple(at) == MARKED
    np.testing.assert_allclose(nib.affines.apply_affine(image.affine, at), expected, atol=1e-4)

    sitk = pytest.importorskip("SimpleITK")
    image = sitk.ReadImage(str(mask))
    (zyx,) = np.argwhere(sitk.GetArrayFromImage(image))
    lps = image.TransformIndexToPhysicalPoint([int(n) for n in zyx[::-1]])
    np.testing.assert_allclose(np.multiply(lps, (-1, -1, 1)), expected, atol=1e-4)


@pytest.mark.parametrize("scaled", [False, True], ids=["int16", "scaled"])
@pytest.mark.parametrize(
    ("order", "signs"),
    ORDERS,
    ids=["".join(nib.aff2axcodes(affine_of(*order))) for order in ORDERS],
)
def test_every_axis_order_comes_back_as_it_was(tmp_path, order, signs, scaled):
    source = write_scan(tmp_path / "scan.nii", affine_of(order, signs), scaled=scaled)
    assert convert(source, tmp_path / "copy.nii").ok
    check_identical(source, tmp_path / "copy.nii")
    check_mask(source)
    check_through_other_formats(source)


@pytest.mark.slow
@settings(derandomize=True, max_examples=25, deadline=None, phases=NO_SHRINKING)
@given(
    order=st.sampled_from(ORDERS),
    spacing=st.tuples(*[st.floats(0.4, 6.0)] * 3),
    degrees=st.tuples(*[st.floats(-45.0, 45.0)] * 3),
    origin=st.tuples(*[st.floats(-300.0, 300.0)] * 3),
    scaled=st.booleans(),
)
@example(((0, 1, 2), (1, 1, 1)), THICK, (45.0, 0.0, 0.0), (0.0, 0.0, 0.0), False)
@example(((0, 1, 2), (-1, 1, 1)), THICK, (45.0, 45.0, 0.0), (76.9, -82.2, 112.5), False)
@example(((2, 1, 0), (1, 1, 1)), (1.0, 1.0, 1.0), (0.5, 0.0, 0.5), (0.0, 0.0, 0.0), False)
@example(((2, 0, 1), (-1, -1, -1)), THICK, (45.0, -45.0, 45.0), (76.9, -82.2, 112.5), True)
@example(((1, 2, 0), (1, -1, 1)), (6.0, 0.4, 0.4), (30.0, -45.0, 10.0), (-300.0, 300.0, 0.0), True)
def test_any_tilt_and_voxel_size_comes_back_as_it_was(
    tmp_path_factory, order, spacing, degrees, origin, scaled
):
    folder = tmp_path_factory.mktemp("trip")
    affine = affine_of(*order, spacing, degrees, origin)
    source = write_scan(folder / "scan.nii", affine, scaled=scaled)
    assert convert(source, folder / "copy.nii").ok
    check_identical(source, folder / "copy.nii")
    check_mask(source)
    check_through_other_formats(source)
