"""FreeSurfer's MGH and MGZ files open on exactly their own grid."""

import gzip
import struct

import nibabel as nib
import numpy as np
import pytest

from napari_unet.imaging.formats.registry import open_scan
from napari_unet.imaging.loading import load_volume

MARKED = (1, 4, 2)
CONFORMED = np.array([[-1, 0, 0, 3], [0, 0, 1, -4], [0, -1, 0, 5], [0, 0, 0, 1.0]])
"""File axes L, I, A, as FreeSurfer's conformed scans have them."""


@pytest.mark.parametrize("suffix", [".mgh", ".mgz", ".MGZ"])
@pytest.mark.parametrize("kind", ["u1", "i2", "i4", "f4"])
def test_every_number_type_is_read_where_it_is(tmp_path, marked_voxels, tilted, suffix, kind):
    for affine in (tilted, CONFORMED):
        path = tmp_path / f"brain{suffix}"
        voxels = np.minimum(marked_voxels, 200).astype(kind)
        nib.MGHImage(voxels, affine).to_filename(path)
        volume = load_volume(path)
        where = np.argwhere(volume.data[0] == 200)
        assert len(where) == 1
        found = volume.grid.affine_zyx @ [*where[0], 1]
        np.testing.assert_allclose(found, affine @ [*MARKED, 1], atol=1e-4)
        np.testing.assert_array_equal(volume.grid.to_source(volume.data[0]), voxels)
        assert (volume.grid.sform_code, volume.grid.qform_code) == (1, 0)
        assert volume.notes == ()


def test_frames_are_volumes(tmp_path, marked_voxels, mark_at, refusal):
    frames = np.stack([0 * marked_voxels, marked_voxels], axis=-1)
    path = tmp_path / "bold.mgz"
    nib.MGHImage(frames, CONFORMED).to_filename(path)
    assert open_scan(path).volumes == ("volume 0", "volume 1")
    assert "2 volumes" in refusal(path)
    np.testing.assert_allclose(mark_at(path, volumes=[1]), (CONFORMED @ [*MARKED, 1])[:3])


def test_a_header_without_orientation_is_said(tmp_path, marked_voxels):
    path = tmp_path / "old.mgh"
    nib.MGHImage(marked_voxels, CONFORMED).to_filename(path)
    raw = bytearray(path.read_bytes())
    raw[28:30] = struct.pack(">h", 0)  # goodRASFlag
    path.write_bytes(raw)
    (note,) = load_volume(path).notes
    assert "no orientation" in note
    assert "L, S, P" in note


def test_damaged_files_are_refused_in_a_sentence(tmp_path, marked_voxels, refusal):
    path = tmp_path / "brain.mgz"
    nib.MGHImage(marked_voxels, CONFORMED).to_filename(path)
    packed, raw = path.read_bytes(), gzip.decompress(path.read_bytes())
    huge = raw[:4] + struct.pack(">4i", 2000, 2000, 2000, 9) + raw[20:]
    for content in (packed[:300], b"no image " * 99, gzip.compress(raw[:300]), gzip.compress(huge)):
        path.write_bytes(content)
        assert "cannot be read" in refusal(path, volumes=[0])
    path = tmp_path / "brain.mgh"
    flat = raw[:4] + struct.pack(">4i", 5, 0, 7, 1) + raw[20:]
    for content in (raw[:300], flat, huge, struct.pack(">5i", 1, -5, 6, 7, 1) + raw[20:], raw[:20]):
        path.write_bytes(content)
        refusal(path, volumes=[0])
