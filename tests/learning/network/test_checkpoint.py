from __future__ import annotations

import dataclasses
import json
import sys

import numpy as np
import pytest
import safetensors.torch
import torch

from napari_unet import __version__
from napari_unet.errors import CheckpointError, SaveError
from napari_unet.learning.config import ModelConfig
from napari_unet.learning.model_card import ModelCard
from napari_unet.learning.network.checkpoint import Checkpoint
from napari_unet.learning.network.unet import UNet
from napari_unet.learning.prediction.scan_prediction import predict_volume


def test_saved_and_loaded_model_predicts_the_same(scene, trained, tmp_path):
    trained.checkpoint.save(tmp_path / "ball.safetensors")
    loaded = Checkpoint.load(tmp_path / "ball.safetensors")
    assert loaded.card == trained.checkpoint.card
    np.testing.assert_array_equal(
        predict_volume(scene.volume, loaded), predict_volume(scene.volume, trained.checkpoint)
    )
    assert [path.name for path in tmp_path.iterdir()] == ["ball.safetensors"]


def test_the_card_tells_where_the_model_comes_from(trained):
    provenance = trained.checkpoint.card.provenance
    assert provenance.trained_on == ("ball",)
    assert provenance.annotated_slices == 4
    assert provenance.steps == 80
    assert provenance.created
    assert provenance.software == f"napari-unet-mri {__version__}"


def test_the_card_remembers_which_slices_were_learned_and_which_held_back(trained, tmp_path):
    card = trained.checkpoint.card
    assert card.provenance.learned_slices == tuple(("ball", index) for index in (1, 4, 6, 9))
    held_back = (("ball", 5), ("another scan", 12))
    history = dataclasses.replace(card.provenance, held_back=held_back)
    model = Checkpoint(trained.checkpoint.state, dataclasses.replace(card, provenance=history))
    model.save(tmp_path / "model.safetensors")
    assert Checkpoint.load(tmp_path / "model.safetensors").card == model.card


def test_a_model_of_the_first_format_still_opens(scene, trained, tmp_path):
    old = dataclasses.asdict(trained.checkpoint.card)
    del old["provenance"]["learned_slices"], old["provenance"]["held_back"]
    safetensors.torch.save_file(
        trained.checkpoint.state,
        tmp_path / "old.safetensors",
        {"napari_unet": json.dumps({"format_version": 1, **old})},
    )
    loaded = Checkpoint.load(tmp_path / "old.safetensors")
    assert loaded.card.provenance.learned_slices == ()
    assert loaded.card.provenance.steps == 80


def test_a_model_of_the_format_before_checksums_still_opens(trained, tmp_path):
    card = trained.checkpoint.card
    written = json.dumps({"format_version": 3, **dataclasses.asdict(card)})
    path = tmp_path / "old.safetensors"
    safetensors.torch.save_file(trained.checkpoint.state, path, {"napari_unet": written})
    assert Checkpoint.load(path).card == card


@pytest.mark.parametrize(
    ("names", "values"),
    [
        (["label 17", "label 53"], (17, 53)),
        (["core", "label 53"], (1, 2)),
        (["label 0", "label 3"], (1, 2)),
        (["label 3", "label 3"], (1, 2)),
        (["label 3", "label 255"], (3, 255)),
    ],
)
def test_label_values_of_models_before_format_4_are_in_their_names(
    trained, tmp_path, names, values
):
    model = trained.checkpoint.with_classes(names)
    card = dataclasses.asdict(model.card)
    del card["label_values"]
    safetensors.torch.save_file(
        model.state,
        tmp_path / "old.safetensors",
        {"napari_unet": json.dumps({"format_version": 3, **card})},
    )
    assert Checkpoint.load(tmp_path / "old.safetensors").card.label_values == values


@pytest.mark.parametrize("values", [[1, 1], [0, 2], [3], [1, 2.5], ["1", 2]])
def test_label_values_that_cannot_be_are_damage(trained, tmp_path, values):
    model = trained.checkpoint.with_classes(["ball", "ring"])
    card = {**dataclasses.asdict(model.card), "label_values": values}
    safetensors.torch.save_file(
        model.state,
        tmp_path / "old.safetensors",
        {"napari_unet": json.dumps({"format_version": 3, **card})},
    )
    with pytest.raises(CheckpointError, match=r"label.values.*damaged"):
        Checkpoint.load(tmp_path / "old.safetensors")


def test_added_structures_get_label_values_that_no_other_has(trained):
    first = trained.checkpoint.with_classes(["ball"], label_values=[2])
    assert first.with_classes(["ball", "ring", "cone"]).card.label_values == (2, 3, 4)
    assert first.with_classes(["ball", "ring"], label_values=[17, 53]).card.label_values == (17, 53)


