"""A DICOM series becomes one volume whose voxels lie where the scanner measured them."""

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import generate_uid

from napari_unet.errors import VolumeError
from napari_unet.imaging.dicom.series import open_dicom, series_in

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


@pytest.fixture
def data() -> np.ndarray:
    """Slices, rows and columns of different lengths; no two voxels alike."""
    return np.arange(5 * 6 * 7, dtype=np.int16).reshape(5, 6, 7)


def assert_voxels_in_place(scan, data, lps, volume=0):
    """Every voxel of `data` (slice, row, column) is found at its RAS millimetre."""
    stored, slope, intercept = scan.read(volume)
    assert stored.shape == scan.grid.shape == data.shape[::-1]
    np.testing.assert_array_equal(stored * slope + intercept, data.transpose(2, 1, 0))
    np.testing.assert_allclose(scan.grid.affine, LPS_TO_RAS @ lps, atol=2e-5)


@pytest.mark.parametrize("degrees", [(0.0, 0.0), (17.0, -9.0), (45.0, 30.0), (90.0, 0.0)])
@pytest.mark.parametrize("pixel", [(0.8, 1.2), (0.4, 0.4)])
def test_voxels_lie_at_the_millimetre_of_their_image_position(dicom, data, degrees, pixel):
    lps = dicom.tilted(degrees, pixel)
    dicom.write(data, lps)
    scan = open_dicom(dicom.folder)
    assert_voxels_in_place(scan, data, lps)
    assert (scan.grid.sform_code, scan.grid.qform_code, scan.grid.units_code) == (1, 1, 2)
    assert scan.notes == ()


def test_slices_are_ordered_by_position_whatever_names_and_numbers_say(dicom, data):
    names = ["z.dcm", "a", "m.ima", "b.dcm", "k"]
    dicom.write(data, ks=[3, 0, 4, 1, 2], names=names)
    assert_voxels_in_place(open_dicom(dicom.folder), data, dicom.tilted())


def test_a_series_stored_from_the_far_end_is_turned_to_run_along_its_normal(dicom, data):
    backwards = dicom.tilted()
    backwards[:3, 3] += 4 * backwards[:3, 2]
    backwards[:3, 2] *= -1
    dicom.write(data, backwards)
    assert_voxels_in_place(open_dicom(dicom.folder), data[::-1], dicom.tilted())


def test_any_file_of_a_series_opens_all_of_it(dicom, data):
    files = dicom.write(data)
    dicom.write(data + 1, prefix="other", description="T2")
    scan = open_dicom(files[2])
    assert scan.name == "T1_axial"
    assert sorted(scan.files) == files
    assert_voxels_in_place(scan, data, dicom.tilted())


def test_simpleitk_finds_the_voxels_at_the_same_millimetres(dicom, data):
    sitk = pytest.importorskip("SimpleITK")
    dicom.write(data, ks=[3, 0, 4, 1, 2])
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(dicom.folder)))
    image = reader.Execute()
    scan = open_dicom(dicom.folder)
    stored = scan.read(0).stored
    for voxel in [(0, 0, 0), (6, 0, 0), (0, 5, 0), (6, 5, 4)]:
        r, a, s = (scan.grid.affine @ [*voxel, 1])[:3]
        there = image.TransformPhysicalPointToIndex((-r, -a, s))
        assert image[there] == stored[voxel]


def test_several_series_are_listed_by_name_and_chosen_by_name_or_uid(dicom, data):
    first = generate_uid()
    dicom.write(data, series=first)
    dicom.write(data + 1, prefix="x", description="FLAIR")
    dicom.write(data + 2, prefix="y", description="FLAIR")
    with pytest.raises(VolumeError, match=r"3 DICOM series.*'T1 axial' \(7 x 6 x 5.*'FLAIR #2'"):
        open_dicom(dicom.folder)
    assert [s.shape for s in series_in(dicom.folder)] == [(7, 6, 5)] * 3
    assert_voxels_in_place(open_dicom(dicom.folder, "flair #2"), data + 2, dicom.tilted())
    assert_voxels_in_place(open_dicom(dicom.folder, first[:-3]), data, dicom.tilted())
    with pytest.raises(VolumeError, match="no DICOM series 'DWI'.*'FLAIR'"):
        open_dicom(dicom.folder, "DWI")


