"""The command line: what it writes, what it says, and its exit status."""

import io
import json
import os
import signal
import subprocess
import sys
from dataclasses import fields
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from napari_unet import api
from napari_unet.cli import console
from napari_unet.cli.main import main
from napari_unet.errors import NapariUnetError, UsageError
from napari_unet.imaging.volume import Grid, Volume
from napari_unet.learning.config import BorderWeighting, ModelConfig, Recipe, TrainConfig
from napari_unet.learning.events import RoundDone
from napari_unet.learning.network.checkpoint import Checkpoint

pytestmark = pytest.mark.usefixtures("narrow_network")

SHAPE = (24, 32, 17)  # as stored: x, y, z
AFFINE = np.array([[1, 0, 0, -12], [0, -1, 0, 16], [0, 0, 3, -15], [0, 0, 0, 1.0]])  # R, P, S


TALKATIVE = """
import sys
from napari_unet.cli.main import main as cli
from napari_unet.cli import console
console.LINE_EVERY = 0
sys.exit(cli())
"""

INTERRUPTED = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in a shell's background
module = sys.argv.pop(1)
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == module:
            signal.raise_signal(signal.SIGINT)
sys.meta_path.insert(0, Finder())
from napari_unet.__main__ import main
sys.exit(main())
"""


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    """A folder with t1.nii.gz, flair.nii.gz and labels.nii.gz (value 4, slices 2 to 6)."""
    rng = np.random.default_rng(0)
    x, y, z = np.ogrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    blob = (x - 9) ** 2 + (y - 14) ** 2 + 9 * (z - 4) ** 2 <= 40
    head = (x - 12) ** 2 + (y - 16) ** 2 <= 110
    image = 100.0 * head + 200.0 * blob + rng.normal(0, 4, SHAPE)
    save(tmp_path / "t1.nii.gz", image.astype(np.float32))
    save(tmp_path / "flair.nii.gz", (image[::-1] * 0.5).astype(np.float32))
    save(tmp_path / "labels.nii.gz", (blob * 4).astype(np.uint8))
    return tmp_path


@pytest.fixture(scope="module")
def trained() -> Checkpoint:
    """A model for one sequence and label value 4 that has hardly learned anything."""
    rng = np.random.default_rng(0)
    volume = Volume(
        rng.normal(size=(1, 4, 32, 32)).astype(np.float32), Grid.from_spacing((4, 32, 32))
    )
    labels = np.full((4, 32, 32), 4, np.uint8)
    return api.train(volume, labels, config=TrainConfig(max_steps=1, threads=1))


@pytest.fixture
def model(scan: Path, trained: Checkpoint) -> str:
    trained.save(scan / "model.safetensors")
    return str(scan / "model.safetensors")


def save(path: Path, data: np.ndarray) -> None:
    image = nib.Nifti1Image(data, AFFINE)
    image.header.set_qform(AFFINE, 1)
    image.header.set_sform(AFFINE, 2)
    image.to_filename(path)


def train(scan: Path, *more: str, image: tuple[str, ...] = ("t1.nii.gz",)) -> int:
    images = [str(scan / name) for name in image]
    given = ["--image", *images, "--labels", str(scan / "labels.nii.gz")]
    out = str(scan / "model.safetensors")
    return main(["train", "--overwrite", *given, "--out", out, "--seconds", "0.7", *more])


def error_of(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line on standard error."""
    text = capsys.readouterr().err
    assert text.count("\n") == 1, text
    assert text.startswith("napari-unet")
    assert "Traceback" not in text
    return text


@pytest.mark.slow
def test_train_then_segment_saves_a_mask_on_the_scans_grid(scan, capsys, monkeypatch):
    # As many steps on a busy machine as on a quick one.
    monkeypatch.setattr(
        "napari_unet.cli.train.TrainConfig", partial(TrainConfig, max_steps=60, threads=1)
    )
    assert train(scan, "--seconds", "200", "--seed", "1") == 0
    assert "label 4; 5 annotated slices" in capsys.readouterr().out
    out = scan / "mask.nii.gz"
    model, image = str(scan / "model.safetensors"), str(scan / "t1.nii.gz")
    assert main(["segment", "--model", model, "--out", str(out), image]) == 0
    assert "identical to the scan's grid" in capsys.readouterr().out

    image, mask = nib.load(scan / "t1.nii.gz"), nib.load(out)
    assert mask.shape == SHAPE
    np.testing.assert_array_equal(mask.affine, image.affine)
    assert (int(mask.header["qform_code"]), int(mask.header["sform_code"])) == (1, 2)
    found, truth = np.asarray(mask.dataobj), np.asarray(nib.load(scan / "labels.nii.gz").dataobj)
    assert set(np.unique(found)) <= {0, 4}
    assert 2 * ((found == 4) & (truth == 4)).sum() > 0.5 * ((found == 4).sum() + (truth == 4).sum())


def test_the_annotated_slices_are_kept_in_the_mask(scan, model, capsys):
    out, image, labels = scan / "mask.nii.gz", str(scan / "t1.nii.gz"), str(scan / "labels.nii.gz")
    given = ["--model", model, "--labels", labels, "--slices", "3,6", "--out", str(out), image]
    assert main(["segment", *given]) == 0
    assert main(["segment", *given]) == 1
    assert "exists already" in capsys.readouterr().err
    assert main(["segment", "--overwrite", *given]) == 0
    beside = json.loads((scan / "mask.json").read_text())
    assert [(row["index"], row["name"]) for row in beside["Structures"]] == [(4, "label 4")]
    assert beside["Sources"] == ["t1.nii.gz"]
    found, truth = (np.asarray(nib.load(path).dataobj) for path in (out, labels))
    np.testing.assert_array_equal(found[..., [3, 6]], truth[..., [3, 6]])


