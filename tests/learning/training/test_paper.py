"""The paper's network in the one loop: its recipe, its tiles, its file."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import safetensors.torch
import torch

from napari_unet.annotation.states import IGNORE_LABEL, LabelledSlice
from napari_unet.errors import CheckpointError
from napari_unet.learning.config import PRESETS, RECIPES, ModelConfig, Recipe, TrainConfig
from napari_unet.learning.events import SlicePredicted, StepDone
from napari_unet.learning.network import layer_sizes
from napari_unet.learning.network.checkpoint import Checkpoint
from napari_unet.learning.network.unet import UNet
from napari_unet.learning.prediction.scan_prediction import predict_volume, segment
from napari_unet.learning.preparation import PreparedScan
from napari_unet.learning.presets import choose_model, recipe_of
from napari_unet.learning.training.loop import new_card, train
from napari_unet.learning.training.optimiser import AdamW, Momentum
from napari_unet.learning.training.round import TrainingRound
from napari_unet.learning.training.training_set import TrainingSet
from napari_unet.learning.training.weight_updater import WeightUpdater, restart

NARROW = dataclasses.replace(PRESETS["paper"], width=4)
SHALLOW = dataclasses.replace(NARROW, levels=3)


def begin(scene, config) -> tuple[TrainingSet, WeightUpdater]:
    card = new_card([scene.scan], config, None, ["ball"])
    this_round = TrainingRound([scene.scan], scene.annotated(4, 6), config, card)
    return this_round.examples, this_round.updater


def run(scene, config, **kwargs):
    annotations = kwargs.pop("annotations", scene.annotated(4, 6))
    return list(train([scene.scan], annotations, config, class_names=["ball"], **kwargs))


@pytest.fixture(scope="module")
def learned(scene):
    """What a narrow network of the paper gives while it learns from one slice."""
    model = dataclasses.replace(NARROW, width=8)
    config = TrainConfig(seconds=36_000, max_steps=40, threads=1, device="cpu", model=model)
    return run(scene, config, annotations=scene.annotated(5), focus=lambda: (0, 5))


def test_a_few_steps_of_the_paper_s_network_lower_the_loss(learned):
    losses = [event.loss for event in learned if isinstance(event, StepDone)]
    assert np.mean(losses[-5:]) < 0.5 * np.mean(losses[:5])


def test_its_predictions_are_shown_while_it_learns_and_found_again_in_its_model(scene, learned):
    shown = [event for event in learned if isinstance(event, SlicePredicted)]
    assert {event.index for event in shown} == set(range(scene.scan.n_slices))
    assert all(event.labels.shape == scene.truth[0].shape for event in shown)
    model = learned[-1].checkpoint
    assert model.card.model == dataclasses.replace(NARROW, width=8)
    for event in segment(scene.scan, model, order=[5]):
        overlap = 2 * np.count_nonzero(event.labels & scene.truth[5])
        assert overlap / (event.labels.sum() + scene.truth[5].sum()) > 0.5


def test_the_same_seed_gives_the_same_model_in_spite_of_dropout(scene, quick):
    config = dataclasses.replace(quick, model=SHALLOW)
    first, second = (run(scene, config)[-1].checkpoint.state for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_each_network_is_trained_by_the_recipe_of_its_kind():
    recipe = recipe_of(dataclasses.replace(NARROW, n_classes=5))
    assert recipe == RECIPES["paper"]
    assert (recipe.optimiser, recipe.batch_size) == ("sgd", 1)
    assert layer_sizes.input_size(PRESETS["paper"], recipe.tile) == 572
    assert recipe_of(PRESETS["fast"]) == RECIPES["fast"]


def test_the_preset_or_a_network_of_one_s_own_is_trained():
    assert choose_model(TrainConfig(preset="paper"), "cpu") == PRESETS["paper"]
    assert choose_model(TrainConfig(preset="fast", model=NARROW), "cpu") == NARROW


def test_momentum_makes_the_steps_of_the_textbook():
    net = torch.nn.Linear(3, 1, bias=False)
    reference = torch.nn.Linear(3, 1, bias=False)
    reference.load_state_dict(net.state_dict())
    optimiser = Momentum(net, weight_decay=0.0)
    expected = torch.optim.SGD(reference.parameters(), lr=0.1, momentum=0.99)
    for step in range(4):
        x = torch.tensor([[1.0, -0.5, 0.1 * step]])
        for model in (net, reference):
            (model(x).sum() ** 2).backward()
        assert optimiser.step(0.1)
        expected.step()
        expected.zero_grad()
    torch.testing.assert_close(net.weight, reference.weight)


@pytest.mark.parametrize("kind", [AdamW, Momentum])
def test_an_optimiser_resumes_where_it_was(kind):
    def step(optimiser) -> None:
        optimiser.gradient.fill_(0.3)
        optimiser.step(0.1)

    net = torch.nn.Linear(3, 2)
    first = kind(net, 0.01)
    step(first)
    moved = torch.nn.Linear(3, 2)
    moved.load_state_dict(net.state_dict())
    second = kind(moved, 0.01)
    second.resume(first)
    step(first)
    step(second)
    assert torch.equal(first.weights, second.weights)
    assert second.steps == 2


@pytest.mark.parametrize("tile", [40, 41])
def test_tiles_are_learned_with_what_is_around_them(tile):
    # A scan that shows its own labels: whatever is drawn, image and truth have to agree.
    rng = np.random.default_rng(0)
    truth = (rng.random((1, 150, 170)) < 0.5).astype(np.uint8)
    window = (slice(0, 150), slice(0, 170))
    scan = PreparedScan(
        truth[:, None].astype(np.float32), window, (150, 170), (1.0, 1.0), 1.0, axis=2
    )
    for model in (SHALLOW, dataclasses.replace(SHALLOW, upsampling="nearest")):
        examples = TrainingSet(
            [scan],
            [LabelledSlice(0, 0, truth[0])],
            ["x"],
            (1.0, 1.0),
            model=model,
            recipe=Recipe(tile=tile),
        )
        for seed in range(5):
            images, labels, _ = examples.batch(1, torch.Generator().manual_seed(seed), 0.0)
            side = layer_sizes.input_size(model, tile)
            assert images.shape == (1, 1, side, side)
            assert labels.shape == (1, tile, tile)
            assert (labels != IGNORE_LABEL).all()
            start = layer_sizes.input_margin(model)
            seen = images[:, 0, start : start + tile, start : start + tile]
            assert ((seen > 0.5) == (labels > 0)).float().mean() > 0.999


@pytest.mark.parametrize("optimiser", ["sgd", "adamw"])
def test_a_step_that_is_not_finite_leaves_no_momentum_behind(scene, quick, optimiser):
    recipe = dataclasses.replace(RECIPES["paper"], optimiser=optimiser)
    config = dataclasses.replace(quick, model=SHALLOW, recipe=recipe)
    examples, updater = begin(scene, config)
    updater.step(examples, 0.0)
    assert any(each.any() for each in updater._optimiser.memory)
    updater._loss = lambda _examples, logits, *_: logits.sum() * float("nan")
    updater.step(examples, 0.0)
    assert not any(each.any() for each in updater._optimiser.memory)


def test_the_paper_s_network_sees_varied_tiles_from_the_first_step(scene, quick):
    strengths = {}
    for name, model in (("paper", SHALLOW), ("fast", ModelConfig(width=2, levels=2))):
        config = dataclasses.replace(quick, model=model)
        examples, updater = begin(scene, config)
        batch = examples.batch
        seen = strengths[name] = []
        examples.batch = lambda *a, batch=batch, seen=seen: seen.append(a[2]) or batch(*a)
        updater.step(examples, 0.0)
        updater.step(examples, 0.0)
    assert strengths == {"paper": [1.0, 1.0], "fast": [0.0, 1 / 400]}


def test_no_kernel_of_a_damaged_file_is_huge():
    with pytest.raises(ValueError, match="kernel"):
        ModelConfig(kernel=100_001)


@pytest.mark.parametrize("elastic", [0.0, 10.0])
def test_a_tile_at_the_border_shows_the_mirror_image_that_predictions_see(scene, elastic):
    examples = TrainingSet(
        [scene.scan],
        scene.annotated(5),
        ["left ball"],  # which is not mirrored itself
        (1.0, 1.0),
        model=SHALLOW,
        recipe=Recipe(tile=40, elastic=elastic),
    )
    [whole], _ = examples.unchanged(1)
    around = UNet(SHALLOW).surround(whole[None])
    for seed in range(5):
        images, labels, _ = examples.batch(1, torch.Generator().manual_seed(seed), 0.0)
        assert (labels != IGNORE_LABEL).all()
        side = images.shape[-1]
        windows = around.unfold(2, side, 1).unfold(3, side, 1)
        assert torch.isclose(windows, images, atol=1e-3).all(dim=(-1, -2)).any()


def test_a_slice_larger_than_a_tile_is_learned_in_tiles(scene, quick):
    recipe = dataclasses.replace(RECIPES["paper"], tile=32)
    config = dataclasses.replace(quick, model=SHALLOW, recipe=recipe)
    *steps, done = run(scene, config)
    assert all(np.isfinite(event.loss) for event in steps)
    assert predict_volume(scene.volume, done.checkpoint).shape == scene.truth.shape


def test_shrinking_a_network_without_normalisation_leaves_it_something_to_say():
    old = UNet(NARROW, torch.Generator().manual_seed(0)).eval()
    net = UNet(NARROW, torch.Generator().manual_seed(1)).eval()
    restart(net, old.state_dict(), "shrink")
    images = torch.randn(1, 1, 40, 40, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        before, after = old(images), net(images)
    assert 0.2 < float(after.std() / before.std()) < 1.5
    assert not torch.allclose(before, after)


EVERY_OPTION = ModelConfig(
    in_channels=1,
    n_classes=2,
    width=3,
    levels=2,
    stride=1,
    max_width=5,
    kernel=5,
    padding="mirror",
    normalisation="none",
    upsampling="nearest",
    dropout=0.25,
    initialisation="he",
)


@pytest.mark.parametrize("config", [EVERY_OPTION, NARROW], ids=["every option", "paper"])
def test_a_model_file_keeps_every_option(scene, quick, tmp_path, config):
    *_, done = run(scene, dataclasses.replace(quick, model=config))
    done.checkpoint.save(tmp_path / "model.safetensors")
    loaded = Checkpoint.load(tmp_path / "model.safetensors")
    assert loaded.card.model == config
    np.testing.assert_array_equal(
        predict_volume(scene.volume, loaded), predict_volume(scene.volume, done.checkpoint)
    )
    further = run(scene, quick, init=loaded)[-1].checkpoint
    assert further.card.model == config


def test_a_model_of_an_earlier_version_is_the_network_that_it_was(scene, trained, tmp_path):
    old = dataclasses.asdict(trained.checkpoint.card)
    old["model"] = {
        name: old["model"][name]
        for name in ("in_channels", "n_classes", "width", "levels", "stride")
    }
    safetensors.torch.save_file(
        trained.checkpoint.state,
        tmp_path / "old.safetensors",
        {"napari_unet": json.dumps({"format_version": 2, **old})},
    )
    loaded = Checkpoint.load(tmp_path / "old.safetensors")
    assert loaded.card.model == PRESETS["fast"]
    np.testing.assert_array_equal(
        predict_volume(scene.volume, loaded), predict_volume(scene.volume, trained.checkpoint)
    )


def test_a_file_with_an_unknown_option_is_refused(trained, tmp_path):
    card = json.loads(json.dumps(dataclasses.asdict(trained.checkpoint.card)))
    card["model"]["upsampling"] = "trampoline"
    path = tmp_path / "model.safetensors"
    written = {"napari_unet": json.dumps({"format_version": 3, **card})}  # before checksums
    safetensors.torch.save_file(trained.checkpoint.state, path, written)
    with pytest.raises(CheckpointError, match="'transposed' or 'nearest'"):
        Checkpoint.load(path)
