"""A DICOM segmentation lies on its series, and refers to the images that were painted on."""

import sys

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import generate_uid

from napari_unet.errors import GridMismatchError, SaveError
from napari_unet.imaging.dicom.seg_writer import save_dicom_seg
from napari_unet.imaging.dicom.series import open_dicom

STRUCTURES = [(2, "Läsion 脑", "#ff0000"), (7, "Cyst", "#00ff00"), (9, "Not painted", "#0000ff")]


@pytest.fixture
def data() -> np.ndarray:
    return np.arange(5 * 6 * 7, dtype=np.int16).reshape(5, 6, 7)


@pytest.fixture
def highdicom():
    return pytest.importorskip("highdicom", reason="writing DICOM needs the extra 'dicom'")


def painted(scan, voxels):
    """Mask in display order with these (column, row, slice, value)."""
    stored = np.zeros(scan.grid.shape, np.uint8)
    for *where, value in voxels:
        stored[tuple(where)] = value
    return scan.grid.to_display(stored)


def shared_or_own(shared, own):
    """All functional groups of a frame; highdicom shares what all frames have in common."""
    both = Dataset()
    both.update(shared)
    both.update(own)
    return both


def voxels_of(path):
    """Segment name, image referred to and LPS mm of every voxel, by pydicom alone."""
    found = dcmread(path)
    names = [segment.SegmentLabel for segment in found.SegmentSequence]
    shared = found.SharedFunctionalGroupsSequence[0]
    across = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float)
    rows_mm, columns_mm = shared.PixelMeasuresSequence[0].PixelSpacing
    frames = found.pixel_array.reshape(-1, found.Rows, found.Columns)
    voxels = set()
    for groups, frame in zip(found.PerFrameFunctionalGroupsSequence, frames):
        groups = shared_or_own(shared, groups)
        corner = np.array(groups.PlanePositionSequence[0].ImagePositionPatient, float)
        number = groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        source = groups.DerivationImageSequence[0].SourceImageSequence[0]
        for row, column in np.argwhere(frame):
            mm = corner + column * columns_mm * across[:3] + row * rows_mm * across[3:]
            voxels.add(
                (
                    names[number - 1],
                    str(source.ReferencedSOPInstanceUID),
                    tuple(float(v) for v in np.round(mm, 2) + 0.0),
                )
            )
    return voxels


def millimetres(lps, column, row, k):
    return tuple(float(v) for v in np.round((lps @ [column, row, k, 1])[:3], 2) + 0.0)


def test_painted_voxels_come_back_at_their_millimetre_with_name_and_source(
    highdicom, dicom, data, tmp_path
):
    files = dicom.write(data, ks=[3, 0, 4, 1, 2])
    scan = open_dicom(dicom.folder)
    mask = painted(scan, [(1, 4, 3, 2), (6, 0, 0, 2), (2, 2, 3, 7)])
    receipt = save_dicom_seg(mask, scan, tmp_path / "mask.dcm", STRUCTURES)
    assert receipt.ok
    assert "mask.dcm (7 x 6 x 5); re-read and identical" in receipt.summary()
    third, zeroth = (dcmread(files[n]).SOPInstanceUID for n in (0, 1))
    lps = dicom.tilted()
    assert voxels_of(tmp_path / "mask.dcm") == {
        ("Läsion 脑", third, millimetres(lps, 1, 4, 3)),
        ("Läsion 脑", zeroth, millimetres(lps, 6, 0, 0)),
        ("Cyst", third, millimetres(lps, 2, 2, 3)),
    }


def test_names_colours_and_the_patient_are_in_the_file(highdicom, dicom, data, tmp_path):
    dicom.write(data)
    scan = open_dicom(dicom.folder)
    mask = painted(scan, [(0, 0, 0, 2), (3, 3, 1, 4)])
    save_dicom_seg(mask, scan, tmp_path / "mask.dcm", STRUCTURES)
    found = dcmread(tmp_path / "mask.dcm")
    labels = [segment.SegmentLabel for segment in found.SegmentSequence]
    assert labels == ["Läsion 脑", "Structure 4", "Cyst", "Not painted"]
    colour = highdicom.color.CIELabColor.from_dicom_value(
        found.SegmentSequence[0].RecommendedDisplayCIELabValue
    )
    np.testing.assert_allclose(colour.to_rgb(clip=True), (255, 0, 0), atol=2)
    assert str(found.PatientName) == "Müller^Jörg"
    assert found.StudyInstanceUID == dicom.study
    assert found.FrameOfReferenceUID == dicom.frame_of_reference