def test_labels_on_another_grid_are_brought_onto_the_scan_and_it_is_said(scan, model, capsys):
    painted = np.asarray(nib.load(scan / "labels.nii.gz").dataobj)
    coarse = AFFINE @ np.diag([2.0, 2.0, 1.0, 1.0])
    coarse[:3, 3] += AFFINE[:3, :3] @ (0.5, 0.5, 0)
    nib.save(nib.Nifti1Image(painted[::2, ::2], coarse), scan / "coarse.nii.gz")
    given = ["segment", "--model", model, "--labels", str(scan / "coarse.nii.gz"), "--slices", "4"]
    assert main([*given, "--out", str(scan / "mask.nii.gz"), str(scan / "t1.nii.gz")]) == 0
    told = capsys.readouterr().out
    assert "Note: coarse.nii.gz was resampled from 2 x 2 x 3 mm onto the grid of t1." in told
    found = np.asarray(nib.load(scan / "mask.nii.gz").dataobj)[..., 4]
    np.testing.assert_array_equal(found, painted[::2, ::2, 4].repeat(2, 0).repeat(2, 1))


def test_a_binary_mask_of_0_and_255_is_asked_about_and_then_filled(scan, capsys):
    painted = np.asarray(nib.load(scan / "labels.nii.gz").dataobj)
    save(scan / "binary.nii.gz", (painted > 0).astype(np.uint8) * 255)
    out = scan / "filled.nii.gz"
    given = ["fill", "--labels", str(scan / "binary.nii.gz"), "--slices", "2,6", "--axis", "z"]
    assert main([*given, "--out", str(out)]) == 1
    assert "Say which: --ignore-label none, or --ignore-label 255." in error_of(capsys)
    assert main([*given, "--ignore-label", "none", "--out", str(out)]) == 0
    found = np.asarray(nib.load(out).dataobj)
    assert set(np.unique(found)) == {0, 255}
    assert found[..., 4].any()


def test_the_annotation_is_not_overwritten_by_the_mask(scan, model, capsys):
    image, labels = str(scan / "t1.nii.gz"), scan / "labels.nii.gz"
    before = labels.read_bytes()
    given = ["--model", model, "--labels", str(labels), "--out", str(labels), image]
    assert main(["segment", *given]) != 0
    assert "is the annotation itself" in capsys.readouterr().err
    assert labels.read_bytes() == before


def test_several_images_are_several_scans(scan, model):
    out = scan / "new" / "masks"
    images = [str(scan / "t1.nii.gz"), str(scan / "flair.nii.gz")]
    assert main(["segment", "--model", model, "--out", str(out), *images]) == 0
    assert sorted(path.name for path in out.glob("*.nii.gz")) == [
        "flair_seg.nii.gz",
        "t1_seg.nii.gz",
    ]


def test_scans_are_told_apart_by_the_folders_that_differ(scan, model, monkeypatch):
    data = np.asarray(nib.load(scan / "t1.nii.gz").dataobj)
    for subject in ("sub-01", "sub-02"):
        folder = scan / subject / "ses-1" / "mri"
        folder.mkdir(parents=True)
        nib.save(nib.MGHImage(data, AFFINE), folder / "T1.mgz")
    monkeypatch.chdir(scan / "sub-02" / "ses-1" / "mri")
    images = ["../../../sub-01/ses-1/mri/T1.mgz", "T1.mgz"]
    assert main(["segment", "--model", model, "--out", str(scan / "masks"), *images]) == 0
    assert {path.name for path in (scan / "masks").glob("*.nii.gz")} == {
        "sub-01_T1_seg.nii.gz",
        "sub-02_T1_seg.nii.gz",
    }


@pytest.mark.parametrize(
    "out", ["derivatives-0.1.0/", "derivatives-0.1.0", "there.nii.gz", "m.mgz/"]
)
def test_a_folder_is_one_whatever_its_name_ends_in(scan, model, monkeypatch, out):
    monkeypatch.chdir(scan)
    (scan / "there.nii.gz").mkdir()
    assert main(["segment", "--model", model, "--out", out, "t1.nii.gz"]) == 0
    assert (scan / out / "t1_seg.nii.gz").is_file()


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "--image", "t1.nii.gz", "--labels", "labels.nii.gz", "--out"],
        ["fill", "--labels", "labels.nii.gz", "--out"],
        ["convert", "t1.nii.gz"],
    ],
)
@pytest.mark.parametrize("out", ["m.safetensors/", "m.nii.gz/", "."])
def test_a_folder_is_not_taken_for_the_file_to_write(scan, capsys, monkeypatch, arguments, out):
    monkeypatch.chdir(scan)
    before = sorted(scan.iterdir())
    with pytest.raises(SystemExit):
        main([*arguments, out])
    assert f"{out} is a folder: add a file name" in error_of(capsys)
    assert sorted(scan.iterdir()) == before


def test_a_name_without_room_for_what_lies_beside_it_is_refused_before_the_work(
    scan, model, capsys, monkeypatch
):
    monkeypatch.setattr(api, "load_volume", None)  # the work has not begun
    out = scan / ("m" * 240 + ".safetensors")
    assert train(scan, "--init", model, "--out", str(out)) == 1
    assert "too long for a name" in error_of(capsys)
    monkeypatch.setattr("napari_unet.imaging.saving._write", None)
    out = scan / ("m" * 251 + ".nii")  # its .json is longer by a letter
    given = ["--labels", str(scan / "labels.nii.gz"), "--slices", "3,6", "--out", str(out)]
    for command in (["fill", *given], ["convert", str(scan / "labels.nii.gz"), str(out)]):
        assert main(command) == 1
        assert "too long for a name" in error_of(capsys)


