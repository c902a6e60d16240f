"""DICOM segmentations are read as masks, on the grid of their series, with names and colours."""

import numpy as np
import pytest
from pydicom import dcmread

from napari_unet.cli.main import main
from napari_unet.errors import VolumeError
from napari_unet.imaging.convert import convert
from napari_unet.imaging.dicom.series import open_dicom
from napari_unet.imaging.formats.registry import open_scan
from napari_unet.imaging.loading import load_labels, load_labels_onto
from napari_unet.imaging.regridding import same_grid
from napari_unet.imaging.saving import save_mask
from napari_unet.imaging.sidecar import structures_beside
from napari_unet.plugin.layers.reader import get_reader, read_scans

hd = pytest.importorskip("highdicom", reason="writing DICOM needs the extra 'dicom'")

STRUCTURES = [(2, "Läsion 脑", "#e6550d"), (7, "Cyst", "#3182bd"), (9, "Not painted", "#0000ff")]
DATA = np.arange(5 * 6 * 7, dtype=np.int16).reshape(5, 6, 7)


def painted(scan, *voxels):
    """Mask in display order with these (column, row, slice, value)."""
    stored = np.zeros(scan.grid.shape, np.uint8)
    for *where, value in voxels:
        stored[tuple(where)] = value
    return scan.grid.to_display(stored)


def near(one: str, other: str) -> bool:
    """Whether two colours differ by no more than rounding to CIELab."""
    parts = [[int(text[at : at + 2], 16) for at in (1, 3, 5)] for text in (one, other)]
    return bool(np.abs(np.subtract(*parts)).max() <= 2)


@pytest.mark.parametrize("slices", [(1,), (3,), (0, 4), (1, 2, 3)], ids=str)
@pytest.mark.parametrize("kept", [True, False], ids=["sidecar", "alone"])
def test_a_mask_that_we_saved_comes_back_as_it_was(dicom, tmp_path, slices, kept):
    dicom.write(DATA)
    scan = open_dicom(dicom.folder)
    mask = painted(scan, *((1, 4, k, 2) for k in slices), (6, 0, slices[0], 7))
    path = tmp_path / "mask.dcm"
    save_mask(mask, scan.grid, path, structures=STRUCTURES, series=scan)
    if not kept:
        (tmp_path / "mask.json").unlink()
    found, grid = load_labels(path)
    assert same_grid(grid, scan.grid)
    np.testing.assert_allclose(grid.affine, scan.grid.affine, atol=1e-4)
    np.testing.assert_array_equal(found, mask)
    np.testing.assert_array_equal(load_labels(path, scan.grid)[0], mask)
    rows = structures_beside(path)
    assert [row[:2] for row in rows] == [row[:2] for row in STRUCTURES]
    assert all(near(row[2], wanted[2]) for row, wanted in zip(rows, STRUCTURES, strict=True))


def test_a_mask_of_an_enhanced_image_comes_back_as_it_was(dicom, tmp_path):
    scan = open_dicom(dicom.write_enhanced(DATA, dicom.tilted(), [2, 0, 1, 4, 3]))
    mask = painted(scan, (1, 4, 2, 2))
    save_mask(mask, scan.grid, tmp_path / "mask.dcm", structures=STRUCTURES, series=scan)
    np.testing.assert_array_equal(load_labels(tmp_path / "mask.dcm", scan.grid)[0], mask)


def test_every_door_opens_a_segmentation(dicom, tmp_path, capsys):
    dicom.write(DATA)
    scan = open_dicom(dicom.folder)
    mask = painted(scan, (1, 4, 3, 2), (6, 0, 0, 7))
    path = tmp_path / "mask.dcm"
    save_mask(mask, scan.grid, path, structures=STRUCTURES, series=scan)
    assert main(["info", str(path)]) == 0
    told = capsys.readouterr().out
    assert "DICOM segmentation" in told
    assert "label 7" in told
    assert convert(path, tmp_path / "again.nii.gz").ok
    np.testing.assert_array_equal(load_labels(tmp_path / "again.nii.gz", scan.grid)[0], mask)
    assert structures_beside(tmp_path / "again.nii.gz") == tuple(STRUCTURES)
    assert get_reader(str(path)) is read_scans
    ((labels, arguments, kind),) = read_scans(str(path))
    assert kind == "labels"
    np.testing.assert_array_equal(labels, mask)
    named = {s.value: s.name for s in arguments["metadata"]["napari_unet"].structures}
    assert named == {value: name for value, name, _ in STRUCTURES}


