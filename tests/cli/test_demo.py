"""What `napari-unet demo` leaves behind, on a tiny phantom."""

import re
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from napari_unet import api
from napari_unet.cli import demo, report
from napari_unet.cli import report as overview
from napari_unet.cli.main import main as cli
from napari_unet.imaging.measurement import StructureMeasure
from napari_unet.learning.config import TrainConfig
from napari_unet.learning.network.checkpoint import Checkpoint
from napari_unet.phantom import metastases as synthetic

TINY = synthetic.make_phantom(shape_zyx=(24, 40, 36), spacing_mm=(3.0, 2.0, 2.0))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("demo") / "new"
    demo.write_report(out, TINY, TrainConfig(max_steps=2, threads=1))
    return out


def test_everything_promised_is_there(folder):
    assert {path.name for path in folder.iterdir()} == {
        "demo.json",
        "image.nii.gz",
        "labels.json",
        "labels.nii.gz",
        "mask.json",
        "mask.nii.gz",
        "model.safetensors",
        "overview.png",
        "report.html",
        "truth.json",
        "truth.nii.gz",
    }
    image = api.load_volume(folder / "image.nii.gz")
    mask, grid = api.load_labels(folder / "mask.nii.gz", image.grid)
    assert mask.shape == image.shape_zyx
    np.testing.assert_array_equal(grid.affine, image.grid.affine)
    assert Checkpoint.load(folder / "model.safetensors").card.class_names == ("metastasis",)


def test_the_report_stands_alone_and_names_the_results(folder):
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert not re.search(r'(src|href)="(https?:)?//', page)
    for words in ("Dice on unseen slices", "mL", "pieces", "annotated slices", "2 steps", "seed 0"):
        assert words in page
    for name in re.findall(r'href="([^"]+)"', page):
        assert (folder / name).exists()
    assert "data:image/png;base64," in page
    assert "$" not in re.sub(r"base64,[^\"]*", "", page)


def test_the_commands_of_the_report_do_the_same(folder, monkeypatch, tmp_path, capsys):
    page = (folder / "report.html").read_text(encoding="utf-8")
    (commands,) = re.findall(r"<pre>(.*?)</pre>", page, re.DOTALL)
    train, segment = commands.replace("\\\n", " ").splitlines()
    monkeypatch.chdir(tmp_path)
    assert cli([*train.split()[1:], "--seconds", "0.7"]) == 0
    assert cli(segment.split()[1:]) == 0
    assert (tmp_path / "mask.nii.gz").exists()
    n_slices = re.search(r"--slices ([\d,]+)", train)
    assert n_slices is not None
    assert f"{len(n_slices[1].split(','))} annotated slices" in capsys.readouterr().out


def test_the_picture_shows_truth_and_prediction_in_their_colours():
    image = np.random.default_rng(0).normal(100, 10, (8, 30, 30)).astype(np.float32)
    truth = np.zeros((8, 30, 30), np.uint8)
    truth[2:6, 8:14, 8:14] = 1
    elsewhere = np.roll(truth, 12, axis=2)

    def count(prediction: np.ndarray, colour: tuple[int, int, int]) -> int:
        picture = overview.draw(image, truth, prediction, [3, 4], (1, 1, 1), "title")
        return int((np.asarray(picture) == colour).all(axis=-1).sum())

    assert count(truth * 0, overview.TRUTH_COLOUR) > 100
    assert count(truth * 0, overview.PREDICTION_COLOUR) == 0
    assert count(elsewhere, overview.PREDICTION_COLOUR) > 100


def test_pictured_slices_show_structures_and_were_not_learned_from():
    truth = np.zeros((40, 8, 8), np.uint8)
    truth[5:15, :4] = 1
    truth[30:33, :2] = 1
    chosen = overview.interesting_slices(truth, 3, without=[5, 10])
    assert 2 <= len(chosen) <= 3
    assert all(truth[z].any() for z in chosen)
    assert not {5, 10} & set(chosen)
    assert any(z >= 30 for z in chosen)
    assert overview.interesting_slices(truth * 0, 3) == []