@pytest.mark.parametrize("damage", [MemoryError(), ValueError("odd"), OSError(5, "bad disk", "x")])
def test_whatever_is_wrong_with_one_scan_costs_that_scan_only(
    scan, model, capsys, monkeypatch, damage
):
    def segment(volume, *_, **__):
        if volume.name == "t1":
            raise damage
        return np.zeros(volume.shape_zyx, np.uint8)

    monkeypatch.setattr(api, "segment", segment)
    images = [str(scan / "t1.nii.gz"), str(scan / "flair.nii.gz")]
    assert main(["segment", "--model", model, "--out", str(scan / "m"), *images]) == 1
    assert [path.name for path in (scan / "m").glob("*.nii.gz")] == ["flair_seg.nii.gz"]
    reason, summary = capsys.readouterr().err.splitlines()
    assert "t1.nii.gz: " in reason
    assert "1 of 2 scans were not segmented: t1.nii.gz" in summary


def test_a_mask_that_could_not_be_saved_is_not_computed(scan, model, capsys, monkeypatch):
    monkeypatch.setattr(api, "segment", None)
    image = scan / ("x" * 246 + ".nii.gz")
    image.write_bytes((scan / "t1.nii.gz").read_bytes())
    given = ["segment", "--model", model, str(image), "--out"]
    assert main([*given, str(scan / "m")]) == 1
    assert "too long for a name here" in error_of(capsys)
    (scan / "file").write_text("")
    assert main([*given, str(scan / "file" / "m")]) == 1
    assert "Cannot make the folder" in error_of(capsys)


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="names are UTF-8 there")
def test_a_name_that_is_not_utf_8_costs_neither_model_nor_masks(scan, monkeypatch):
    monkeypatch.setattr(
        "napari_unet.cli.train.TrainConfig", partial(TrainConfig, max_steps=1, threads=1)
    )
    folder = scan / os.fsdecode(b"M\xfcller")
    folder.mkdir()
    one, other = folder / os.fsdecode(b"caf\xe9.nii.gz"), folder / os.fsdecode(b"caf\xe8.nii.gz")
    for path in (one, other):
        path.write_bytes((scan / "t1.nii.gz").read_bytes())
    printed = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", printed)  # a terminal that knows no such letters either
    out = folder / os.fsdecode(b"mod\xe8le.safetensors")
    assert train(scan, "--out", str(out), image=(str(one),)) == 0
    assert Checkpoint.load(out).card.provenance.trained_on == (r"caf\udce9",)
    masks = ["--out", str(folder / "masks"), str(one), str(other)]
    assert main(["segment", "--model", str(out), *masks]) == 0
    assert main(["info", str(out)]) == 0
    written = sorted(path.name for path in (folder / "masks").glob("*.nii.gz"))
    assert written == [os.fsdecode(b"caf\xe8_seg.nii.gz"), os.fsdecode(b"caf\xe9_seg.nii.gz")]
    beside = json.loads((folder / "masks" / os.fsdecode(b"caf\xe9_seg.json")).read_text("utf-8"))
    assert beside["Sources"] == [f"../{one.name}"]
    assert beside["Geometry"]["File"] == written[1]
    printed.seek(0)
    assert r"Saved" in (said := printed.read())
    assert r"mod\udce8le.safetensors" in said


def test_two_sequences_are_grouped_by_channels(scan, capsys):
    assert train(scan, image=("t1.nii.gz", "flair.nii.gz")) == 0
    assert Checkpoint.load(scan / "model.safetensors").card.channel_names == ("t1", "flair")
    capsys.readouterr()
    images = [str(scan / "t1.nii.gz"), str(scan / "flair.nii.gz")]
    arguments = ["segment", "--model", str(scan / "model.safetensors"), "--out", str(scan / "m")]

    assert main([*arguments, *images]) == 2
    assert "needs 2 sequences a scan (t1, flair): add --channels 2" in error_of(capsys)
    assert main([*arguments, "--channels", "2", *images, images[0]]) == 2
    assert "3 images do not make whole scans" in error_of(capsys)
    assert main([*arguments, "--channels", "2", *images]) == 0
    assert [path.name for path in (scan / "m").glob("*.nii.gz")] == ["t1_seg.nii.gz"]


def test_volumes_of_a_series_are_chosen_and_several_are_channels(scan, model, capsys):
    stacked = np.stack(
        [np.asarray(nib.load(scan / f"{name}.nii.gz").dataobj) for name in ("t1", "flair")], axis=-1
    )
    save(scan / "bold.nii.gz", stacked)
    assert train(scan, image=("bold.nii.gz",)) == 1
    assert "bold.nii.gz holds 2 volumes. Choose one" in error_of(capsys)
    segment = [
        "segment",
        "--overwrite",
        "--out",
        str(scan / "mask.nii.gz"),
        str(scan / "bold.nii.gz"),
    ]
    assert main([*segment, "--model", model, "--volume", "1"]) == 0

    assert train(scan, "--volume", "0", "--volume", "1", image=("bold.nii.gz",)) == 0
    names = Checkpoint.load(scan / "model.safetensors").card.channel_names
    assert names == ("bold volume 0", "bold volume 1")
    assert main([*segment, "--model", model, "--volume", "0", "--volume", "1"]) == 0
    capsys.readouterr()
    assert main([*segment, "--model", model, *["--volume", "0"] * 3]) == 2
    assert "--volume chooses 3 volumes a scan: this model needs 2" in error_of(capsys)
    assert main([*segment, "--model", model, "--volume", "0"]) == 2
    assert "needs 2 sequences a scan" in error_of(capsys)