def test_missing_slices_are_refused_and_named(dicom, data):
    flat = dicom.tilted((0.0, 0.0))
    dicom.write(data, flat, ks=[0, 1, 4])
    with pytest.raises(VolumeError, match=r"none at 17\.2, 22\.2 mm.*5 mm apart"):
        open_dicom(dicom.folder)


def test_a_missing_slice_that_is_damaged_is_named_too(dicom, data):
    files = dicom.write(data)
    files[2].write_bytes(b"\0" * 128 + b"DICM" + b"\xff" * 40)
    with pytest.raises(VolumeError, match="none at .* Left out: im002.dcm"):
        open_dicom(dicom.folder)


def test_slightly_uneven_slices_are_read_and_the_unevenness_is_said(dicom, data):
    def nudge(ds, k):
        if k == 2:
            ds.ImagePositionPatient = list(dicom.tilted()[:3, 3] + 2.05 * dicom.tilted()[:3, 2])

    dicom.write(data, edit=nudge)
    scan = open_dicom(dicom.folder)
    assert_voxels_in_place(scan, data, dicom.tilted())
    assert "4.750 to 5.250 mm apart" in scan.notes[0]
    assert "up to 0.250 mm off" in scan.notes[0]


def test_slices_at_irregular_distances_are_refused(dicom, data):
    def spread(ds, k):
        height = [0, 1, 2, 3.4, 4.8][k]
        ds.ImagePositionPatient = list(dicom.tilted()[:3, 3] + height * dicom.tilted()[:3, 2])

    dicom.write(data, edit=spread)
    with pytest.raises(VolumeError, match=r"do not lie on a regular grid: im00\d.dcm is"):
        open_dicom(dicom.folder)


def test_a_gantry_tilt_is_kept_exactly_as_a_sheared_affine(dicom, data):
    lps = dicom.tilted()
    lps[:3, 2] += 1.5 * lps[:3, 1] / np.linalg.norm(lps[:3, 1])
    dicom.write(data, lps)
    scan = open_dicom(dicom.folder)
    assert_voxels_in_place(scan, data, lps)
    assert "shifted by 1.5 mm" in scan.notes[0]
    assert (scan.grid.sform_code, scan.grid.qform_code) == (1, 0)


def test_identical_duplicates_are_dropped_with_a_note(dicom, data):
    files = dicom.write(data)
    (dicom.folder / "copy.dcm").write_bytes(files[1].read_bytes())
    again = dcmread(files[3])
    again.SOPInstanceUID = generate_uid()
    again.InstanceNumber = 77
    again.save_as(dicom.folder / "exported_again.dcm")
    scan = open_dicom(dicom.folder)
    assert_voxels_in_place(scan, data, dicom.tilted())
    assert scan.notes == ("2 identical duplicates of its slices left out.",)


def test_two_different_images_at_one_position_only_are_refused(dicom, data):
    files = dicom.write(data)
    other = dcmread(files[3])
    other.SOPInstanceUID = generate_uid()
    other.PixelData = (data[3] + 1).astype("<i2").tobytes()
    other.save_as(dicom.folder / "other.dcm")
    with pytest.raises(VolumeError, match=r"2 different images at .*im003.dcm, other.dcm"):
        open_dicom(dicom.folder)


