"""DICOM files of every encoding, and of every kind of damage, end as a volume or a sentence."""

import random
import shutil
import struct
import warnings
from contextlib import suppress
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom import dcmread
from pydicom.pixels.decoders.base import Decoder
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian, RLELossless

from napari_unet.errors import VolumeError
from napari_unet.imaging.dicom.series import is_dicom, open_dicom

PACKAGED = Path(pydicom.__file__).parent / "data" / "test_files"


@pytest.fixture(autouse=True)
def silence(capfd):
    """No warning, and no line on the console, may come out of a reader."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield
    assert capfd.readouterr().err == ""


@pytest.fixture
def data() -> np.ndarray:
    return np.arange(-50, 3 * 8 * 8 - 50, dtype=np.int16).reshape(3, 8, 8)


def alone(name: str, folder: Path) -> Path:
    """Copy one of pydicom's own test files into a folder without its neighbours."""
    if not (PACKAGED / name).is_file():
        pytest.skip(f"pydicom comes without {name}")
    return Path(shutil.copy(PACKAGED / name, folder))


def intensities(scan):
    stored, slope, intercept = scan.read(0)
    return (stored * slope + intercept).transpose(2, 1, 0)


def test_each_slice_of_one_series_can_have_its_own_encoding(dicom, data):
    def encode(ds, k):
        if k == 0:
            ds.compress(RLELossless, generate_instance_uid=False)
        elif k == 1:
            ds.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
            ds.PixelData = data[k].astype(">i2").tobytes()
            ds["PixelData"].VR = "OW"
        else:
            ds.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian

    dicom.write(data, edit=encode)
    np.testing.assert_array_equal(intensities(open_dicom(dicom.folder)), data)


@pytest.mark.parametrize(
    ("bits_stored", "signed", "stored", "meant"),
    [
        (12, 0, 0xF0AB, 0x00AB),  # an overlay in the unused bits
        (12, 1, 0x0FFF, -1),
        (16, 0, 0xFFFF, 65535),
        (16, 1, 0xFFFF, -1),
    ],
)
def test_unused_bits_and_signs_are_understood(dicom, data, bits_stored, signed, stored, meant):
    def edit(ds, k):
        ds.BitsStored, ds.HighBit, ds.PixelRepresentation = bits_stored, bits_stored - 1, signed
        ds.PixelData = np.full((8, 8), stored, "<u2").tobytes()

    dicom.write(data, edit=edit)
    scan = open_dicom(dicom.folder)
    assert scan.dtype == (np.int16 if signed else np.uint16)
    assert (scan.read(0).stored == meant).all()


def test_one_scaling_for_all_slices_is_handed_on_with_integers(dicom, data):
    def edit(ds, k):
        ds.RescaleSlope, ds.RescaleIntercept = "0.5", "-3"

    dicom.write(data, edit=edit)
    stored, slope, intercept = open_dicom(dicom.folder).read(0)
    assert (stored.dtype, slope, intercept) == (np.int16, 0.5, -3.0)


def test_a_scaling_for_each_slice_is_applied_on_reading(dicom, data):
    def edit(ds, k):
        ds.RescaleSlope, ds.RescaleIntercept = 1 + k, k

    dicom.write(data, edit=edit)
    scan = open_dicom(dicom.folder)
    wanted = data * np.array([1.0, 2.0, 3.0])[:, None, None] + np.arange(3.0)[:, None, None]
    np.testing.assert_allclose(intensities(scan), wanted)
    assert scan.dtype == scan.read(0).stored.dtype == np.float32
    assert "each in its own way" in scan.notes[0]


def test_inverted_display_is_noted_and_values_stay(dicom, data):
    dicom.write(data, edit=lambda ds, k: setattr(ds, "PhotometricInterpretation", "MONOCHROME1"))
    scan = open_dicom(dicom.folder)
    np.testing.assert_array_equal(intensities(scan), data)
    assert "MONOCHROME1" in scan.notes[0]


def test_a_mosaic_is_refused_with_the_tool_that_untiles_it(dicom, data):
    image_type = ["ORIGINAL", "PRIMARY", "M", "MOSAIC"]
    files = dicom.write(data, edit=lambda ds, k: setattr(ds, "ImageType", image_type))
    with pytest.raises(VolumeError, match="im000.dcm is a Siemens mosaic.*dcm2niix"):
        open_dicom(files[0])
    with pytest.raises(VolumeError, match="no DICOM scan.*im000.dcm and 2 more.*dcm2niix"):
        open_dicom(dicom.folder)