def test_what_a_file_leaves_open_is_said_before_training(scan, capsys):
    for name in ("t1", "labels"):
        image = nib.load(scan / f"{name}.nii.gz")
        image.set_sform(None, 0)
        image.set_qform(None, 0)
        nib.Nifti1Image(np.asarray(image.dataobj), None, image.header).to_filename(
            scan / f"{name}.nii.gz"
        )
    assert train(scan) == 0
    assert "Note: Its header gives no orientation" in capsys.readouterr().out


def test_slices_and_axis_choose_what_is_learned(scan, capsys):
    assert train(scan, "--slices", "2,4,9", "--axis", "z") == 0
    card = Checkpoint.load(scan / "model.safetensors").card
    assert (card.provenance.annotated_slices, card.slice_axis) == (3, 0)
    assert train(scan, "--axis", "coronal") == 0
    by_plane = Checkpoint.load(scan / "model.safetensors").card
    assert train(scan, "--axis", "y") == 0
    by_letter = Checkpoint.load(scan / "model.safetensors").card
    assert by_plane.slice_axis == by_letter.slice_axis == 1
    assert by_plane.provenance.annotated_slices == by_letter.provenance.annotated_slices > 5
    capsys.readouterr()
    assert train(scan, "--slices", "2,17") == 1
    assert "no slice 17 along axial (z): slices count from 0 to 16" in error_of(capsys)


def test_init_goes_on_from_a_model_and_its_axis(scan):
    first = scan / "first.safetensors"
    train(scan, "--axis", "coronal", "--out", str(first))
    assert train(scan, "--init", str(first)) == 0
    assert Checkpoint.load(scan / "model.safetensors").card.slice_axis == 1


@pytest.mark.slow
def test_a_model_is_tested_on_slices_held_back_and_kept_if_the_new_one_is_worse(
    scan, capsys, monkeypatch
):
    monkeypatch.setattr(
        "napari_unet.cli.train.TrainConfig", partial(TrainConfig, max_steps=40, threads=1)
    )
    first, out = scan / "first.safetensors", scan / "model.safetensors"
    start = ("--seconds", "200", "--init", str(first))
    train(scan, "--slices", "2,4", "--out", str(first), "--seconds", "200")
    capsys.readouterr()
    assert train(scan, *start) == 0
    said = capsys.readouterr().out
    assert "; 4 annotated slices, 80 steps" in said
    assert "on 1 held-back slice (Dice " in said
    assert Checkpoint.load(out).card.provenance.held_back == (("t1", 16 - 5),)
    main(["info", str(out)])
    assert "1 annotated slice, as a test" in capsys.readouterr().out

    monkeypatch.setattr("napari_unet.learning.training.model_selection.TOLERANCE", -2)
    assert train(scan, *start) == 0
    said = capsys.readouterr().out
    assert "worse on 1 held-back slice" in said
    assert "anyway, take" in said
    weights = [Checkpoint.load(path).state["head.weight"] for path in (first, out)]
    assert (weights[0] == weights[1]).all()
    rejected = Checkpoint.load(scan / "model_rejected.safetensors")
    assert rejected.card.provenance.steps == 80
    before = (scan / "model_rejected.safetensors").read_bytes()
    out.unlink()
    given = ["--image", str(scan / "t1.nii.gz"), "--labels", str(scan / "labels.nii.gz")]
    assert main(["train", *given, "--out", str(out), *start]) == 0
    assert "anyway, take " + str(scan / "model_rejected_2.safetensors") in capsys.readouterr().out
    assert (scan / "model_rejected.safetensors").read_bytes() == before


