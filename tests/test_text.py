"""Names in files, and of files, are shown as they are: nothing in them is followed."""

import dataclasses

import nibabel as nib
import numpy as np
import pytest

from napari_unet.cli.main import main
from napari_unet.errors import VolumeError
from napari_unet.imaging.formats.registry import open_scan
from napari_unet.imaging.scan_file import structure_row
from napari_unet.text import as_html, printable

STEERS = "a\x1b[2Jb\u202ec\nd\udcff"
SHOWN = r"a\x1b[2Jb\u202ec\nd\udcff"


def test_what_steers_a_terminal_is_written_as_escapes_and_letters_stay():
    assert printable(STEERS) == SHOWN
    for name in ("Größe 3 µm\xa0– 脳 🧠", "क\u200dष"):
        assert printable(name) == name


def test_html_shows_markup_as_it_is():
    assert as_html("<b>a</b>\n\x07") == r"&lt;b&gt;a&lt;/b&gt;<br>\x07"


def test_errors_scans_and_structures_have_printable_names(tmp_path):
    path = tmp_path / f"{STEERS}.nii"
    nib.Nifti1Image(np.ones((4, 5, 6), np.int16), np.eye(4)).to_filename(path)
    assert open_scan(path).name == SHOWN
    path.write_bytes(b"no image")
    with pytest.raises(VolumeError) as refused:
        open_scan(path)
    assert SHOWN in str(refused.value)
    assert structure_row(1, "a\x1b[2Jb", None)[1] == r"a\x1b[2Jb"


def test_the_command_line_prints_no_control_characters(tmp_path, capsys):
    path = tmp_path / "a\x1b[2Jb.nii"
    nib.Nifti1Image(np.ones((4, 5, 6), np.int16), np.eye(4)).to_filename(path)
    assert main(["info", str(path)]) == 0
    assert main(["info", str(path.with_suffix(".nrrd"))]) == 1
    out, err = capsys.readouterr()
    assert "\x1b" not in out + err
    assert r"a\x1b[2Jb" in out
    assert r"a\x1b[2Jb" in err


def test_the_command_line_prints_no_control_characters_of_a_model(tmp_path, capsys):
    from napari_unet.learning.config import ModelConfig
    from napari_unet.learning.model_card import ModelCard
    from napari_unet.learning.network.checkpoint import Checkpoint
    from napari_unet.learning.network.unet import UNet

    network = ModelConfig(width=2, levels=2)
    card = ModelCard(network, ("a\x1b[2Jb",))
    card = dataclasses.replace(
        card, provenance=dataclasses.replace(card.provenance, trained_on=("\x1b]0;title\x07",))
    )
    Checkpoint(UNet(network).state_dict(), card).save(tmp_path / "m.safetensors")
    assert main(["info", str(tmp_path / "m.safetensors")]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert r"a\x1b[2Jb" in out
