"""What is stored beside a mask, and what is said when something went wrong."""

import errno
import json
import os
from dataclasses import replace

import numpy as np
import pytest

from napari_unet import __version__
from napari_unet.errors import SaveError, VolumeError
from napari_unet.imaging.formats import nifti as nifti_writer
from napari_unet.imaging.formats.registry import WRITERS
from napari_unet.imaging.loading import load_labels
from napari_unet.imaging.saving import save_mask
from napari_unet.imaging.scan_file import PROGRAM
from napari_unet.imaging.sidecar import structures_beside
from napari_unet.imaging.volume import Grid

GRID = Grid.from_spacing((4, 5, 6), (3.0, 1.0, 1.0))
MASK = np.ones((4, 5, 6), np.uint8)
STRUCTURES = [(1, "Tumour", "#ff0000"), (2, "Ödem", "#00ff00")]


def content(path):
    return json.loads(path.read_text(encoding="utf-8"))


def test_names_colours_sources_and_receipt_lie_beside_the_mask(tmp_path):
    source = tmp_path / "raw" / "t1.nii.gz"
    (tmp_path / "out").mkdir()
    path = tmp_path / "out" / "mask.nii.gz"
    receipt = save_mask(MASK, GRID, path, structures=STRUCTURES, sources=[source])
    assert receipt.sidecar == tmp_path / "out" / "mask.json"
    found = content(receipt.sidecar)
    assert found["GeneratedBy"] == [{"Name": "napari-unet-mri", "Version": __version__}]
    assert found["Sources"] == ["../raw/t1.nii.gz"]
    assert found["SpatialReference"] == "orig"
    assert found["Structures"][1] == {"index": 2, "name": "Ödem", "color": "#00ff00"}
    assert found["Geometry"]["File"] == "mask.nii.gz"
    assert found["Geometry"]["Shape"] == [6, 5, 4]
    kept = ("ShapeKept", "AffineKept", "CodesKept", "VoxelsKept")
    assert all(found["Geometry"][key] for key in kept)
    assert found["Geometry"]["LargestDisplacementMm"] == 0
    assert structures_beside(path) == tuple(STRUCTURES)


@pytest.mark.parametrize("suffix", [".seg.nrrd", ".nii", ".mgz"])
def test_the_sidecar_is_named_like_the_mask(tmp_path, suffix):
    save_mask(MASK, GRID, tmp_path / f"sub-01.v2{suffix}")
    assert (tmp_path / "sub-01.v2.json").exists()


def test_our_own_sidecar_is_replaced_with_the_mask(tmp_path):
    path = tmp_path / "mask.nii.gz"
    save_mask(MASK, GRID, path, structures=STRUCTURES)
    save_mask(MASK, GRID, path, structures=STRUCTURES[:1], overwrite=True)
    assert structures_beside(path) == tuple(STRUCTURES[:1])


@pytest.mark.parametrize("foreign", ['{"EchoTime": 0.03}', "[1]", "not json", '{"GeneratedBy":[]}'])
def test_a_json_of_another_program_is_never_replaced(tmp_path, foreign):
    path = tmp_path / "t1.nii.gz"
    (tmp_path / "t1.json").write_text(foreign)
    receipt = save_mask(MASK, GRID, path, structures=STRUCTURES, overwrite=True)
    assert receipt.ok
    assert "t1.json belongs to another program" in receipt.summary()
    assert receipt.sidecar is None
    assert (tmp_path / "t1.json").read_text() == foreign
    assert structures_beside(path) == ()


def test_masks_of_one_name_in_two_formats_keep_their_own_names(tmp_path):
    save_mask(MASK, GRID, tmp_path / "cl.nii.gz", structures=STRUCTURES)
    second = save_mask(MASK, GRID, tmp_path / "cl.mgz", structures=STRUCTURES[:1])
    assert second.sidecar == tmp_path / "cl.mgz.json"
    assert structures_beside(tmp_path / "cl.nii.gz") == tuple(STRUCTURES)
    assert structures_beside(tmp_path / "cl.mgz") == tuple(STRUCTURES[:1])
    (tmp_path / "cl.nii.gz").unlink()
    assert structures_beside(tmp_path / "cl.mgz") == tuple(STRUCTURES[:1])


def test_a_mask_beside_one_of_the_same_name_does_not_borrow_its_names(tmp_path):
    save_mask(MASK, GRID, tmp_path / "cl.nii.gz", structures=STRUCTURES)
    (tmp_path / "cl.nii").write_bytes(b"of another program")
    assert structures_beside(tmp_path / "cl.nii") == ()


def test_a_segmentation_of_slicer_names_its_structures_itself(tmp_path):
    path = tmp_path / "mask.seg.nrrd"
    save_mask(MASK, GRID, path, structures=STRUCTURES[:1])
    (tmp_path / "mask.json").unlink()
    assert structures_beside(path) == tuple(STRUCTURES[:1])
    path.write_bytes(b"NRRD0004")
    assert structures_beside(path) == ()


def test_a_sidecar_edited_by_hand_into_nonsense_names_nothing(tmp_path):
    path = tmp_path / "mask.nii.gz"
    save_mask(MASK, GRID, path, structures=STRUCTURES)
    found = content(tmp_path / "mask.json")
    (tmp_path / "mask.json").write_text(json.dumps({**found, "Structures": [1, 2]}))
    assert structures_beside(path) == ()


