"""Pictures and stacks of them are scans too, as far as they are grey."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_unet import api
from napari_unet.errors import SaveError, VolumeError
from napari_unet.imaging.loading import load_labels, load_volume
from napari_unet.imaging.saving import save_mask
from napari_unet.learning.config import TrainConfig


def cells(pages: int = 1, side: int = 48) -> np.ndarray:
    """Dark discs on a bright ground."""
    y, x = np.mgrid[:side, :side]
    disc = (np.hypot(y - 14, x - 30) < 9).astype(np.uint8)
    noise = np.random.default_rng(0).integers(0, 20, (pages, side, side))
    return (200 - 120 * disc + noise).astype(np.uint8)


def test_a_picture_is_one_upright_slice(tmp_path):
    page = cells()[0]
    Image.fromarray(page).save(tmp_path / "cells.png")
    volume = load_volume(tmp_path / "cells.png")
    assert volume.shape_zyx == (1, 48, 48)
    np.testing.assert_array_equal(volume.data[0, 0], page)
    assert "no millimetres" in volume.notes[0]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_a_stack_has_a_slice_for_each_page(tmp_path, dtype):
    pages = cells(3).astype(dtype)
    tifffile.imwrite(tmp_path / "cells.tif", pages, photometric="minisblack")
    volume = load_volume(tmp_path / "cells.tif")
    np.testing.assert_array_equal(volume.data[0], pages)
    assert volume.grid.default_axis() == 0


@pytest.mark.parametrize("name", ["mask.tif", "mask.png", "mask.nii.gz"])
def test_the_mask_of_a_picture_comes_back_pixel_by_pixel(tmp_path, name):
    Image.fromarray(cells()[0]).save(tmp_path / "cells.png")
    volume = load_volume(tmp_path / "cells.png")
    mask = (volume.data[0] < 150).astype(np.uint8)
    receipt = save_mask(mask, volume.grid, tmp_path / name)
    assert receipt.ok
    labels, _ = load_labels(tmp_path / name, volume.grid)
    np.testing.assert_array_equal(labels, mask)


def test_colours_damage_and_lost_places_are_refused(tmp_path):
    Image.fromarray(np.zeros((20, 20, 3), np.uint8)).save(tmp_path / "rgb.png")
    tifffile.imwrite(tmp_path / "rgb.tif", np.zeros((20, 20, 3), np.uint8), photometric="rgb")
    Image.fromarray(cells()[0]).save(tmp_path / "cells.png")
    (tmp_path / "half.png").write_bytes((tmp_path / "cells.png").read_bytes()[:300])
    (tmp_path / "text.tif").write_text("no picture")
    for name, sentence in [
        ("rgb.png", "colour picture"),
        ("rgb.tif", "colours"),
        ("half.png", "cannot be read"),
        ("text.tif", "cannot be read"),
    ]:
        with pytest.raises(VolumeError, match=sentence):
            load_volume(tmp_path / name)
    stack = load_volume(tmp_path / "cells.png").data.repeat(2, axis=1)[0] > 150
    tifffile.imwrite(tmp_path / "two.tif", cells(2), photometric="minisblack")
    with pytest.raises(SaveError, match="one picture"):
        save_mask(stack, load_volume(tmp_path / "two.tif").grid, tmp_path / "two.png")


@pytest.mark.slow
def test_a_network_learns_from_a_picture_and_segments_it(tmp_path):
    Image.fromarray(cells()[0]).save(tmp_path / "cells.png")
    Image.fromarray((cells()[0] < 150).astype(np.uint8)).save(tmp_path / "painted.png")
    config = TrainConfig(seconds=36_000, max_steps=40, threads=1, device="cpu")
    model = api.train(tmp_path / "cells.png", tmp_path / "painted.png", config=config)
    found = api.segment(tmp_path / "cells.png", model)
    truth = cells()[:1] < 150
    assert 2 * np.count_nonzero(found & truth) / (found.sum() + truth.sum()) > 0.8


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((4, 20, 20), np.complex64),
        np.zeros((1, 400), np.uint8),
        np.zeros((2, 2, 2, 20, 20), np.uint8),
        np.zeros((4, 20, 20), np.float16),
    ],
    ids=["complex", "one row", "five axes", "half"],
)
def test_an_odd_stack_is_read_or_refused_in_a_sentence(tmp_path, pixels):
    tifffile.imwrite(tmp_path / "odd.tif", pixels, photometric="minisblack")
    if pixels.dtype == np.float16:
        assert load_volume(tmp_path / "odd.tif").shape_zyx == (4, 20, 20)
        return
    with pytest.raises(VolumeError, match=r"odd\.tif"):
        load_volume(tmp_path / "odd.tif")


def test_a_damaged_stack_is_told_once(tmp_path, caplog):
    tifffile.imwrite(tmp_path / "cells.tif", cells(4), photometric="minisblack")
    content = (tmp_path / "cells.tif").read_bytes()
    (tmp_path / "cells.tif").write_bytes(content[:16] + bytes(60) + content[76:])
    with pytest.raises(VolumeError, match=r"cells\.tif"):
        load_volume(tmp_path / "cells.tif")
    assert not caplog.records


def test_a_picture_that_announces_more_than_it_can_hold_is_refused(tmp_path, recwarn):
    Image.fromarray(cells()[0]).save(tmp_path / "cells.bmp")
    content = bytearray((tmp_path / "cells.bmp").read_bytes())
    content[18:26] = (9_000).to_bytes(4, "little") * 2
    (tmp_path / "cells.bmp").write_bytes(content)
    with pytest.raises(VolumeError, match="announces"):
        load_volume(tmp_path / "cells.bmp")
    assert not recwarn.list


def test_a_mask_of_one_bit_a_pixel_is_read(tmp_path):
    mask = np.zeros((1024, 1024), bool)
    mask[500:520, 300:320] = True
    Image.fromarray(mask).save(tmp_path / "mask.png")
    labels, _ = load_labels(tmp_path / "mask.png")
    np.testing.assert_array_equal(np.asarray(labels)[0] > 0, mask)
