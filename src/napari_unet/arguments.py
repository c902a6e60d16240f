"""The arguments of the command line."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from napari_unet import __version__
from napari_unet.imaging.volume import FILE_AXES, PLANES
from napari_unet.learning.config import AUTO, LARGEST, PRESETS, TrainConfig

MODEL_SUFFIX = ".safetensors"

_DEFAULTS = TrainConfig()

_SLICES_HELP = "the annotated slices (default: all that show a structure)"
_WIDTH_HELP = "feature channels of the first level (default: those of --preset)"
_TRAIN_NOTES = f"""\
Label values: 0 is background, 255 a voxel that nobody annotated, any other value a structure.
Without --slices every slice that shows a structure is annotated; an annotated EMPTY slice helps
a lot, so name such slices with --slices. Numbers count along --axis as stored in the file, from
0. Ctrl-C ends training early and keeps what was learned so far; with --init, that model
where the new one is worse (on slices held back from training, if there are any).

examples:
  napari-unet train --image t1c.nii.gz --labels painted.nii.gz --out model{MODEL_SUFFIX}
  napari-unet train --image t1c.nii.gz flair.nii.gz --labels painted.nii.gz \\
      --slices 40,52,60 --axis z --seconds 90 --out model{MODEL_SUFFIX}
"""
_SEGMENT_NOTES = f"""\
Masks keep the label values of the training mask and are called IMAGE_seg.nii.gz.
The scan that was annotated itself: give its --labels (and --slices) again. They are kept, and
the slices between them come out better than by the network alone.

examples:
  napari-unet segment --model model{MODEL_SUFFIX} --out mask.nii.gz t1c.nii.gz
  napari-unet segment --model model{MODEL_SUFFIX} --labels painted.nii.gz --slices 40,52,60 \\
      --out mask.nii.gz t1c.nii.gz
  napari-unet segment --model model{MODEL_SUFFIX} --out masks/ a.nii.gz b.nii.gz c.nii.gz
  two sequences a scan, two scans:
  napari-unet segment --model model{MODEL_SUFFIX} --out masks/ --channels 2 \\
      a_t1c.nii.gz a_flair.nii.gz b_t1c.nii.gz b_flair.nii.gz
"""
_FILL_NOTES = """\
Outlines are interpolated; neither a scan nor training is needed. Whatever slices between the
annotated ones show is replaced. Label values, --slices and --axis are as for "train".

example:
  napari-unet fill --labels painted.nii.gz --slices 40,52,60 --out filled.nii.gz
"""


class _Parser(argparse.ArgumentParser):
    """An argument parser whose complaint is one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def _slice_numbers(text: str) -> list[int]:
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not like 40,52,60") from None
    return numbers


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (0 < value < math.inf):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value


def _seed(text: str) -> int:
    # int() refuses thousands of digits with a ValueError too.
    try:
        seed = int(text)
    except ValueError:
        seed = -1
    if not 0 <= seed < 2**32:
        raise argparse.ArgumentTypeError(
            f"{text[:40]!r} is not a whole number from 0 to {2**32 - 1}"
        )
    return seed


def _count(text: str) -> int:
    # int() refuses thousands of digits with a ValueError too.
    try:
        count = int(text)
    except ValueError:
        count = 0
    if not 1 <= count <= LARGEST:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a whole number from 1 to {LARGEST}")
    return count


def parser() -> argparse.ArgumentParser:
    """Build the parser; `command` of its result is the name of the command."""
    root = _Parser(
        prog="napari-unet",
        description="Train a U-Net on a few annotated MRI slices and segment the rest.",
    )
    root.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = root.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, text: str, notes: str = "") -> Callable[..., argparse.Action]:
        added: argparse.ArgumentParser = commands.add_parser(
            name,
            help=text,
            description=text,
            epilog=notes,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        return added.add_argument

    add = command("demo", "Show it on a synthetic brain: in napari, or as a report.")
    add("--out", type=Path, default=Path("demo"), metavar="DIR", help="folder (default: demo)")
    add("--headless", action="store_true", help="write the report although there is a display")
    add("--seconds", type=_positive, help="training time of the report")

    add = command("train", "Train on the annotated slices of a scan.", _TRAIN_NOTES)
    add(
        "--image",
        nargs="+",
        required=True,
        metavar="I",
        help="NIfTI file; several: sequences of one scan on one grid",
    )
    add("--labels", required=True, metavar="L", help="NIfTI mask on the grid of the image")
    add(
        "--out",
        type=Path,
        required=True,
        metavar="MODEL",
        help=f"model file to write ({MODEL_SUFFIX})",
    )
    add("--slices", type=_slice_numbers, metavar="40,52,60", help=_SLICES_HELP)
    add(
        "--axis",
        choices=PLANES + FILE_AXES,
        help="plane, or the voxel axis of the file (default: that of --init, else "
        "thickest spacing, else axial)",
    )
    add(
        "--seconds",
        type=_positive,
        default=_DEFAULTS.seconds,
        help="training time (default: %(default)g)",
    )
    add("--init", metavar="MODEL", help="model to start from; kept where the new one is worse")
    add(
        "--seed",
        type=_seed,
        default=_DEFAULTS.seed,
        metavar="N",
        help="random seed (default: %(default)s)",
    )
    add("--preset", choices=(AUTO, *PRESETS), help=f"network (default: {_DEFAULTS.preset})")
    add("--width", type=_count, metavar="N", help=_WIDTH_HELP)

    add = command("segment", "Segment whole scans with a trained model.", _SEGMENT_NOTES)
    add("--model", required=True, metavar="MODEL", help=f"model file ({MODEL_SUFFIX})")
    add(
        "--out",
        type=Path,
        required=True,
        metavar="DIR_OR_FILE",
        help="folder, or a mask file if there is one scan",
    )
    add(
        "--channels",
        type=int,
        choices=range(1, 17),
        metavar="N",
        help="every N images are the sequences of one scan (default: 1)",
    )
    add("--labels", metavar="L", help="annotated slices of the scan, if there is one: they help")
    add(
        "--slices",
        type=_slice_numbers,
        metavar="40,52,60",
        help="which slices of --labels (default: all that show a structure)",
    )
    add("images", nargs="+", type=Path, metavar="IMAGE", help="NIfTI files; several: several scans")

    add = command("fill", "Interpolate a mask between its annotated slices.", _FILL_NOTES)
    add(
        "--labels", type=Path, required=True, metavar="L", help="NIfTI mask, painted on some slices"
    )
    add("--out", type=Path, required=True, metavar="FILE", help="mask file to write")
    add("--slices", type=_slice_numbers, metavar="40,52,60", help=_SLICES_HELP)
    add(
        "--axis",
        choices=PLANES + FILE_AXES,
        help="plane, or the voxel axis of the file (default: thickest spacing, else axial)",
    )

    add = command("info", "Describe a scan, a mask, a model, or the layers of a network.")
    add("file", type=Path, nargs="?", metavar="FILE", help=f"NIfTI or {MODEL_SUFFIX} file")
    add(
        "--preset", choices=tuple(PRESETS), help="instead of a file: network to list layer by layer"
    )
    add("--width", type=_count, metavar="N", help=_WIDTH_HELP)
    add(
        "--size",
        type=_count,
        metavar="N",
        help="side of its input in pixels (default: that for a tile of training)",
    )
    return root