def test_images_without_a_position_are_refused(dicom, data):
    files = dicom.write(data, edit=lambda ds, k: delattr(ds, "ImagePositionPatient"))
    with pytest.raises(VolumeError, match="does not say where it lies"):
        open_dicom(files[0])


def test_a_multi_frame_image_without_positions_is_refused(dicom, data):
    def edit(ds, k):
        ds.NumberOfFrames, ds.PixelData = 2, ds.PixelData * 2

    files = dicom.write(data, ks=[0], edit=edit)
    with pytest.raises(VolumeError, match="2 images without a position for each.*dcm2niix"):
        open_dicom(files[0])


def test_contours_beside_a_series_are_left_out_with_a_note(dicom, data):
    files = dicom.write(data)
    alone("rtstruct.dcm", dicom.folder)
    (dicom.folder / "README.txt").write_text("not DICOM, and nobody's business")
    assert open_dicom(dicom.folder).notes == (
        "Left out: rtstruct.dcm, which is a set of radiotherapy contours, not a scan.",
    )
    assert open_dicom(files[0]).notes == ()


def test_a_folder_without_dicom_anywhere_is_refused(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "notes.txt").write_text("no image" * 50)
    with pytest.raises(VolumeError, match="no DICOM files in .*, or in its folders"):
        open_dicom(tmp_path)


def test_a_missing_decoder_names_the_command_that_installs_it(dicom, monkeypatch):
    path = alone("MR_small_jp2klossless.dcm", dicom.folder)
    monkeypatch.setattr(Decoder, "available_plugins", ())
    with pytest.raises(VolumeError, match=r"JPEG 2000.*pip install 'napari-unet-mri\[dicom\]'"):
        open_dicom(path)


def test_a_header_that_announces_more_pixels_than_the_file_has_is_refused_at_once(dicom, data):
    def edit(ds, k):
        ds.Rows = ds.Columns = 65535

    files = dicom.write(data, edit=edit)
    with pytest.raises(VolumeError, match=f"announces {65535**2 * 2} bytes"):
        open_dicom(files[0])


def test_a_volume_number_that_does_not_exist_is_refused(dicom, data):
    dicom.write(data)
    with pytest.raises(VolumeError, match="1 volumes; there is no 2"):
        open_dicom(dicom.folder).read(1)


@pytest.mark.parametrize(
    ("name", "outcome"),
    [
        ("MR_small.dcm", (64, 64, 1)),
        ("MR_small_RLE.dcm", (64, 64, 1)),
        ("MR_small_bigendian.dcm", (64, 64, 1)),
        ("MR_small_implicit.dcm", (64, 64, 1)),
        ("MR_small_jp2klossless.dcm", (64, 64, 1)),
        ("MR_small_jpeg_ls_lossless.dcm", (64, 64, 1)),
        ("MR_small_padded.dcm", (64, 64, 1)),
        ("MR_truncated.dcm", "damaged, incomplete"),
        ("CT_small.dcm", (128, 128, 1)),
        ("J2K_pixelrep_mismatch.dcm", (512, 512, 1)),
        ("examples_overlay.dcm", (484, 300, 1)),
        ("JPGExtended.dcm", "does not say where it lies"),
        ("image_dfl.dcm", "does not say where it lies"),
        ("SC_rgb_rle.dcm", "colour image"),
        ("examples_palette.dcm", "colour image"),
        ("liver_1frame.dcm", "is a DICOM segmentation"),
        ("rtdose.dcm", "is a radiotherapy dose"),
        ("rtplan.dcm", "is a radiotherapy plan"),
        ("ExplVR_BigEndNoMeta.dcm", "is a radiotherapy plan"),
        ("test-SR.dcm", "is a report"),
        ("priv_SQ.dcm", "holds no image"),
    ],
)
def test_pydicoms_own_files_have_their_outcome(tmp_path, name, outcome):
    if "jp" in name.lower() or "J2K" in name:
        pytest.importorskip("gdcm", reason="compressed DICOM needs the extra 'dicom'")
    path = alone(name, tmp_path)
    assert is_dicom(path)
    if isinstance(outcome, str):
        with pytest.raises(VolumeError, match=outcome):
            open_dicom(path).read(0)
    else:
        assert open_dicom(path).read(0).stored.shape == outcome
        if name.startswith("MR_small"):
            plain = dcmread(PACKAGED / "MR_small.dcm").pixel_array
            np.testing.assert_array_equal(open_dicom(path).read(0).stored[..., 0], plain.T)