def test_info_describes_scan_mask_and_model(scan, capsys):
    train(scan)
    capsys.readouterr()
    assert main(["info", str(scan / "t1.nii.gz")]) == 0
    text = capsys.readouterr().out
    for part in ("24 x 32 x 17", "1 x 1 x 3 mm", "RPS", "float32", "2 (aligned), 1 (scanner)"):
        assert part in text
    assert main(["info", str(scan / "labels.nii.gz")]) == 0
    n = int((np.asarray(nib.load(scan / "labels.nii.gz").dataobj) == 4).sum())
    assert f"{n} voxels, {n * 3 / 1000:.2f} mL" in capsys.readouterr().out
    assert main(["info", str(scan / "model.safetensors")]) == 0
    text = capsys.readouterr().out
    for part in ("4 = label 4", "1 (t1)", "axial", "5 annotated slices"):
        assert part in text


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["info", "nowhere.nii.gz"], 1, "no file nowhere.nii.gz"),
        (["info", "nowhere.safetensors"], 1, "no file nowhere.safetensors"),
        (["info", "labels.txt"], 1, "not named like an image"),
        (["train", "--image", "t1.nii.gz", "--labels", "small.nii.gz", "--out", "m.safetensors"],
         1, "show different places"),
        (["train", "--image", "gone.nii.gz", "--labels", "labels.nii.gz", "--out", "m.safetensors"],
         1, "no file gone.nii.gz"),
        (["train", "--image", "nan.nii.gz", "--labels", "labels.nii.gz", "--out", "m.safetensors"],
         1, "NaN"),
        (["train", "--image", "t1.nii.gz", "--labels", "labels.nii.gz", "--out", "m.pt"],
         2, "ending in .safetensors"),
        (["train", "--image", "t1.nii.gz", "--labels", "t1.nii.gz", "--out", "no/m.safetensors"],
         1, "does not exist"),
        (["train", "--image", "t1.nii.gz", "--labels", "labels.nii.gz", "--out", "m.safetensors",
          "--loss", "ce", "--border-weight", "4"], 2, "border-ce: choose that instead of ce"),
        (["segment", "--model", "damaged.safetensors", "--out", "m", "t1.nii.gz"], 1, "damaged"),
        (["segment", "--model", "model.safetensors", "--out", "m.nii.gz", "t1.nii.gz", "t1.nii.gz"],
         2, "name a folder"),
        (["segment", "--model", "model.safetensors", "--out", "m", "t1.nii.gz", "t1.nii.gz"],
         2, "run them apart"),
        (["segment", "--model", "model.safetensors", "--out", "t1.nii.gz", "t1.nii.gz"],
         2, "is one of the images"),
        *(
            (["segment", "--model", "model.safetensors", "--out", name, "t1.nii.gz"],
             2, "name a folder, or a mask file")
            for name in ("labels.txt", "m.jpg", "m.mhd", "m.safetensors")
        ),
        (["segment", "--model", "model.safetensors", "--out", "m.png", "t1.nii.gz"],
         1, "would lose the place of this scan"),
        (["segment", "--model", "model.safetensors", "--out", "labels.nii.gz", "t1.nii.gz"],
         1, "exists already"),
        (["fill", "--labels", "labels.nii.gz", "--out", "t1.nii.gz"], 1, "exists already"),
        (["convert", "t1.nii.gz", "labels.nii.gz"], 1, "exists already"),
        (["convert", "t1.nii.gz", "t1.seg.nrrd", "--image"], 1, "Save the image as .nrrd"),
        (["convert", "t1.nii.gz", "t1.webp"], 1, "ending in .nii.gz"),
        (["segment", "--model", "model.safetensors", "--out", "labels.txt/m", "t1.nii.gz"],
         1, "labels.txt/m"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_and_a_status(
    scan, model, capsys, monkeypatch, arguments, status, words
):
    monkeypatch.chdir(scan)
    elsewhere = AFFINE + 900 * np.eye(4)[3][None] * np.array([[0], [0], [1], [0]])
    nib.save(nib.Nifti1Image(np.ones((4, 4, 4), np.uint8), elsewhere), scan / "small.nii.gz")
    save(scan / "nan.nii.gz", np.full(SHAPE, np.nan, np.float32))
    (scan / "labels.txt").write_text("no image")
    (scan / "damaged.safetensors").write_bytes(b"\0" * 100)
    before = sorted(scan.iterdir())
    assert main(arguments) == status
    assert words in error_of(capsys)
    assert sorted(scan.iterdir()) == before


UNTRAINED = ["train", "--image", "a", "--labels", "b", "--out", "c.safetensors"]


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["paint"],
        ["train", "--image", "a.nii.gz"],
        ["train", "--image", "a", "--labels", "b", "--out", "c", "--slices", "1,two"],
        ["train", "--image", "a", "--labels", "b", "--out", "c", "--axis", "oblique"],
        ["train", "--image", "a", "--labels", "b", "--out", "c", "--seconds", "soon"],
        ["train", "--image", "a", "--labels", "b", "--out", "c", "--seed", "9" * 5000],
        ["train", "--image", "a", "--labels", "b", "--out", "c", "extra"],
        ["train", "--image", "a", "--labels", "b", "--out", "c", "--ignore-label", "0"],
        [*UNTRAINED, "--loss", "hinge"],
        [*UNTRAINED, "--seed", "1.5"],
        [*UNTRAINED, "--seed", "9" * 5000],
        [*UNTRAINED, "--volume", "1.7"],
        [*UNTRAINED, "--preset", "fast", "--width", "16.5"],
        [*UNTRAINED, "--border-sigma.sigma", "3"],
        ["info", "--preset", "fast", "--size", "0x10"],
        ["convert", "a.nii", "b.nii", "--volume", "1.2"],
    ],
)
def test_wrong_usage_is_one_line(capsys, arguments):
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2
    assert "--help" in (said := error_of(capsys))
    assert len(said) < 300


def test_images_are_needed(capsys):
    assert main(["train", "--image", "--labels", "b", "--out", "c.safetensors"]) == 2
    assert "--image" in error_of(capsys)


@pytest.mark.parametrize(
    ("given", "settings"),
    [
        (["--seconds", "-1"], {"seconds": -1.0}),
        (["--seconds", "nan"], {"seconds": float("nan")}),
        (["--seed", "9" * 23], {"seed": int("9" * 23)}),
        (["--seed", "-1"], {"seed": -1}),
    ],
)
def test_python_and_the_command_line_refuse_settings_with_the_same_words(capsys, given, settings):
    with pytest.raises(UsageError) as refused:
        TrainConfig(**settings)
    assert main(["train", "--image", "a", "--labels", "b", "--out", "c.safetensors", *given]) == 2
    assert error_of(capsys) == f"napari-unet: {refused.value}\n"


def test_a_model_to_start_from_keeps_its_network_for_python_too(capsys):
    given = ["--init", "m.safetensors", "--preset", "paper"]
    with pytest.raises(UsageError) as refused:
        api.train("a", "b", init="m.safetensors", config=TrainConfig(preset="paper"))
    assert main(["train", "--image", "a", "--labels", "b", "--out", "c.safetensors", *given]) == 2
    assert error_of(capsys).replace("--", "") == f"napari-unet: {refused.value}\n"


