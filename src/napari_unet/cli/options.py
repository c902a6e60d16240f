"""The arguments of the command line."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NoReturn, get_args

from napari_unet import __version__
from napari_unet.annotation.label_files import FOUND_OUT, IgnoreLabel
from napari_unet.errors import UsageError
from napari_unet.imaging.volume import FILE_AXES, PLANES
from napari_unet.learning.config import (
    AUTO,
    LARGEST,
    PRESETS,
    BorderWeighting,
    LengthUnit,
    LossName,
    ModelConfig,
    TrainConfig,
    words_of,
)

MODEL_SUFFIX = ".safetensors"

_DEFAULTS = TrainConfig()
_BORDER = BorderWeighting()

_SLICES_HELP = "the annotated slices (default: all that show a structure)"
_SERIES_HELP = "which DICOM series of a folder: its description or UID"
_OVERWRITE_HELP = "replace existing files"
_TRAIN_NOTES = f"""\
Label values: 0 is background, 255 a voxel that nobody annotated, any other value a structure.
Where 255 may be a structure (alone, or beside 127 or 251 to 254), say so: --ignore-label none.
Without --slices every slice that shows a structure is annotated; an annotated EMPTY slice helps
a lot, so name such slices with --slices. Numbers count along --axis as stored in the file, from
0. Ctrl-C ends training early and keeps what was learned so far; with --init, that model
where the new one is worse (on slices held back from training, if there are any). SIGTERM and
SIGHUP keep it too; the exit status is then 128 + the signal.

examples:
  napari-unet train --image t1c.nii.gz --labels painted.nii.gz --out model{MODEL_SUFFIX}
  napari-unet train --image t1c.nii.gz flair.nii.gz --labels painted.nii.gz \\
      --slices 40,52,60 --axis z --seconds 90 --out model{MODEL_SUFFIX}
"""
_SEGMENT_NOTES = f"""\
Masks keep the label values of the training mask and are called IMAGE_seg.nii.gz. For a scan from
DICOM, --out mask.dcm writes a DICOM segmentation (needs highdicom).
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
annotated ones show is replaced. Label values, --slices, --axis and --ignore-label are as for
"train".

example:
  napari-unet fill --labels painted.nii.gz --slices 40,52,60 --out filled.nii.gz
"""


_CONVERT_NOTES = """\
The grid, the order of the voxels and every intensity or label stay; NIfTI to NIfTI keeps both
matrices, codes and units. The suffix of OUT chooses the format: .nii.gz, .nii, .nrrd, .seg.nrrd
(masks for 3D Slicer), .mgz, .mgh or .mha (needs SimpleITK); .dcm is a DICOM segmentation of the
series named by --scan (needs highdicom). What was written is read again and compared. A mask
comes with a .json that says what its values mean.

examples:
  napari-unet convert dicom_folder/ t1.nii.gz
  napari-unet convert mask.nii.gz mask.seg.nrrd
  napari-unet convert mask.nii.gz mask.dcm --scan dicom_folder/
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


def _ignore_label(text: str) -> IgnoreLabel:
    if text.casefold() == "none":
        return None
    if text == FOUND_OUT:
        return FOUND_OUT
    if not text.isdecimal() or not 0 < len(text) < 11 or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is neither none nor a label from 1")
    return int(text)


def _volume_number(text: str) -> int:
    if not text.isdecimal() or len(text) > 9:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a whole number from 0")
    return int(text)


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (0 < value < math.inf):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value


def _length(text: str) -> tuple[float, LengthUnit]:
    """Read pixels, or millimetres if it says so."""
    number = text.removesuffix("mm")
    try:
        return _positive(number), "pixels" if number == text else "mm"
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a number of pixels above 0, or of millimetres as in 2.5mm"
        ) from None


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