def test_names_cannot_break_the_page(tmp_path):
    Image.new("RGB", (2, 2)).save(tmp_path / "p.png")
    size = StructureMeasure(1, "<b>&tumour", 1.0, 2, 0.5)
    page = report.render(
        report.Report(
            title="t",
            summary="s",
            structures=[report.StructureResult(size, size, float("nan"))],
            profile=([0.0, 1.0], [0.0, 2.0]),
            annotated=[1],
            settings=[],
            files=[],
            commands=[],
            picture=tmp_path / "p.png",
        )
    )
    assert "&lt;b&gt;&amp;tumour" in page
    assert "nan" not in re.sub(r"base64,[^\"]*", "", page)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"DISPLAY": ":0"}, True),
        ({"WAYLAND_DISPLAY": "wayland-0"}, True),
        ({"DISPLAY": ":0", "CI": "true"}, False),
        ({}, False),
    ],
)
def test_a_window_is_opened_only_where_someone_sees_it(monkeypatch, environment, expected):
    monkeypatch.setattr("sys.platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "CI"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert demo.has_display() is expected


def test_a_window_is_told_the_training_time_and_what_it_cannot_do_is_refused(monkeypatch, capsys):
    opened: list[float] = []
    monkeypatch.setattr(demo, "has_display", lambda: True)
    monkeypatch.setattr("napari_unet.plugin.demo.napari.Viewer", None)
    for given, says in (
        (["--seconds", "2"], "from 5 to 3600, not 2"),
        (["--out", "demo"], "add --headless"),
        (["--overwrite"], "add --headless"),
    ):
        assert cli(["demo", *given]) == 2
        assert says in capsys.readouterr().err
    monkeypatch.setattr("napari_unet.plugin.demo.open_demo", lambda c: opened.append(c.seconds))
    assert cli(["demo", "--seconds", "33"]) == 0
    assert opened == [33.0]


def test_an_earlier_demo_is_replaced_and_what_others_have_there_is_not(
    folder, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr("napari_unet.phantom.metastases.make_phantom", lambda: TINY)
    monkeypatch.setattr("napari_unet.cli.demo.TrainConfig", partial(TrainConfig, max_steps=1))
    out = tmp_path / "demo"
    shutil.copytree(folder, out)
    (out / "notes.txt").write_text("mine")
    before = (out / "model.safetensors").read_bytes()
    again = ["demo", "--headless", "--out", str(out)]
    assert cli(again) == 0
    assert (out / "model.safetensors").read_bytes() != before
    assert {path.name for path in out.iterdir()} == {*demo.FILES, demo.NOTE, "notes.txt"}

    capsys.readouterr()
    (out / "labels.nii.gz").write_bytes(b"painted further")
    written = {path: path.read_bytes() for path in out.iterdir()}
    assert cli(again) == 1
    said = capsys.readouterr().err
    assert "labels.nii.gz is not of an earlier demo, or was changed since" in said
    assert "--overwrite" in said
    assert {path: path.read_bytes() for path in out.iterdir()} == written
    assert cli([*again, "--overwrite"]) == 0
    assert api.load_labels(out / "labels.nii.gz")[0].any()


@pytest.mark.parametrize("name", ["mask.nii.gz", "truth.json", "demo.json", "report.html"])
def test_a_demo_replaces_no_file_of_others_in_a_folder_that_it_has_not_made(tmp_path, name, capsys):
    (tmp_path / name).write_text("mine")
    assert cli(["demo", "--headless", "--out", str(tmp_path)]) == 1
    assert f"{name} is not of an earlier demo" in capsys.readouterr().err
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(name, "mine")]


def test_a_folder_that_cannot_be_made_is_one_clear_line(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert cli(["demo", "--headless", "--out", str(tmp_path / "file" / "demo")]) == 1
    assert "Cannot make the folder" in capsys.readouterr().err