@pytest.mark.slow
def test_a_real_series_agrees_with_simpleitk(data_dir, capfd):
    sitk = pytest.importorskip("SimpleITK")
    folder = data_dir / "io" / "dicom_series"
    if not folder.is_dir():
        pytest.skip(f"no real DICOM series in {folder}")
    scan = open_dicom(folder)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    image = reader.Execute()
    capfd.readouterr()  # it warns about the uneven slices
    np.testing.assert_array_equal(scan.read(0).stored, sitk.GetArrayViewFromImage(image).T)
    for voxel in [(0, 0, 0), (255, 0, 19), (0, 255, 19), (255, 255, 0)]:
        r, a, s = (scan.grid.affine @ [*voxel, 1])[:3]
        # SimpleITK squares the stack; the positions are rounded to 0.1 mm.
        apart = np.subtract(image.TransformIndexToPhysicalPoint(voxel), (-r, -a, s))
        assert np.linalg.norm(apart) < 0.15


@pytest.mark.parametrize(
    "name", ["explicit_big", "implicit_little", "jpeg_2000", "jpeg_lossless_sel1", "rle"]
)
def test_real_transfer_syntaxes_are_decoded(data_dir, tmp_path, name):
    source = data_dir / "io" / "dicom_syntaxes" / f"{name}.dcm"
    if not source.is_file():
        pytest.skip(f"no real file {source}")
    if name.startswith("jpeg"):
        pytest.importorskip("gdcm", reason="compressed DICOM needs the extra 'dicom'")
    stored = open_dicom(Path(shutil.copy(source, tmp_path))).read(0).stored
    np.testing.assert_array_equal(stored[..., 0], dcmread(source).pixel_array.T)


@pytest.mark.parametrize("place", [6, 7], ids=["bits", "height"])
def test_damaged_jpeg_ls_neither_takes_the_process_down_nor_minutes(tmp_path, place):
    pytest.importorskip("jpeg_ls", reason="compressed DICOM needs the extra 'dicom'")
    path = alone("MR_small_jpeg_ls_lossless.dcm", tmp_path)
    broken = bytearray(path.read_bytes())
    start = broken.index(b"\xff\xd8\xff\xf7")  # start of image, then of frame
    broken[start + place] = 255
    path.write_bytes(broken)
    with pytest.raises(VolumeError, match="damaged"):
        open_dicom(path).read(0)


def test_a_decoder_that_breaks_down_takes_only_its_own_process_along(data_dir, tmp_path):
    pytest.importorskip("gdcm", reason="compressed DICOM needs the extra 'dicom'")
    source = data_dir / "io" / "dicom_syntaxes" / "jpeg_lossless_sel1.dcm"
    if not source.is_file():
        pytest.skip(f"no real file {source}")
    path = Path(shutil.copy(source, tmp_path))
    whole = path.read_bytes()
    broken = bytearray(whole)
    broken[whole.index(b"\xff\xd8\xff") + 2] = 0x44  # where gdcm calls std::terminate
    path.write_bytes(broken)
    with pytest.raises(VolumeError, match="its decoder broke down"):
        open_dicom(path).read(0)
    path.write_bytes(whole)
    assert open_dicom(path).read(0).stored.any()


def test_damaged_files_end_only_in_our_own_error(dicom, data):
    """Whatever byte is changed, and wherever the file is cut."""
    whole = dicom.write_enhanced(data, dicom.tilted(), [2, 0, 1]).read_bytes()
    chance = random.Random(5)
    path = dicom.folder / "enhanced.dcm"
    for _ in range(60):
        broken = bytearray(whole)
        for _ in range(chance.choice([1, 3, 20])):
            broken[chance.randrange(128, len(broken))] = chance.randrange(256)
        if chance.random() < 0.3:
            del broken[chance.randrange(140, len(broken)) :]
        if chance.random() < 0.2:
            at = chance.randrange(140, len(broken) - 4) if len(broken) > 150 else 0
            struct.pack_into("<I", broken, at, 0xFFFFFFFF)
        path.write_bytes(broken)
        with suppress(VolumeError):
            open_dicom(path).read(0)
