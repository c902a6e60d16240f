"""Looking inside: everything lies where it belongs, and explanations point at what matters."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from napari_unet.errors import AnnotationError, ResourceError
from napari_unet.learning.config import PRESETS, ModelConfig
from napari_unet.learning.inspection import explanation
from napari_unet.learning.inspection.channel_grid import channel_grid
from napari_unet.learning.inspection.explanation import explain
from napari_unet.learning.inspection.levels import Place, levels, receptive_field
from napari_unet.learning.inspection.probe import FeatureMaps, NetworkProbe, separability
from napari_unet.learning.model_card import ModelCard
from napari_unet.learning.network.checkpoint import Checkpoint
from napari_unet.learning.network.unet import UNet
from napari_unet.learning.prediction import memory
from napari_unet.learning.preparation import PreparedScan

NETWORKS = {
    "fast": replace(PRESETS["fast"], width=2),
    "standard": replace(PRESETS["standard"], width=2),
    "paper": replace(PRESETS["paper"], width=2),
    "mirrored, shallow": ModelConfig(width=2, levels=3, stride=1, padding="mirror"),
    "nearest": replace(PRESETS["paper"], width=2, levels=3, upsampling="nearest"),
}
every_method = pytest.mark.parametrize("method", ["occlusion", "gradient"])
every_network = pytest.mark.parametrize("config", NETWORKS.values(), ids=NETWORKS)
SPACING = (0.8, 1.25)


def scan_of(image: np.ndarray) -> PreparedScan:
    """A scan of one slice (c, h, w), cropped out of a larger one."""
    _, height, width = image.shape
    return PreparedScan(
        slices=image[None].astype(np.float32),
        window=(slice(5, 5 + height), slice(11, 11 + width)),
        full_shape=(height + 20, width + 20),
        spacing_mm=SPACING,
        slice_mm=3.0,
        axis=0,
    )


def checkpoint_of(net: UNet, spacing_mm: tuple[float, float] = SPACING) -> Checkpoint:
    return Checkpoint(net.state_dict(), ModelCard(net.config, ("ball",), spacing_mm=spacing_mm))


def passing_on(config: ModelConfig) -> UNet:
    """A network that hands every image channel on from layer to layer as it is."""
    net = UNet(config)
    with torch.no_grad():
        for name, module in net.named_modules():
            if not isinstance(module, torch.nn.Conv2d | torch.nn.ConvTranspose2d):
                continue
            module.weight.zero_()
            if module.bias is not None:
                module.bias.zero_()
            for channel in range(config.in_channels):
                if name == "encoder.0.conv1":
                    n = config.stride**2
                    middle = config.kernel // 2
                    module.weight[channel, channel * n : (channel + 1) * n, middle, middle] = 1 / n
                elif name.startswith("upsamplers"):
                    taps = 1 if isinstance(module, torch.nn.ConvTranspose2d) else 4
                    module.weight[channel, channel] = 1 / taps
                else:
                    middle = module.kernel_size[0] // 2
                    module.weight[channel, channel, middle, middle] = 1
    return net.eval()


def every_level(probe: NetworkProbe):
    for level in probe.levels:
        yield level, probe.activations(0, level.name).features


@every_network
def test_the_levels_are_as_large_as_what_the_network_computes(config):
    scan = scan_of(np.random.default_rng(0).normal(size=(1, 75, 50)))
    for level, features in every_level(NetworkProbe(checkpoint_of(UNet(config)), scan)):
        assert features.values.shape == (level.channels, *level.size)


def test_levels_are_named_as_in_the_paper():
    titles = [level.title for level in levels(PRESETS["paper"], (388, 388))]
    assert "Encoder 2: 128 channels, 280 x 280" in titles
    assert "Bridge: 1024 channels, 28 x 28" in titles
    assert "Decoder 1, after skip: 128 channels, 392 x 392" in titles
    assert titles[-1] == "Decoder 1: 64 channels, 388 x 388"


@every_network
@pytest.mark.parametrize("spacing", [SPACING, (1.1, 0.9)])
def test_features_lie_at_the_millimetre_they_are_about(config, spacing, monkeypatch):
    # Pixels that hold their own position: averaged, they hold that of their centre.
    monkeypatch.setattr(functional, "max_pool2d", functional.avg_pool2d)
    rows, columns = np.indices((96, 80))
    scan = scan_of(np.stack([(rows + 5) * SPACING[0], (columns + 11) * SPACING[1]]))
    probe = NetworkProbe(checkpoint_of(passing_on(replace(config, in_channels=2)), spacing), scan)
    for level, features in every_level(probe):
        scale, first = features.place.scale_mm, features.place.translate_mm
        for axis in (0, 1):
            found = features.values[axis].mean(axis=1 - axis)
            placed = first[axis] + scale[axis] * np.arange(len(found))
            start = (5, 11)[axis] * SPACING[axis] + scale[axis]
            stop = start + (96, 80)[axis] * SPACING[axis] - 4 * scale[axis]
            inner = np.flatnonzero((placed > start) & (placed < stop))
            if len(inner) < 3:
                continue
            if level.stage == "before skip":
                # Steps of two pixels or more, halved evenly by their middle.
                inner = inner[: len(inner) // 2 * 2]
                assert np.abs(found - placed)[inner[2:-2]].max(initial=0) < 8.5 * scale[axis]
                if level.number >= config.levels - 1 and config.upsampling == "transposed":
                    assert np.abs((found - placed)[inner]).max() < 0.51 * scale[axis]
            else:
                # (Resampling a slope leaves ripples.)
                ripples = 0.02 if spacing == SPACING else 0.06
                np.testing.assert_allclose(found[inner], placed[inner], atol=ripples)
                assert abs((found - placed)[inner].mean()) < 0.01


@every_network
def test_a_bright_pixel_answers_at_its_own_millimetre_on_every_level(config):
    image = np.zeros((1, 96, 80))
    image[0, 41, 50] = 8
    at_mm = np.array([(41 + 5) * SPACING[0], (50 + 11) * SPACING[1]])
    probe = NetworkProbe(checkpoint_of(passing_on(config)), scan_of(image))
    for level, features in every_level(probe):
        strongest = np.argwhere(features.values[0] >= 0.999 * features.values[0].max())
        places = strongest * features.place.scale_mm + features.place.translate_mm
        # Beyond the border there are its mirror images.
        inside = (places >= (4 * SPACING[0], 10 * SPACING[1])).all(axis=1)
        inside &= (places <= (102 * SPACING[0], 92 * SPACING[1])).all(axis=1)
        found = places[inside].mean(axis=0)
        # What comes from below is as coarse as the bridge.
        coarse = 2**config.levels if level.stage == "before skip" else level.step + 1
        pixels = np.abs(found - at_mm) / SPACING
        assert (pixels <= config.stride * coarse / 2).all(), level.name


@every_network
def test_the_input_is_shown_exactly_as_it_entered_and_in_its_place(config):
    image = np.zeros((1, 50, 45))
    image[0, 20, 30] = 8
    probe = NetworkProbe(checkpoint_of(UNet(config)), scan_of(image))
    activations = probe.activations(0)
    entered = probe.net.surround(probe.images(0))[0].numpy()
    np.testing.assert_array_equal(activations.network_input, entered)
    place = activations.input_place
    inside = [
        np.array(at) * place.scale_mm + place.translate_mm for at in np.argwhere(entered[0] == 8)
    ]
    own = np.array([(20 + 5) * SPACING[0], (30 + 11) * SPACING[1]])
    assert min(np.abs(each - own).max() for each in inside) < 1e-6


@every_network
def test_the_receptive_field_is_where_the_gradient_is(config, monkeypatch):
    # Positive weights and no choice among pixels: whatever can count does.
    monkeypatch.setattr(functional, "max_pool2d", functional.avg_pool2d)
    net = UNet(replace(config, normalisation="none")).double().eval()
    with torch.no_grad():
        for weight in net.parameters():
            weight.copy_(torch.rand_like(weight) / weight[0].numel())
    size = (150, 130)
    for pixel in itertools.product((0, 61, 149), (0, 70, 129)):
        image = torch.rand((1, 1, *size), dtype=torch.float64, requires_grad=True)
        net(image)[0, 1, pixel[0], pixel[1]].backward()
        felt = image.grad[0, 0].numpy() != 0
        field = receptive_field(net.config, size, pixel)
        for axis, side in enumerate(field):
            where = np.flatnonzero(felt.any(axis=1 - axis))
            assert (where[0], where[-1] + 1) == (side.start, side.stop), pixel


def test_the_best_ranked_channel_is_the_one_that_separates_what_the_network_sees():
    rng = np.random.default_rng(0)
    classes = np.zeros((20, 20), dtype=np.int64)
    classes[5:15, 5:15] = 1
    noise = rng.normal(size=(3, 20, 20)).astype(np.float32)
    values = np.stack([100 * noise[0], noise[1] + 5 * classes, noise[2] + 2 * classes])
    share = separability(values, classes)
    assert list(np.argsort(-share)) == [1, 2, 0]
    assert share[1] > 0.5 > share[0]
    # Where it sees but one class, the channel that varies most.
    assert np.argmax(separability(values, np.zeros_like(classes))) == 0
    assert not separability(np.zeros((2, 4, 4), np.float32), np.zeros((4, 4), np.int64)).any()


def test_a_trained_network_shows_what_it_finds(trained, scene):
    activations = NetworkProbe(trained.checkpoint, scene.scan).activations(6, "decoder 1")
    np.testing.assert_allclose(activations.probabilities.sum(axis=0), 1, atol=1e-4)
    truth = scene.scan.crop(scene.truth[6]) == 1
    assert (
        activations.probabilities[1][truth].mean()
        > 0.8
        > activations.probabilities[1][~truth].mean()
    )
    assert 0 <= activations.uncertainty.min() <= activations.uncertainty.max() <= 1
    best = activations.features.ranking[0]
    assert activations.features.separability[best] > 0.3


def looking_aside() -> UNet:
    """A network that sees a ball wherever there is something bright eight pixels to the right."""
    net = UNet(ModelConfig(width=2, levels=1, stride=1, kernel=9, normalisation="none"))
    with torch.no_grad():
        for weight in net.parameters():
            weight.zero_()
        for conv in (net.encoder[0].conv1, net.encoder[0].conv2):
            conv.weight[0, 0, 4, 8] = 1
        net.head.weight[1, 0] = 2.0
        net.head.bias[1] = -4.0
    return net.eval()


@pytest.fixture
def aside() -> NetworkProbe:
    image = np.zeros((1, 64, 64))
    image[0, 18:23, 28:33] = 5
    return NetworkProbe(checkpoint_of(looking_aside()), scan_of(image))


@every_method
def test_explanations_find_the_patch_that_matters(aside, method):
    *_, last = explain(aside, 0, (20 + 5, 22 + 11), method)
    assert last.winner == 1
    assert last.probability > 0.99
    assert last.progress == 1
    strongest = np.unravel_index(np.argmax(last.values), last.values.shape)
    at_mm = np.array(strongest) * last.place.scale_mm + last.place.translate_mm
    away = np.abs(at_mm / SPACING - (20 + 5, 30 + 11)).max()
    assert away <= (8 if method == "occlusion" else 0.01)
    assert last.values.min() >= 0
    assert [(s.start, s.stop) for s in last.field] == [(25 - 8, 25 + 9), (33 - 8, 33 + 9)]


def test_a_place_cut_away_before_the_network_has_no_explanation(aside):
    with pytest.raises(AnnotationError, match="cropped to the head"):
        next(explain(aside, 0, (1, 1), "gradient"))


@every_method
def test_explaining_stops_when_asked(aside, method):
    events = explain(aside, 0, (25, 33), method, iter([False, True]).__next__)
    assert len(list(events)) == 1


@every_method
def test_explaining_ends_after_the_time_it_may_take(trained, scene, method, monkeypatch):
    probe = NetworkProbe(trained.checkpoint, scene.scan)
    monkeypatch.setattr(explanation, "MOST_SECONDS", 0)
    *_, last = explain(probe, 6, (30, 30), method)
    assert 0 < last.progress < 1


@pytest.mark.parametrize("name", ["fast", "standard", "paper"])
def test_a_part_of_the_slice_explains_what_the_whole_slice_says(name, monkeypatch):
    monkeypatch.setattr(explanation, "NOISY_COPIES", 1)
    monkeypatch.setattr(explanation, "NOISE", 0)
    torch.manual_seed(0)
    net = UNet(replace(PRESETS[name], width=2, levels=3)).eval()
    probe = NetworkProbe(
        checkpoint_of(net), scan_of(np.random.default_rng(0).normal(size=(1, 150, 170)))
    )
    *_, last = explain(probe, 0, (75, 90), "gradient")
    image = probe.images(0).requires_grad_()
    scores = probe.net(image)[0, :, 75 - 5, 90 - 11]
    chosen = int(scores.argmax())
    (scores[chosen] - scores[1 - chosen]).backward()
    whole = (image.grad * (image - image.mean())).detach()[0, 0].numpy()
    assert last.values.size < whole.size
    assert last.winner == chosen
    rows, columns = (
        round((first / spacing) - start)
        for first, spacing, start in zip(last.place.translate_mm, SPACING, (5, 11), strict=True)
    )
    height, width = last.values.shape
    part = whole[rows : rows + height, columns : columns + width]
    np.testing.assert_allclose(last.values, part, atol=1e-5)
    assert np.abs(whole).sum() == pytest.approx(np.abs(part).sum(), rel=1e-4)


def test_a_channel_grid_lies_over_the_slice_whatever_its_channels_cover():
    values = np.random.default_rng(0).random((5, 20, 30)).astype(np.float32)
    level = levels(ModelConfig(), (20, 30))[0]
    share = np.array([0.4, 0.3, 0.2, 0.1, 0.5])
    features = FeatureMaps(level, values, Place((2.0, 1.0), (0.0, 0.0)), share, n_classes=2)
    picture, where = channel_grid(features, Place((1.0, 0.5), (10.0, -4.0)), (24, 60))
    assert picture.shape[1] * where.scale_mm[1] <= 30 + 1e-6
    assert picture.shape[0] * where.scale_mm[0] == pytest.approx(24)
    edges = [t - s / 2 for t, s in zip(where.translate_mm, where.scale_mm, strict=True)]
    np.testing.assert_allclose(edges, (10 - 0.5, -4 - 0.25))
    assert where.scale_mm[0] / where.scale_mm[1] == pytest.approx(2)
    np.testing.assert_allclose(
        np.corrcoef(picture[:20, :30].ravel(), values[4].ravel())[0, 1], 1, atol=0.01
    )
    assert np.isnan(picture[-1, -1])  # the sixth tile


def test_a_slice_too_large_for_the_memory_is_refused_in_a_sentence(scene, trained, monkeypatch):
    monkeypatch.setattr(memory, "available_bytes", lambda device: 2**20)
    with pytest.raises(ResourceError, match="Close other programs"):
        NetworkProbe(trained.checkpoint, scene.scan, "cpu")