@pytest.mark.parametrize("damage", ["cut", "text", "empty", "header"])
def test_damaged_file_is_refused_with_a_sentence(trained, tmp_path, damage):
    path = tmp_path / "model.safetensors"
    trained.checkpoint.save(path)
    content = path.read_bytes()
    path.write_bytes(
        {
            "cut": content[: len(content) // 2],
            "text": b"hello",
            "empty": b"",
            "header": content.replace(b"class_names", b"class_games"),
        }[damage]
    )
    with pytest.raises(CheckpointError, match="damaged"):
        Checkpoint.load(path)


def test_a_model_in_which_a_byte_has_changed_is_refused_wherever_it_is(tmp_path):
    config = ModelConfig(width=2, levels=2)
    net = UNet(config, torch.Generator().manual_seed(0))
    path = tmp_path / "model.safetensors"
    Checkpoint(net.state_dict(), ModelCard(config, class_names=("label 2",))).save(path)
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    for place in rng.integers(len(content), size=150):
        damaged = bytearray(content)
        damaged[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=r"damaged|newer|no card"):
            Checkpoint.load(path)
    path.write_bytes(content)
    Checkpoint.load(path)


@pytest.mark.parametrize("change", ["weights", "card", "checksum"])
def test_a_model_that_was_changed_since_it_was_saved_is_refused(trained, tmp_path, change):
    path = tmp_path / "model.safetensors"
    trained.checkpoint.save(path)
    with safetensors.safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    state = dict(trained.checkpoint.state)
    if change == "weights":
        state["head.weight"] = -state["head.weight"]
    elif change == "card":
        metadata["napari_unet"] = metadata["napari_unet"].replace('"ball"]', '"bald"]', 1)
    else:
        metadata = {"napari_unet": metadata["napari_unet"]}
    safetensors.torch.save_file(state, path, metadata)
    with pytest.raises(CheckpointError, match=r"not as it was saved.*another copy"):
        Checkpoint.load(path)


def test_weights_that_do_not_belong_to_the_card_are_refused(trained, tmp_path):
    state = dict(trained.checkpoint.state)
    state["head.weight"] = torch.zeros(3, 3)
    Checkpoint(state, trained.checkpoint.card).save(tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match="do not fit"):
        Checkpoint.load(tmp_path / "model.safetensors")


def test_weights_that_are_not_numbers_are_refused(trained, tmp_path):
    state = dict(trained.checkpoint.state)
    state["head.bias"] = state["head.bias"] * float("nan")
    Checkpoint(state, trained.checkpoint.card).save(tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match="not numbers"):
        Checkpoint.load(tmp_path / "model.safetensors")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Write a model file of any card and weights, without a checksum."""
    model = ModelConfig(width=2, levels=2)
    state = UNet(model, torch.Generator().manual_seed(0)).state_dict()
    card = dataclasses.asdict(ModelCard(model, class_names=("ball",)))
    path = tmp_path_factory.mktemp("hostile") / "model.safetensors"

    def write(change=lambda card, state: None, text=None):
        changed, weights = json.loads(json.dumps({"format_version": 3, **card})), dict(state)
        change(changed, weights)
        text = json.dumps(changed) if text is None else text
        safetensors.torch.save_file(weights, path, {"napari_unet": text})
        return path

    return write


@pytest.mark.parametrize(
    "network",
    [
        {"width": 4096, "max_width": 4096, "levels": 9},
        {"width": 4096, "max_width": 4096, "kernel": 255, "levels": 2},
        {"in_channels": 4096, "stride": 16, "levels": 2},
    ],
)
def test_a_file_that_announces_a_huge_network_is_refused_before_it_takes_memory(
    written, network, monkeypatch
):
    path = written(lambda card, _: card["model"].update(network))
    build = UNet.__init__

    def without_memory(self, *args):
        assert torch.empty(0).device.type == "meta"
        build(self, *args)

    monkeypatch.setattr(UNet, "__init__", without_memory)
    with pytest.raises(CheckpointError, match="do not fit its description"):
        Checkpoint.load(path)


INFINITE = float("inf")
NO_NUMBER = float("nan")


@pytest.mark.parametrize(
    ("place", "value"),
    [
        *[(("spacing_mm",), each) for each in ([0, 1], [NO_NUMBER, 1], [1, INFINITE], [-1, 1])],
        *[(("spacing_mm",), each) for each in ([1], [1, 1, 1], ["1", "1"], 1, None, [1e-300, 1])],
        *[(("class_names",), each) for each in ([], ["a", "b"], [1], [None], "b", {"a": 1})],
        *[(("class_colors",), each) for each in (["red"], [7], ["#12345"], ["#e6550d; }"])],
        *[(("channel_names",), each) for each in (["a", "b"], [1], "t1", {})],
        *[(("label_values",), each) for each in ([2**40], [-1], [True], [1.5], [INFINITE])],
        *[(("slice_axis",), each) for each in (3, -1, 1.5, "0", 10**400, True)],
        *[(("model",), each) for each in (None, [], {"width": 2, "levels": "2"}, {"kernel": 0})],
        (("model",), {"levels": 10, "stride": 16}),
        (("model", "dropout"), NO_NUMBER),
        (("model", "width"), 10**400),
        (("calibration",), {"strengths": [INFINITE]}),
        (("calibration",), {"strengths": [1.0, 1.0]}),
        (("calibration",), {"continuity": {"tallies": [[[0, 0]] * 9]}}),
        (("calibration",), {"continuity": {"tallies": [[[NO_NUMBER, 0]] * 10]}}),
        (("provenance", "steps"), -5),
        (("provenance", "seconds"), INFINITE),
        (("provenance", "created"), 2026),
        (("provenance", "held_back"), [["scan", "5"]]),
        (("scan_sizes",), {"least_extent_mm": [1, 1, 1]}),
        (("format_version",), 0),
        (("format_version",), "3"),
        (("format_version",), INFINITE),
    ],
)
def test_a_card_of_impossible_values_is_damage(written, place, value):
    def change(card, _):
        *folders, name = place
        for folder in folders:
            card = card[folder]
        card[name] = value

    with pytest.raises(CheckpointError, match=r"The card of model\.safetensors .*damaged"):
        Checkpoint.load(written(change))


@pytest.mark.parametrize(
    "text",
    ["", "[]", "null", "3", "{", "[" * 100_000, '{"a":' * 100_000, '"\\ud800"', "9" * 10_000],
)
def test_a_card_that_is_no_card_is_damage(written, text):
    with pytest.raises(CheckpointError, match=r"The card of model\.safetensors .*damaged"):
        Checkpoint.load(written(text=text))


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float16, torch.float64, torch.bool])
def test_weights_of_another_number_type_are_refused(written, dtype):
    path = written(lambda _, state: state.update({"head.bias": state["head.bias"].to(dtype)}))
    with pytest.raises(CheckpointError, match="do not fit its description"):
        Checkpoint.load(path)


@pytest.mark.parametrize("name", ["encoder.0.norm1.running_var", "surplus"])
def test_missing_and_surplus_weights_are_refused(written, name):
    def change(_, state):
        if state.pop(name, None) is None:
            state[name] = torch.zeros(2)

    with pytest.raises(CheckpointError, match="do not fit its description"):
        Checkpoint.load(written(change))


def test_other_software_s_weights_are_refused(tmp_path):
    safetensors.torch.save_file({"a": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match="not a model of napari-unet"):
        Checkpoint.load(tmp_path / "other.safetensors")


def test_missing_file_and_missing_folder_are_named(trained, tmp_path):
    with pytest.raises(CheckpointError, match="There is no file"):
        Checkpoint.load(tmp_path / "none.safetensors")
    with pytest.raises(SaveError):
        trained.checkpoint.save(tmp_path / "nowhere" / "model.safetensors")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such permissions")
def test_others_may_read_the_file_as_far_as_the_system_lets_them(trained, tmp_path):
    (tmp_path / "any").touch()
    trained.checkpoint.save(tmp_path / "model.safetensors")
    assert (tmp_path / "model.safetensors").stat().st_mode == (tmp_path / "any").stat().st_mode


def test_renaming_structures_changes_nothing_but_their_names(scene, trained):
    renamed = trained.checkpoint.with_classes(["sphere"], ["#ff0000"])
    assert renamed.card.class_names == ("sphere",)
    assert renamed.card.class_colors == ("#ff0000",)
    assert renamed.card.provenance == trained.checkpoint.card.provenance
    assert trained.checkpoint.card.class_names == ("ball",)
    np.testing.assert_array_equal(
        predict_volume(scene.volume, renamed), predict_volume(scene.volume, trained.checkpoint)
    )


def test_a_model_with_added_structures_predicts_the_old_ones_as_before(scene, trained, tmp_path):
    wider = trained.checkpoint.with_classes(["ball", "ring", "cone"])
    wider.check_fits(1, ["ball", "ring", "cone"])
    wider.save(tmp_path / "wider.safetensors")
    # But for rounding where very unlikely classes of neighbouring slices are averaged.
    after = predict_volume(scene.volume, Checkpoint.load(tmp_path / "wider.safetensors"))
    before = predict_volume(scene.volume, trained.checkpoint)
    assert np.mean(after != before) < 1e-3


def test_structures_cannot_be_taken_from_a_model(trained):
    two = trained.checkpoint.with_classes(["ball", "ring"])
    with pytest.raises(CheckpointError, match=r"2 structures \(ball, ring\).*is only 1 here"):
        two.with_classes(["ball"])


def test_other_channels_or_classes_are_named(trained):
    trained.checkpoint.check_fits(1)
    trained.checkpoint.check_fits(1, ["ball"])
    with pytest.raises(CheckpointError, match=r"needs 1 image channel, .*has 2"):
        trained.checkpoint.check_fits(2)
    with pytest.raises(CheckpointError, match=r"tumour, oedema.*ball"):
        trained.checkpoint.check_fits(1, ["tumour", "oedema"])