def parser() -> argparse.ArgumentParser:
    """Build the parser; `command` of its result is the name of the command."""
    root = _Parser(
        prog="napari-unet",
        description="Train a U-Net on a few annotated MRI slices and segment the rest.",
    )
    root.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = root.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, text: str, notes: str = "") -> argparse.ArgumentParser:
        added: argparse.ArgumentParser = commands.add_parser(
            name,
            help=text,
            description=text,
            epilog=notes,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        return added

    add = command("demo", "Show it on a synthetic brain: in napari, or as a report.").add_argument
    add("--out", type=Path, default=Path("demo"), metavar="DIR", help="folder (default: demo)")
    add("--headless", action="store_true", help="write the report although there is a display")
    add("--overwrite", action="store_true", help="replace files of others in that folder too")
    add("--seconds", type=_positive, default=_DEFAULTS.seconds, help="training time of the report")

    train = command("train", "Train on the annotated slices of a scan.", _TRAIN_NOTES)
    add = train.add_argument
    add(
        "--image",
        nargs="+",
        required=True,
        metavar="I",
        help="image file or DICOM folder; several: sequences of one scan",
    )
    _add_choices(add)
    add("--labels", required=True, metavar="L", help="mask on the grid of the image")
    add(
        "--out",
        type=Path,
        required=True,
        metavar="MODEL",
        help=f"model file to write ({MODEL_SUFFIX})",
    )
    add("--overwrite", action="store_true", help=_OVERWRITE_HELP)
    add("--slices", type=_slice_numbers, metavar="40,52,60", help=_SLICES_HELP)
    _add_ignore_label(add)
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
    add(
        "--loss",
        choices=get_args(LossName),
        help="border-ce: gaps between objects weigh more, as in the U-Net paper "
        "(default: as --preset asks for; dice+ce, and border-ce for paper)",
    )
    add(
        "--border-weight",
        type=_positive,
        metavar="W",
        help="border-ce: how much a gap between touching objects weighs "
        f"(default: {_BORDER.weight:g}, as in the U-Net paper)",
    )
    add(
        "--border-sigma",
        type=_length,
        metavar="S",
        help="border-ce: how fast that falls off with the width of the gap, in pixels of the "
        f"network (default: {_BORDER.sigma:g}, as in the U-Net paper) or millimetres: 2.5mm",
    )
    add(
        "--flip-rows",
        action=argparse.BooleanOptionalAction,
        help="turn slices upside down half of the time: for cells, not for heads (default: only "
        "for paper)",
    )
    add(
        "--elastic",
        type=_positive,
        metavar="PIXELS",
        help="deform slices as in the U-Net paper, which took 10 (default: smaller and finer; "
        "10 for paper)",
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
    add_network_options(train)

    add = command(
        "segment", "Segment whole scans with a trained model.", _SEGMENT_NOTES
    ).add_argument
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
    _add_choices(add)
    add("--labels", metavar="L", help="annotated slices of the scan, if there is one: they help")
    add(
        "--slices",
        type=_slice_numbers,
        metavar="40,52,60",
        help="which slices of --labels (default: all that show a structure)",
    )
    _add_ignore_label(add)
    add("--overwrite", action="store_true", help=_OVERWRITE_HELP)
    add(
        "images",
        nargs="+",
        type=Path,
        metavar="IMAGE",
        help="image files or DICOM folders; several: several scans",
    )

    add = command(
        "fill", "Interpolate a mask between its annotated slices.", _FILL_NOTES
    ).add_argument
    add("--labels", type=Path, required=True, metavar="L", help="mask, painted on some slices")
    add("--out", type=Path, required=True, metavar="FILE", help="mask file to write")
    add("--overwrite", action="store_true", help=_OVERWRITE_HELP)
    add("--slices", type=_slice_numbers, metavar="40,52,60", help=_SLICES_HELP)
    _add_ignore_label(add)
    add(
        "--axis",
        choices=PLANES + FILE_AXES,
        help="plane, or the voxel axis of the file (default: thickest spacing, else axial)",
    )

    add = command(
        "convert", "Write a scan or a mask in another file format.", _CONVERT_NOTES
    ).add_argument
    add("file", type=Path, metavar="IN", help="file, or folder of a DICOM series")
    add("out", type=Path, metavar="OUT", help="file to write")
    add("--volume", type=int, metavar="N", help="which volume of a series, counted from 0")
    add("--series", metavar="S", help="which DICOM series of the folder: its UID or name")
    add("--scan", type=Path, metavar="DIR", help="for a mask to .dcm: series it was painted on")
    add("--overwrite", action="store_true", help=_OVERWRITE_HELP)
    for kind in ("mask", "image"):
        add(
            f"--{kind}",
            dest="kind",
            action="store_const",
            const=kind,
            help=f"IN is {'a mask' if kind == 'mask' else 'an image'} (default: found out)",
        )

    info = command("info", "Describe a scan, a mask, a model, or the layers of a network.")
    add = info.add_argument
    add(
        "file",
        type=Path,
        nargs="?",
        metavar="FILE",
        help=f"image, DICOM folder or {MODEL_SUFFIX} file",
    )
    add(
        "--preset", choices=tuple(PRESETS), help="instead of a file: network to list layer by layer"
    )
    add(
        "--size",
        type=count,
        metavar="N",
        help="side of its input in pixels (default: that for a tile of training)",
    )
    add("--series", metavar="NAME", help=_SERIES_HELP)
    add_network_options(info)
    return root


def _add_ignore_label(add: Callable[..., argparse.Action]) -> None:
    """Add what says which voxels of the labels nobody annotated."""
    add(
        "--ignore-label",
        type=_ignore_label,
        default=FOUND_OUT,
        metavar="N",
        help="value of voxels that nobody annotated, or none: every value is a structure "
        "(default: 255, unless that may be a structure)",
    )


def _add_choices(add: Callable[..., argparse.Action]) -> None:
    """Add what chooses among the images that one file or folder holds."""
    add(
        "--volume",
        type=_volume_number,
        action="append",
        metavar="N",
        help="which volume of a file with several, from 0; given again: several as channels",
    )
    add("--series", metavar="NAME", help=_SERIES_HELP)


_HELP = {
    "width": "feature channels of the first level; each level has twice those above it",
    "max_width": "feature channels that no level exceeds",
    "levels": "depth: resolution levels, the bottom of the U included",
    "stride": "pixels folded into channels at the input: 1 works at full resolution, 2 at half",
    "kernel": "side of the convolution kernels in pixels, odd",
    "padding": "what a convolution sees beyond the border",
    "normalisation": "of the features after each convolution; none: trained with the recipe of "
    "paper, batch: with that of fast and standard",
    "upsampling": "how the way up doubles the size",
    "dropout": "share of the deepest features that each training step leaves out",
    "initialisation": "how the weights are drawn",
}
"""What each does; channels and classes are those of the data."""


def add_network_options(parser: argparse.ArgumentParser) -> None:
    """Add a group of options that change the network of ``--preset``."""
    group = parser.add_argument_group(
        "network options", "change the network of --preset, whose own values are the default"
    )
    for name, text in _HELP.items():
        default = getattr(ModelConfig(), name)
        if choices := words_of(ModelConfig).get(name):
            group.add_argument(_flag(name), choices=choices, help=text)
        else:
            kind = count if isinstance(default, int) else float
            group.add_argument(_flag(name), type=kind, metavar="N", help=text)


def count(text: str) -> int:
    """Read a number of pixels, channels and so on."""
    # int() refuses thousands of digits with a ValueError too.
    try:
        value = int(text)
    except ValueError:
        value = 0
    if not 1 <= value <= LARGEST:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a whole number from 1 to {LARGEST}")
    return value


def given_options(arguments: argparse.Namespace) -> list[str]:
    """Name the options that were given, ``--preset`` among them."""
    return [_flag(name) for name in ("preset", *_HELP) if getattr(arguments, name) is not None]


def network_of(arguments: argparse.Namespace) -> ModelConfig | None:
    """Find the network that the options ask for; None if they change no preset.

    Raises
    ------
    UsageError
        If it is not said which network to change, or there is no such network.
    """
    changes = {name: value for name in _HELP if (value := getattr(arguments, name)) is not None}
    if not changes:
        return None
    if arguments.preset in (None, AUTO):
        raise UsageError(
            f"{_flag(next(iter(changes)))} changes a network: add --preset {' or '.join(PRESETS)}."
        )
    preset = PRESETS[arguments.preset]
    if "width" in changes:
        changes.setdefault("max_width", max(changes["width"], preset.max_width))
    return replace(preset, **changes)


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