def test_a_failing_sidecar_leaves_the_mask_and_says_so(tmp_path, monkeypatch):
    replace_well = os.replace

    def full_for_json(old, new):
        if str(new).endswith(".json"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replace_well(old, new)

    monkeypatch.setattr(os, "replace", full_for_json)
    says = r"mask.nii.gz was saved, but not its names and receipt\..*disk is full"
    with pytest.raises(SaveError, match=says):
        save_mask(MASK, GRID, tmp_path / "mask.nii.gz")
    assert [found.name for found in tmp_path.iterdir()] == ["mask.nii.gz"]
    assert load_labels(tmp_path / "mask.nii.gz")[0].all()


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mgz", ".mha"])
@pytest.mark.parametrize(
    ("code", "says"), [(errno.ENOSPC, "disk is full"), (errno.EROFS, "no permission")]
)
def test_a_full_or_locked_disk_leaves_the_old_mask_and_no_debris(
    tmp_path, monkeypatch, suffix, code, says
):
    if suffix == ".mha":
        pytest.importorskip("SimpleITK")
    path = tmp_path / f"mask{suffix}"
    save_mask(MASK, GRID, path)
    before = {found: found.read_bytes() for found in tmp_path.iterdir()}

    def fail(_descriptor):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fail)  # where a delayed write is told
    with pytest.raises(SaveError, match=says):
        save_mask(MASK * 2, GRID, path, overwrite=True)
    assert {found: found.read_bytes() for found in tmp_path.iterdir()} == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_named(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(SaveError, match="no permission"):
        save_mask(MASK, GRID, tmp_path / "mask.nii.gz")


def written_elsewhere(monkeypatch, change):
    """Let the NIfTI writer write something else than it is told."""
    honest = nifti_writer.write_nifti

    def write(contents, path):
        honest(change(contents), path)

    for suffix in (".nii", ".nii.gz"):
        writer = WRITERS[suffix]
        replaced = type(writer)(
            writer.format, writer.types, write, writer.read_back, has_nifti_fields=True
        )
        monkeypatch.setitem(WRITERS, suffix, replaced)


@pytest.mark.parametrize("wrong", ["sform", "qform", "voxels"])
def test_a_mask_that_reads_back_differently_never_replaces_the_old_one(
    tmp_path, monkeypatch, wrong
):
    grid = replace(GRID, qform=GRID.affine, qform_code=1)
    path = tmp_path / "mask.nii.gz"
    save_mask(MASK, grid, path)
    before = path.read_bytes()

    def change(contents):
        if wrong == "voxels":
            return replace(contents, stored=contents.stored * 2)
        affine = contents.grid.affine.copy()
        affine[0, 3] += 2.5
        return replace(contents, grid=replace(contents.grid, **{wrong: affine}))

    written_elsewhere(monkeypatch, change)
    says = "voxel values" if wrong == "voxels" else r"in space \(affine\), by up to 2.5 mm"
    with pytest.raises(SaveError, match=f"did not read back the same .*{says}"):
        save_mask(MASK * 2, grid, path, overwrite=True)
    assert path.read_bytes() == before
    assert {found.name for found in tmp_path.iterdir()} == {"mask.nii.gz", "mask.json"}


def test_one_structure_that_was_damaged_by_hand_costs_itself_only(tmp_path):
    path = tmp_path / "mask.nii.gz"
    receipt = save_mask(MASK, GRID, path, structures=[*STRUCTURES, (3, "Cyst", "#0000ff")])
    edited = content(receipt.sidecar)
    del edited["Structures"][0]["color"], edited["Structures"][2]["index"]
    receipt.sidecar.write_text(json.dumps(edited), encoding="utf-8")
    assert structures_beside(path) == ((1, "Tumour", "#ffd700"), STRUCTURES[1])


@pytest.mark.parametrize(
    ("structure", "row"),
    [
        ('{"index": Infinity}', None),
        ('{"index": NaN}', None),
        ('{"index": -1}', None),
        ('{"index": 0}', None),
        ('{"index": 4294967296}', None),
        ('{"index": 1e400}', None),
        ('{"index": 2, "name": 7, "color": "red"}', (2, "Structure 2", "#ffd700")),
        ('{"index": 2, "name": "a\\u001b", "color": "#12"}', (2, "a\\x1b", "#ffd700")),
        ('{"index": 2, "name": "a", "color": {"a": 1}}', (2, "a", "#ffd700")),
    ],
)
def test_a_structure_of_impossible_values_costs_itself_only(tmp_path, structure, row):
    (tmp_path / "mask.json").write_text(
        f'{{"GeneratedBy": [{{"Name": "{PROGRAM}"}}], "Geometry": {{"File": "/"}}, '
        f'"Structures": [{structure}, {{"index": 9, "name": "b", "color": "#e6550d"}}]}}'
    )
    rows = structures_beside(tmp_path / "mask.nii")
    assert rows == ((row,) if row else ()) + ((9, "b", "#e6550d"),)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no such pipes")
def test_a_sidecar_that_cannot_be_read_is_told_and_kept(tmp_path):
    os.mkfifo(tmp_path / "mask.json")
    with pytest.raises(VolumeError, match=r"mask\.json is a pipe"):
        structures_beside(tmp_path / "mask.nii")
    receipt = save_mask(MASK, GRID, tmp_path / "mask.nii")
    assert receipt.ok
    assert "mask.json is a pipe" in receipt.remark
