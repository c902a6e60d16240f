"""Pre-train the `fast` network on synthetic anatomy: `python scripts/pretrain.py --minutes 70`.

Writes `latest.safetensors` (averaged weights, half precision, no head) every few minutes
and at the end; that file, as `fast.safetensors` in `src/napari_unet/learning/network/weights`, is
what `napari_unet.learning.network.pretrained` loads (it has its `sha256sum`, to be changed too).
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import datetime
import logging
import math
import time
from pathlib import Path

import torch
from safetensors.torch import save_file
from synthetic_slices import SliceMaker, make_heads
from tissue_contrasts import Target
from torch import Tensor, nn

from napari_unet.learning.config import PRESETS
from napari_unet.learning.network.unet import ConvBlock, UNet
from napari_unet.learning.training.losses import class_weights, segmentation_loss
from napari_unet.learning.training.optimiser import AdamW, AveragedWeights

logger = logging.getLogger("pretrain")

LEARNING_RATE, WEIGHT_DECAY, WARM_UP_STEPS = 2e-3, 1e-4, 50
AVERAGE_DECAY = 0.999
HELD_OUT_HEADS = 4
VALIDATION_BATCHES = 6
STATISTICS_BATCHES = 60
SAVE_SECONDS = 300.0
LOG_STEPS = 100


def main() -> None:
    """Draw heads, train, save."""
    arguments = _arguments()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(arguments.threads)
    out: Path = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    heads = make_heads(
        arguments.heads + HELD_OUT_HEADS, arguments.seed, arguments.cache or out / "heads"
    )
    seen, held_out = heads[:-HELD_OUT_HEADS], heads[-HELD_OUT_HEADS:]
    generator = torch.Generator().manual_seed(arguments.seed)
    examples = SliceMaker(seen, generator)
    judge = SliceMaker(held_out, torch.Generator().manual_seed(arguments.seed + 1))
    validation = [judge.batch(arguments.batch_size) for _ in range(VALIDATION_BATCHES)]
    weights = class_weights((examples.batch(16)[1] for _ in range(10)), len(Target))

    net = UNet(dataclasses.replace(PRESETS["fast"], n_classes=len(Target)), generator).train()
    optimiser = AdamW(net, WEIGHT_DECAY)
    average = AveragedWeights(net, copy.deepcopy(net).eval(), optimiser.weights, AVERAGE_DECAY)
    started = saved = time.monotonic()
    steps, progress, recent = 0, 0.0, 0.0
    while progress < 1:
        images, labels = examples.batch(arguments.batch_size)
        # Rare classes weigh more at first, as in training from annotations.
        loss = segmentation_loss(net(images), labels, weights ** (1 - progress))
        loss.backward()
        if optimiser.step(_learning_rate(steps, progress)):
            average.update()
        else:
            average.restore()
        steps += 1
        recent += float(loss.detach())
        elapsed = time.monotonic() - started
        progress = (
            steps / arguments.steps if arguments.steps else elapsed / (60 * arguments.minutes)
        )
        if steps % LOG_STEPS == 0:
            logger.info("step %d, %.0f s, loss %.3f", steps, elapsed, recent / LOG_STEPS)
            recent = 0.0
        if time.monotonic() - saved > SAVE_SECONDS or progress >= 1:
            saved = time.monotonic()
            scores = _dice(average.net, validation)
            logger.info("step %d, Dice %s", steps, _table(scores))
            settled = settle(average.net, examples, arguments.batch_size)
            _save(settled, out, steps, arguments, float(scores[1:].nanmean()))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument("--minutes", type=float, default=70.0, help="training time")
    budget.add_argument("--steps", type=int, help="training steps, instead of minutes")
    parser.add_argument("--seed", type=int, default=1000)
    parser.add_argument("--heads", type=int, default=72, help="how many heads to learn from")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("pretrained"), help="folder to write to")
    parser.add_argument("--cache", type=Path, help="folder for the heads (default: in --out)")
    return parser.parse_args()


def _learning_rate(steps: int, progress: float) -> float:
    """Cosine over the budget, after a few careful steps."""
    warm_up = min(1.0, (steps + 1) / WARM_UP_STEPS)
    return LEARNING_RATE * warm_up * (0.01 + 0.495 * (1 + math.cos(math.pi * progress)))


@torch.inference_mode()
def _dice(net: UNet, batches: list[tuple[Tensor, Tensor]]) -> Tensor:
    """Dice of each class over all batches together, shape (classes,); NaN where absent."""
    both, size, predicted = torch.zeros(3, len(Target))
    for images, labels in batches:
        guess = net(images).argmax(1)
        size += torch.bincount(labels.flatten(), minlength=len(Target))
        predicted += torch.bincount(guess.flatten(), minlength=len(Target))
        both += torch.bincount(labels[guess == labels], minlength=len(Target))
    return torch.where(size > 0, 2 * both / (size + predicted), torch.nan)


def _table(scores: Tensor) -> str:
    each = " ".join(
        f"{target.name.lower()} {float(score):.2f}"
        for target, score in zip(Target, scores, strict=True)
    )
    return f"{float(scores[1:].nanmean()):.3f}: {each}"


def settle(net: UNet, examples: SliceMaker, batch_size: int) -> UNet:
    """Copy a network so that it goes on learning as fast as one that was just drawn.

    What a convolution in front of a normalisation gives does not depend on the size of
    its weights, but how far a step moves them does (see `UNet`): training makes them
    several times as large, so they are brought back to the size of fresh ones. Then the
    statistics of the normalisation are taken anew, over many batches.
    """
    result = copy.deepcopy(net)
    fresh = UNet(net.config).state_dict()
    with torch.no_grad():
        for name, module in result.named_modules():
            if isinstance(module, ConvBlock):
                for each in ("conv1", "conv2"):
                    weight = module.get_parameter(f"{each}.weight")
                    weight.mul_(fresh[f"{name}.{each}.weight"].norm() / weight.norm())
            elif isinstance(module, nn.BatchNorm2d):
                module.reset_running_stats()
                module.momentum = None  # a plain mean
        result.train()
        for _ in range(STATISTICS_BATCHES):
            result(examples.batch(batch_size)[0])
    return result.eval()


def _save(net: UNet, out: Path, steps: int, arguments: argparse.Namespace, dice: float) -> None:
    """Write the weights without the head, at once or not at all."""
    state = {
        # Statistics would not fit into half precision, and are few.
        name: tensor.half().contiguous() if tensor.ndim == 4 else tensor
        for name, tensor in net.state_dict().items()
        if not name.startswith("head.")
    }
    card = {
        "steps": str(steps),
        "seed": str(arguments.seed),
        "heads": str(arguments.heads),
        "held_out_dice": f"{dice:.3f}",
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
    partial = out / "latest.partial"
    save_file(state, partial, card)
    partial.chmod(0o644)  # it is going to be packaged
    partial.replace(out / "latest.safetensors")


if __name__ == "__main__":
    main()