def test_a_mask_of_an_enhanced_image_refers_to_its_frames(highdicom, dicom, data, tmp_path):
    lps = dicom.tilted()
    path = dicom.write_enhanced(data, lps, [2, 0, 1, 2, 0, 1], marks=[1, 1, 1, 2, 2, 2])
    scan = open_dicom(path)
    mask = painted(scan, [(1, 4, 2, 2)])
    assert save_dicom_seg(mask, scan, tmp_path / "mask.dcm", STRUCTURES).ok
    uid = dcmread(path).SOPInstanceUID
    assert voxels_of(tmp_path / "mask.dcm") == {("Läsion 脑", uid, millimetres(lps, 1, 4, 2))}
    saved = dcmread(tmp_path / "mask.dcm")
    groups = shared_or_own(
        saved.SharedFunctionalGroupsSequence[0], saved.PerFrameFunctionalGroupsSequence[0]
    )
    sources = groups.DerivationImageSequence[0].SourceImageSequence
    assert [source.ReferencedFrameNumber for source in sources] == [1, 4]  # both time points


def test_a_mask_of_a_series_with_several_volumes_refers_to_the_first(
    highdicom, dicom, data, tmp_path
):
    series = generate_uid()
    for echo in (9.0, 5.0):
        dicom.write(
            data,
            prefix=f"e{echo}",
            series=series,
            edit=lambda ds, k, e=echo: setattr(ds, "EchoTime", e),
        )
    scan = open_dicom(dicom.folder)
    assert save_dicom_seg(painted(scan, [(0, 0, 4, 2)]), scan, tmp_path / "m.dcm", STRUCTURES).ok
    ((_, source, _),) = voxels_of(tmp_path / "m.dcm")
    assert source == dcmread(dicom.folder / "e5.0004.dcm").SOPInstanceUID


def test_an_empty_mask_is_saved_when_structures_are_named(highdicom, dicom, data, tmp_path):
    dicom.write(data)
    scan = open_dicom(dicom.folder)
    assert save_dicom_seg(painted(scan, []), scan, tmp_path / "mask.dcm", STRUCTURES).ok
    with pytest.raises(SaveError, match="mask is empty and no structure"):
        save_dicom_seg(painted(scan, []), scan, tmp_path / "other.dcm")


def test_an_existing_file_stays_unless_told(highdicom, dicom, data, tmp_path):
    dicom.write(data)
    scan = open_dicom(dicom.folder)
    mask = painted(scan, [(1, 4, 3, 2)])
    target = tmp_path / "mask.dcm"
    target.write_text("precious")
    with pytest.raises(SaveError, match="exists already"):
        save_dicom_seg(mask, scan, target)
    assert target.read_text() == "precious"
    assert save_dicom_seg(mask, scan, target, overwrite=True).ok


def test_what_cannot_be_saved_is_refused_with_the_reason(
    highdicom, dicom, data, tmp_path, monkeypatch
):
    dicom.write(data, edit=lambda ds, k: delattr(ds, "FrameOfReferenceUID"))
    scan = open_dicom(dicom.folder)
    mask = painted(scan, [(1, 4, 3, 2)])
    with pytest.raises(SaveError, match=r"(?i)frame of reference.*Save the mask as .nii.gz"):
        save_dicom_seg(mask, scan, tmp_path / "mask.dcm")
    dicom.write(data)
    scan = open_dicom(dicom.folder)
    with pytest.raises(SaveError, match=r"ending in .dcm"):
        save_dicom_seg(mask, scan, tmp_path / "mask.nii.gz")
    with pytest.raises(GridMismatchError):
        save_dicom_seg(mask[1:], scan, tmp_path / "mask.dcm")
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(SaveError, match=r"pip install 'napari-unet-mri\[dicom\]'"):
        save_dicom_seg(mask, scan, tmp_path / "mask.dcm")
    assert [path.name for path in tmp_path.iterdir()] == ["dicom"]