@pytest.mark.parametrize(
    ("keyword", "values", "names"),
    [
        ("EchoTime", [80.0, 9.5], ("echo time 9.5 ms", "echo time 80 ms")),
        ("TemporalPositionIdentifier", [2, 1], ("time point 1", "time point 2")),
        ("DiffusionBValue", [1000.0, 0.0], ("b-value 0", "b-value 1000")),
    ],
)
def test_volumes_at_the_same_positions_are_offered_by_name(dicom, data, keyword, values, names):
    uid = generate_uid()
    for n, value in enumerate(values):
        dicom.write(
            data + 1000 * n,
            prefix=f"v{n}",
            series=uid,
            edit=lambda ds, k, value=value: setattr(ds, keyword, value),
        )
    scan = open_dicom(dicom.folder)
    assert scan.volumes == names
    assert_voxels_in_place(scan, data + 1000, dicom.tilted(), volume=0)
    assert_voxels_in_place(scan, data, dicom.tilted(), volume=1)
    assert sorted(scan.files) == sorted(dicom.folder.iterdir())


def test_an_unfinished_last_volume_is_left_out_with_a_note(dicom, data):
    uid = generate_uid()
    for n, ks in enumerate([range(5), range(5), range(2)], start=1):
        dicom.write(
            data + n,
            ks=list(ks),
            prefix=f"v{n}",
            series=uid,
            edit=lambda ds, k, n=n: setattr(ds, "TemporalPositionIdentifier", n),
        )
    scan = open_dicom(dicom.folder)
    assert scan.volumes == ("time point 1", "time point 2")
    assert scan.notes == ("1 incomplete volume left out (2 slices).",)


def test_volumes_that_only_instance_numbers_tell_apart_are_numbered(dicom, data):
    uid = generate_uid()
    data[0] = 0  # air: the same in both
    for n in range(2):
        dicom.write(
            data * (n + 1),
            prefix=f"v{n}",
            series=uid,
            edit=lambda ds, k, n=n: setattr(ds, "InstanceNumber", 5 * n + k),
        )
    scan = open_dicom(dicom.folder)
    assert scan.volumes == ("volume 1", "volume 2")
    assert_voxels_in_place(scan, data * 2, dicom.tilted(), volume=1)
    assert "only by their instance numbers" in scan.notes[0]


def test_a_localizer_image_in_the_series_is_set_apart(dicom, data):
    uid = generate_uid()
    dicom.write(data, series=uid)
    dicom.write(data, dicom.tilted((90.0, 0.0)), ks=[0], prefix="scout", series=uid)
    scan = open_dicom(dicom.folder)
    assert_voxels_in_place(scan, data, dicom.tilted())
    assert "scout000.dcm, of another size or orientation" in scan.notes[0]


def test_the_planes_of_a_localizer_are_offered_as_series_of_their_own(dicom, data):
    uid = generate_uid()
    dicom.write(data, dicom.tilted((0.0, 0.0)), series=uid, description="loc")
    dicom.write(data, dicom.tilted((90.0, 0.0)), prefix="x", series=uid, description="loc")
    assert [s.name for s in series_in(dicom.folder)] == ["loc (axial)", "loc (coronal)"]
    scan = open_dicom(dicom.folder, "loc (coronal)")
    assert_voxels_in_place(scan, data, dicom.tilted((90.0, 0.0)))
    assert open_dicom(dicom.folder / "x000.dcm").name == scan.name


def test_one_slice_has_the_depth_of_its_header(dicom, data):
    dicom.write(data, ks=[0])
    scan = open_dicom(dicom.folder)
    assert scan.grid.shape == (7, 6, 1)
    assert np.linalg.norm(scan.grid.affine[:3, 2]) == pytest.approx(3.0)
    assert "single slice" in scan.notes[0]


def test_an_enhanced_image_is_ordered_and_scaled_like_its_frames_say(dicom, data):
    lps = dicom.tilted((45.0, 30.0))
    path = dicom.write_enhanced(data, lps, [2, 0, 1, 4, 3])
    assert_voxels_in_place(open_dicom(path), data * 2.0 - 10, lps)


def test_time_points_of_an_enhanced_image_are_volumes(dicom, data):
    path = dicom.write_enhanced(data, dicom.tilted(), [0, 1, 0, 1], marks=[2, 2, 1, 1])
    scan = open_dicom(path)
    assert scan.volumes == ("time point 1", "time point 2")
    assert scan.grid.shape == (7, 6, 2)