def test_a_model_is_replaced_only_when_told_and_that_is_said_before_training(
    scan, model, capsys, monkeypatch
):
    before = Path(model).read_bytes()
    given = ["--image", str(scan / "t1.nii.gz"), "--labels", str(scan / "labels.nii.gz")]
    steps = ["--seconds", "0.1", "--out", model]
    with monkeypatch.context() as patched:
        patched.setattr(api, "load_volume", None)  # the work has not begun
        assert main(["train", *given, *steps]) == 1
    assert "model.safetensors exists already" in (said := error_of(capsys))
    assert "--overwrite" in said
    assert Path(model).read_bytes() == before
    assert main(["train", *given, *steps, "--overwrite"]) == 0
    assert Path(model).read_bytes() != before


def test_a_trained_model_that_cannot_be_saved_where_it_should_is_saved_elsewhere(
    scan, model, trained, capsys, monkeypatch
):
    before, out = Path(model).read_bytes(), scan / "new" / "model.safetensors"
    out.parent.mkdir()
    monkeypatch.chdir(scan)

    advice = f"To use the new one anyway, take {scan / 'model_rejected.safetensors'}."

    def lose_the_folder(*_, progress, **__):
        progress(RoundDone(trained, False, 1.0, kept="old", rejected=trained))
        out.parent.rmdir()
        return trained

    monkeypatch.setattr(api, "train", lose_the_folder)
    assert train(scan, "--out", str(out)) == 1
    told, said = capsys.readouterr()
    assert "new does not exist" in said
    assert f"The model is not lost: it is {scan / 'model_2.safetensors'}" in said
    assert Path(model).read_bytes() == before
    assert Checkpoint.load(scan / "model_2.safetensors").card == trained.card
    assert f"Saved {scan / 'model_2.safetensors'}: " in told
    assert told.endswith(f"{advice}\n")
    assert Checkpoint.load(scan / "model_rejected.safetensors").card == trained.card


@pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot send Ctrl-C to one process")
@pytest.mark.parametrize(
    ("first", "again", "status"), [("SIGINT", "SIGINT", 0), ("SIGTERM", "SIGHUP", 143)]
)
def test_signals_end_training_at_once_and_keep_the_model(scan, first, again, status):
    command = "train --image t1.nii.gz --labels labels.nii.gz --out model.safetensors --seconds 600"
    process = subprocess.Popen(
        [sys.executable, "-c", TALKATIVE, *command.split()],
        cwd=scan,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    assert any(line.startswith("Training: ") for line in process.stdout)  # it is on its way
    process.send_signal(getattr(signal, first))
    while "Stopping: what was learned so far is being saved" not in (said := error_line(process)):
        assert said, "it ended without a word"
    process.send_signal(getattr(signal, again))
    out, error = process.communicate()
    assert process.returncode == status, error
    assert "Still stopping" in error
    assert "Traceback" not in error
    assert "stopped early" in out
    assert Checkpoint.load(scan / "model.safetensors").card.provenance.steps >= 1
    assert not list(scan.glob(".*"))


def error_line(process: subprocess.Popen[str]) -> str:
    assert process.stderr is not None
    return process.stderr.readline()


@pytest.mark.parametrize(
    "loading", ["napari_unet.cli.main", "napari_unet.errors", "numpy", "torch"]
)
def test_ctrl_c_while_it_is_being_loaded_is_one_line(loading, model):
    command = [sys.executable, "-c", INTERRUPTED, loading, "info", model]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.stderr == "napari-unet: Interrupted.\n"
    assert (result.returncode, result.stdout) == (130, "")


def test_ctrl_c_stops_a_list_of_scans_after_the_one_at_hand(scan, model, capfd, monkeypatch):
    images = [str(scan / "t1.nii.gz"), str(scan / "flair.nii.gz")]
    given = ["segment", "--model", model, "--out", str(scan / "m"), *images]
    times = 1

    def segment(volume, *_, **__):
        for _ in range(times):
            signal.raise_signal(signal.SIGINT)
        return np.zeros(volume.shape_zyx, np.uint8)

    monkeypatch.setattr(api, "segment", segment)
    assert main(given) == 130
    at_once, last = capfd.readouterr().err.splitlines()
    assert "Stopping after this scan" in at_once
    assert f"Stopped after 1 of 2 scans, before {images[1]}" in last
    written = {path.name for path in (scan / "m").iterdir()}
    assert written == {"t1_seg.nii.gz", "t1_seg.json"}

    times = 2
    assert main([*given, "--overwrite"]) == 130
    assert capfd.readouterr().err.splitlines()[-1] == "napari-unet: Interrupted."
    assert main([*given[:4], str(scan / "one"), images[0]]) == 130  # a single scan: at once
    assert {path.name for path in (scan / "m").iterdir()} == written
    assert not list((scan / "one").iterdir())


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has other signals")
def test_a_signal_while_a_mask_is_written_leaves_nothing_half(scan, capsys, monkeypatch):
    real = nib.Nifti1Image.to_filename

    def write(self, *arguments, **options):
        real(self, *arguments, **options)
        signal.raise_signal(signal.SIGTERM)

    before = sorted(scan.iterdir())
    monkeypatch.setattr(nib.Nifti1Image, "to_filename", write)
    filled = str(scan / "filled.nii.gz")
    given = ["--labels", str(scan / "labels.nii.gz"), "--slices", "4,6", "--axis", "z"]
    assert main(["fill", *given, "--out", filled]) == 143
    assert error_of(capsys) == "napari-unet: Interrupted.\n"
    assert sorted(scan.iterdir()) == before
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has other signals")
@pytest.mark.parametrize("name", ["SIGHUP", "SIGINT"])  # as nohup has it, and a script's &
def test_a_program_that_outlives_its_terminal_goes_on(name):
    number = getattr(signal, name)
    before = signal.signal(number, signal.SIG_IGN)
    try:
        with console.ended_by_signals(), console.stopped_by_signals("Stopping.") as stop:
            signal.raise_signal(number)
            assert not stop()
    finally:
        signal.signal(number, before)


def test_ctrl_c_of_which_a_library_makes_another_error_is_still_ctrl_c():
    def load():
        with console.ended_by_signals():
            try:
                signal.raise_signal(signal.SIGINT)
            except KeyboardInterrupt:
                raise ImportError("numpy could not be imported") from None

    with pytest.raises(console.Ended):
        load()


class Closed(io.StringIO):
    def write(self, _text: str) -> int:
        raise BrokenPipeError


def test_a_list_of_scans_goes_on_where_nobody_reads_what_is_wrong(scan, model, monkeypatch):
    bad = scan / "bad.nii.gz"
    bad.write_bytes(b"")
    monkeypatch.setattr(sys, "stderr", Closed())
    images = [str(bad), str(scan / "t1.nii.gz")]
    assert main(["segment", "--model", model, "--out", str(scan / "m"), *images]) == 1
    assert [path.name for path in (scan / "m").glob("*.nii.gz")] == ["t1_seg.nii.gz"]


def test_training_goes_on_where_nobody_reads_what_it_says(scan, monkeypatch):
    monkeypatch.setattr(
        "napari_unet.cli.train.TrainConfig", partial(TrainConfig, max_steps=2, threads=1)
    )
    monkeypatch.setattr(console, "LINE_EVERY", 0)
    monkeypatch.setattr(sys, "stdout", Closed())
    assert train(scan, "--seconds", "200") == 0
    assert Checkpoint.load(scan / "model.safetensors").card.provenance.steps == 2


def test_a_failure_in_mid_training_keeps_the_model_and_says_why(scan, capsys, monkeypatch):
    from napari_unet.learning.training.training_set import TrainingSet
    from napari_unet.learning.training.weight_updater import WeightUpdater

    real, steps = WeightUpdater.step, iter(range(1, 10_000))

    def step(self: WeightUpdater, examples: TrainingSet, progress: float) -> float:
        if next(steps) == 3:
            raise MemoryError
        return real(self, examples, progress)

    monkeypatch.setattr(WeightUpdater, "step", step)
    assert train(scan, "--seconds", "30") == 1
    printed = capsys.readouterr()
    assert "(stopped early)" in printed.out
    assert "5 annotated slices, 2 steps" in printed.out
    assert printed.err.count("\n") == 1
    assert "ran out of memory" in printed.err
    assert Checkpoint.load(scan / "model.safetensors").card.provenance.steps == 2


def test_filling_interpolates_between_the_named_slices_as_the_file_counts_them(scan, capsys):
    labels = nib.load(scan / "labels.nii.gz")
    truth = np.asarray(labels.dataobj)
    given, out = str(scan / "labels.nii.gz"), scan / "filled.nii.gz"
    asked = ["fill", "--labels", given, "--slices", "12,4,6", "--axis", "z", "--out", str(out)]
    assert main(asked) == 0
    assert str(out) in capsys.readouterr().out
    filled = nib.load(out)
    np.testing.assert_allclose(filled.affine, labels.affine)
    data = np.asarray(filled.dataobj)
    np.testing.assert_array_equal(data[..., [2, 3, 4, 6]], truth[..., [2, 3, 4, 6]])
    assert 0 < (data[..., 5] == 4).sum() < (truth[..., 4] == 4).sum()
    assert not data[..., 12].any()


def test_filling_spares_its_own_annotation_and_says_what_is_missing(scan, capsys):
    given = str(scan / "labels.nii.gz")
    assert main(["fill", "--labels", given, "--out", given]) == 2
    assert "is the annotation itself" in error_of(capsys)
    out = str(scan / "filled.nii.gz")
    assert main(["fill", "--labels", given, "--slices", "4", "--out", out]) == 1
    assert "two completely annotated slices" in error_of(capsys)


def test_info_lists_the_layers_of_the_paper_s_network(capsys):
    assert main(["info", "--preset", "paper"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "31030658 parameters" in lines
    assert "23 convolutional layers" in lines
    assert "572 -> 388" in lines
    bridge = next(line for line in lines if line.startswith("encoder.4.conv2"))
    layer = ["encoder.4.conv2", "3x3", "convolution,", "ReLU"]
    assert bridge.split() == [*layer, "1024", "->", "1024", "28", "x", "28", "9438208"]
    assert any("16 k + 12" in line for line in lines)


def test_info_lists_other_networks_at_other_sizes(capsys):
    assert main(["info", "--preset", "standard", "--size", "250", "--width", "8"]) == 0
    text = capsys.readouterr().out
    assert "256 -> 256 (250 is not a valid size: filled up to 256)" in text
    assert "1 -> 8 " in text
    assert main(["info", "--preset", "fast"]) == 0
    assert "2x2 pixels to channels" in capsys.readouterr().out


def test_info_wants_a_file_or_a_network_and_not_both(scan, capsys):
    assert main(["info"]) == 2
    assert "Name a file, or a network" in error_of(capsys)
    assert main(["info", str(scan / "t1.nii.gz"), "--preset", "fast"]) == 2
    assert "leave --preset out" in error_of(capsys)
    assert main(["info", str(scan / "t1.nii.gz"), "--size", "8", "--kernel", "5"]) == 2
    assert "leave --kernel, --size out" in error_of(capsys)


def test_a_network_that_is_changed_is_named(scan, capsys):
    assert train(scan, "--width", "4") == 2
    assert "add --preset fast or standard or paper" in error_of(capsys)


def test_losses_borders_and_deformations_are_chosen(scan, monkeypatch, capsys):
    given = []
    monkeypatch.setattr(api, "train", lambda *_, config, **__: given.append(config) or stop())

    def stop():
        raise NapariUnetError("far enough")

    assert train(scan) == 1
    assert given.pop().recipe is None
    options = ("--loss", "border-ce", "--border-weight", "4", "--flip-rows", "--elastic", "10")
    for sigma in ("3", "2.5mm"):
        assert train(scan, *options, "--border-sigma", sigma) == 1
    wanted = (BorderWeighting(4.0, 3.0, "pixels"), BorderWeighting(4.0, 2.5, "mm"))
    assert [config.recipe for config in given] == [
        Recipe(loss="border-ce", border=border, flip_rows=True, elastic=10) for border in wanted
    ]
    capsys.readouterr()
    assert train(scan, "--preset", "paper", "--border-sigma", "3") == 1  # weighs borders anyway
    capsys.readouterr()
    assert train(scan, "--preset", "fast", "--border-weight", "3") == 2
    assert "choose that instead of dice+ce, or leave them out" in error_of(capsys)
    # The recipe is that of the network, not of its preset's name.
    plain = ("--preset", "paper", "--normalisation", "batch", "--border-weight", "3")
    assert train(scan, *plain) == 2
    bare = ("--preset", "fast", "--normalisation", "none", "--border-weight", "3")
    assert train(scan, *bare) == 1
    capsys.readouterr()
    with pytest.raises(SystemExit):
        train(scan, *options, "--border-sigma", "3cm")
    assert "or of millimetres as in 2.5mm" in capsys.readouterr().err


def test_every_option_of_a_network_can_be_changed(scan, capsys):
    changed = {
        "width": 4,
        "max_width": 6,
        "levels": 3,
        "stride": 1,
        "kernel": 5,
        "padding": "mirror",
        "normalisation": "none",
        "upsampling": "nearest",
        "dropout": 0.25,
        "initialisation": "uniform",
    }
    given = {field.name for field in fields(ModelConfig)} - {"in_channels", "n_classes"}
    assert set(changed) == given
    options = [f"--{name.replace('_', '-')}={value}" for name, value in changed.items()]
    assert train(scan, "--preset", "paper", *options) == 0
    network = Checkpoint.load(scan / "model.safetensors").card.model
    assert {name: getattr(network, name) for name in changed} == changed


@pytest.mark.parametrize(
    ("option", "complaint"),
    [
        ("--kernel=4", "kernel of a network is odd (1, 3, 5, ..., 4095), not 4"),
        ("--levels=40", "levels of a network is from 1 to 10, not 40"),
        ("--dropout=1", "dropout of a network is from 0 to below 1, not 1.0"),
    ],
)
def test_an_impossible_network_is_refused_with_what_is_allowed(capsys, option, complaint):
    assert main(["info", "--preset", "fast", option]) == 2
    assert complaint in error_of(capsys)


def test_a_word_that_no_network_knows_is_refused_with_those_there_are(capsys):
    with pytest.raises(SystemExit):
        main(["info", "--preset", "fast", "--padding", "wrap"])
    complaint = capsys.readouterr().err
    assert "wrap" in complaint
    assert all(w in complaint for w in ("zero", "mirror", "valid"))


def test_a_scan_from_dicom_gets_its_mask_as_a_dicom_segmentation(scan, model, dicom, capsys):
    pytest.importorskip("highdicom", reason="writing DICOM needs the extra 'dicom'")
    voxels = np.random.default_rng(0).integers(0, 300, (3, 32, 32)).astype(np.int16)
    dicom.write(voxels)
    target = scan / "mask.dcm"
    assert main(["segment", "--model", model, "--out", str(target), str(dicom.folder)]) == 0
    assert "mask.dcm (32 x 32 x 3); re-read and identical" in capsys.readouterr().out
    assert target.read_bytes()[128:132] == b"DICM"
    image = str(scan / "t1.nii.gz")
    assert main(["segment", "--model", model, "--out", str(scan / "no.dcm"), image]) == 1
    assert "a DICOM series, but t1 is none. Save as .nii.gz." in error_of(capsys)


def test_a_dicom_segmentation_that_could_refer_to_nothing_is_refused_before_the_work(
    scan, model, dicom, capsys, monkeypatch
):
    pytest.importorskip("highdicom", reason="writing DICOM needs the extra 'dicom'")
    dicom.write(np.zeros((3, 32, 32), np.int16), edit=lambda ds, k: delattr(ds, "StudyInstanceUID"))
    monkeypatch.setattr(api, "load_volume", None)  # the work has not begun
    target = scan / "mask.dcm"
    assert main(["segment", "--model", model, "--out", str(target), str(dicom.folder)]) == 1
    assert "its images have no study identifier" in error_of(capsys)
    given = [str(scan / "labels.nii.gz"), str(target), "--scan", str(dicom.folder)]
    assert main(["convert", *given]) == 1
    assert "its images have no study identifier" in error_of(capsys)
    assert main(["info", str(dicom.folder)]) == 0
    assert "its images have no study identifier" in capsys.readouterr().out
