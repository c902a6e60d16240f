"""A model before a scan of another kind: another plane, other sequences, other sizes."""

from dataclasses import replace

import numpy as np
import pytest

from napari_unet.annotation.states import LabelledSlice
from napari_unet.errors import CheckpointError
from napari_unet.imaging.volume import Grid, Volume
from napari_unet.learning.compatibility import as_learned, sequence_of
from napari_unet.learning.config import ModelConfig
from napari_unet.learning.events import RoundDone, UnlikeTraining
from napari_unet.learning.model_card import ModelCard, ScanSizes
from napari_unet.learning.network.checkpoint import Checkpoint
from napari_unet.learning.network.unet import UNet
from napari_unet.learning.prediction.scan_prediction import segment
from napari_unet.learning.preparation import PreparedScan, prepare
from napari_unet.learning.training.loop import train

ONE_MM = (1.0, 1.0, 1.0)
CROP = ScanSizes((30.0, 48.0, 31.0), (41.0, 55.0, 38.0), ONE_MM, ONE_MM)


def scan(*names: str, shows=(36.0, 50.0, 35.0), voxel_mm=ONE_MM) -> PreparedScan:
    slices = np.zeros((2, len(names), 16, 16), np.float32)
    slices += np.arange(len(names))[:, None, None]
    window = (slice(0, 16), slice(0, 16))
    given = PreparedScan(slices, window, (16, 16), voxel_mm[1:], voxel_mm[0], 0, "p2")
    return replace(given, channel_names=names, extent_mm=shows)


def card(*names: str, sizes: ScanSizes | None = CROP) -> ModelCard:
    shape = ModelConfig(in_channels=len(names), width=4, levels=2)
    return ModelCard(shape, ("ball",), channel_names=names, scan_sizes=sizes)


def notices(given: PreparedScan, model: ModelCard) -> str:
    return " ".join(notice.text for notice in as_learned(given, model)[1])


@pytest.mark.parametrize(
    ("name", "sequence"),
    [
        ("sub-01_T1w", "T1"),
        ("pat0003_t1c", "T1c"),
        ("t1_se_tra_km", "T1c"),
        ("T2_FLAIR", "FLAIR"),
        ("p01_study1_FLAIR", "FLAIR"),
        ("ax_t2_tirm", "FLAIR"),
        ("hippocampus_001", ""),
        ("scan volume 2", ""),
        ("t1_and_t2", ""),
    ],
)
def test_a_name_says_which_sequence_it_is_or_nothing(name, sequence):
    assert sequence_of(name) == sequence


@pytest.mark.parametrize(
    ("learned", "given"),
    [
        (("p1_t1c", "p1_flair"), ("p2_flair", "p2_t1c")),
        (("p1_water", "p1_fat"), ("p2_fat", "p2_water")),
    ],
)
def test_swapped_sequences_are_put_in_the_order_of_the_model(learned, given):
    found, said = as_learned(scan(*given), card(*learned))
    assert found.channel_names == given[::-1]
    assert found.slices[0, :, 0, 0].tolist() == [1, 0]
    assert [each.text.split(":")[0] for each in said] == ["p2"]
    assert f"{given[1]}, {given[0]} for {learned[0]}, {learned[1]}" in said[0].text


def test_another_sequence_is_named_with_the_one_that_was_learned():
    said = notices(scan("p2_t1c"), card("p1_flair"))
    assert "learned from FLAIR (“p1_flair”), but “p2_t1c” is T1c" in said


@pytest.mark.parametrize(
    ("learned", "given"),
    [
        (("hippocampus_001",), ("hippocampus_228",)),
        (("1000_t1",), ("1006_t1",)),
        (("p1_t1c", "p1_flair"), ("t1ce", "p2_T2_FLAIR")),
        (("a", "b"), ("c", "d")),
        (("v 0", "v 1"), ("v 1", "v 0")),
        (("t1c",), ("scan",)),
        ((), ("t1c",)),
    ],
)
def test_names_that_say_nothing_or_the_same_bring_no_word(learned, given):
    model = replace(card(*given), channel_names=learned)
    found, said = as_learned(given_scan := scan(*given), model)
    assert found is given_scan
    assert said == []


@pytest.mark.parametrize(
    "shows", [(37.0, 52.0, 34.0), (30.0, 48.0, 31.0), (41.0, 55.0, 38.0), (8.0, 50.0, 35.0)]
)
def test_scans_of_the_same_kind_and_fewer_slices_bring_no_word(shows):
    assert notices(scan("a", shows=shows), card("b")) == ""


@pytest.mark.parametrize("shows", [(139.0, 182.0, 147.0), (36.0, 51.0, 60.0), (36.0, 30.0, 35.0)])
def test_a_scan_that_shows_more_or_less_is_told_with_both_sizes(shows):
    said = notices(scan("a", shows=shows), card("b"))
    assert "it shows about {2:.0f} x {1:.0f} x {0:.0f} mm".format(*shows) in said
    assert "scans that show about 34 x 52 x 36 mm" in said


def test_coarser_voxels_are_told():
    said = notices(scan("a", voxel_mm=(1.0, 2.0, 2.0)), card("b"))
    assert "its voxels are 2 x 2 x 1 mm" in said
    assert notices(scan("a", voxel_mm=(1.2, 0.8, 0.8)), card("b")) == ""


def test_models_that_do_not_know_what_they_learned_from_say_nothing():
    assert notices(scan("a", shows=(139.0, 182.0, 147.0)), card("b", sizes=None)) == ""


# -- where scans and models meet ----------------------------------------------------


def head(shape=(18, 40, 48)) -> Volume:
    rng = np.random.default_rng(0)
    data = rng.normal(5, 1, shape)
    data[2:10, 5:35, 6:42] += 100
    return Volume(data.astype(np.float32)[None], Grid.from_spacing(shape), "head", None, ("t1",))


def test_what_a_scan_shows_is_measured_without_the_air_around_it():
    assert prepare(head(), 0).extent_mm == (8.0, 30.0, 36.0)
    sizes = prepare(head(), 1).sizes
    assert sizes is not None
    assert sizes.least_voxel_mm == ONE_MM


def test_a_model_remembers_the_sizes_of_all_scans_that_it_learned_from(quick, tmp_path):
    given = prepare(head(), 0)
    labels = np.zeros((40, 48), np.uint8)
    labels[10:20, 10:20] = 1
    quick = replace(quick, max_steps=1)

    def learn(scans, init=None):
        *rest, done = train(
            [scans], [LabelledSlice(0, 5, labels)], quick, class_names=["box"], init=init
        )
        assert isinstance(done, RoundDone)
        return rest, done.checkpoint

    _, first = learn(given)
    assert first.card.channel_names == ("t1",)
    assert first.card.scan_sizes == given.sizes
    larger = replace(given, extent_mm=(16.0, 60.0, 72.0), name="larger")
    events, second = learn(larger, init=first)
    assert [e.text.split(":")[0] for e in events if isinstance(e, UnlikeTraining)] == ["larger"]
    second.save(tmp_path / "model.safetensors")
    sizes = Checkpoint.load(tmp_path / "model.safetensors").card.scan_sizes
    assert sizes == given.sizes.joined(larger.sizes)


def test_another_plane_is_refused_by_name():
    model = Checkpoint(UNet(card("t1").model).state_dict(), card("t1"))
    with pytest.raises(CheckpointError, match=r"learned from axial slices, but these are sagittal"):
        next(segment(prepare(head(), 2), model))
    first = next(segment(prepare(head(), 0), model))
    assert isinstance(first, UnlikeTraining)
    assert first.text.startswith("head: it shows")