def segmentation(dicom, kind, pixels, numbers=(1, 2), **more):
    """A segmentation as others make it with highdicom; `pixels` (slice, row, column[, segment])."""
    from pydicom.sr.codedict import codes

    sources = [dcmread(file) for file in dicom.write(DATA)]
    for source in sources:
        for keyword in ("PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID"):
            setattr(source, keyword, "")
        source.StudyDate = source.StudyTime = ""
    described = [
        hd.seg.SegmentDescription(
            segment_number=number,
            segment_label=f"part {number}",
            segmented_property_category=codes.SCT.Tissue,
            segmented_property_type=codes.SCT.Tissue,
            algorithm_type="MANUAL",
        )
        for number in numbers
    ]
    path = dicom.folder.parent / "theirs.dcm"
    hd.seg.Segmentation(
        source_images=sources,
        pixel_array=pixels,
        segmentation_type=kind,
        segment_descriptions=described,
        series_instance_uid=hd.UID(),
        series_number=9,
        sop_instance_uid=hd.UID(),
        instance_number=1,
        manufacturer="somebody",
        manufacturer_model_name="something",
        software_versions="1",
        device_serial_number="1",
        **more,
    ).save_as(path)
    return path


@pytest.mark.parametrize("omit", [True, False])
@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP"])
def test_segmentations_of_others_lie_on_their_series(dicom, kind, omit):
    pixels = np.zeros(DATA.shape, np.uint8)
    pixels[1, 2, 3], pixels[2, 5, 0], pixels[3, 4, 4] = 1, 2, 2
    path = segmentation(dicom, kind, pixels, omit_empty_frames=omit)
    series = open_dicom(dicom.folder)
    labels, note = load_labels_onto(path, series.grid, "scan")
    np.testing.assert_array_equal(series.grid.to_source(labels).transpose(2, 1, 0), pixels)
    assert note == ""
    assert structures_beside(path) == ((1, "part 1", "#ffd700"), (2, "part 2", "#ffd700"))


def test_label_maps_keep_their_numbers(dicom):
    pixels = np.zeros(DATA.shape, np.uint8)
    pixels[1, 2, 3], pixels[3, 4, 4] = 4, 17
    path = segmentation(dicom, "LABELMAP", pixels, numbers=(4, 17))
    assert set(np.unique(load_labels(path)[0])) == {0, 4, 17}


def test_structures_that_overlap_are_refused(dicom):
    pixels = np.zeros((*DATA.shape, 2), np.uint8)
    pixels[1, 2, 3] = 1
    path = segmentation(dicom, "BINARY", pixels)
    with pytest.raises(VolumeError, match="structures that overlap, in 1 voxels"):
        load_labels(path)


def test_shares_of_voxels_are_refused(dicom):
    pixels = np.zeros(DATA.shape, np.float32)
    pixels[1, 2, 3] = 0.5
    path = segmentation(dicom, "FRACTIONAL", pixels, numbers=(1,))
    with pytest.raises(VolumeError, match="shares of voxels"):
        open_scan(path)


def test_a_damaged_segmentation_is_refused(dicom):
    pixels = np.zeros(DATA.shape, np.uint8)
    pixels[1, 2, 3] = 1
    path = segmentation(dicom, "BINARY", pixels, numbers=(1,))
    header = dcmread(path)
    del header.SegmentSequence
    header.save_as(path)
    with pytest.raises(VolumeError, match="cannot be read as DICOM"):
        load_labels(path)
    assert structures_beside(path) == ()
