"""Options that commands share; those of settings come from their dataclasses and docstrings."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import fields, make_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias, get_type_hints

from cyclopts import Group, Parameter, Token
from cyclopts.validators import Number
from docstring_parser import parse

from napari_unet.annotation.label_files import FOUND_OUT
from napari_unet.annotation.label_files import IgnoreLabel as Ignored
from napari_unet.errors import UsageError
from napari_unet.imaging.volume import FILE_AXES, PLANES
from napari_unet.learning.config import (
    AUTO,
    PRESETS,
    BorderWeighting,
    ModelConfig,
    Recipe,
    TrainConfig,
)

MODEL_SUFFIX = ".safetensors"

FLAT = Parameter(name="*")
"""The fields of a dataclass are options, without its name before theirs."""

DAILY = Group("Options", sort_key=0)
_TRAINING = Group(
    "Training options", "How it learns; default: as is right for the network.", sort_key=1
)
_NETWORK = Group(
    "Network options",
    "Change the network of --preset, whose own values are the default.",
    sort_key=2,
)

if TYPE_CHECKING:  # the words that are allowed are written where they mean something
    _Axis: TypeAlias = str
    _Preset: TypeAlias = str
    NamedPreset: TypeAlias = str
else:
    _Axis = Literal[PLANES + FILE_AXES]
    _Preset = Literal[(AUTO, *PRESETS)]
    NamedPreset = Literal[tuple(PRESETS)]


def _whole(token: Token) -> int:
    """Read a whole number as it stands: cyclopts rounds 1.5, and Python reads any digits."""
    if not re.fullmatch(r"-?[0-9]{1,40}", token.value):
        raise ValueError(f"{token.value[:40]!r} is not a whole number.")
    return int(token.value)


def _whole_number(_: object, tokens: Sequence[Token]) -> int:
    return _whole(tokens[-1])


def _whole_numbers(_: object, tokens: Sequence[Token]) -> list[int]:
    return [_whole(token) for token in tokens]


def _slice_numbers(_: object, tokens: Sequence[Token]) -> list[int]:
    text = tokens[-1].value
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(f"{text!r} is not like 40,52,60.") from None


def _ignore_label(_: object, tokens: Sequence[Token]) -> Ignored:
    text = tokens[-1].value
    if text.casefold() == "none":
        return None
    if text == FOUND_OUT:
        return FOUND_OUT
    if not text.isdecimal() or not 0 < len(text) < 11 or int(text) == 0:
        raise ValueError(f"{text[:40]!r} is neither none nor a label from 1.")
    return int(text)


def _length(_: object, tokens: Sequence[Token]) -> tuple[float, str]:
    """Read pixels, or millimetres if it says so."""
    text = tokens[-1].value
    number = text.removesuffix("mm")
    try:
        return float(number), "pixels" if number == text else "mm"
    except ValueError:
        raise ValueError(
            f"{text!r} is not a number of pixels, or of millimetres as in 2.5mm."
        ) from None


def names_folder(path: str) -> bool:
    """Whether a path is that of a folder: there is one, or a slash says so."""
    return path.endswith(tuple(filter(None, (os.sep, os.altsep)))) or os.path.isdir(path)


def _new_file(_: object, tokens: Sequence[Token]) -> Path:
    """Read the name of a file to write, which `Path` would also make of a folder's."""
    text = tokens[-1].value
    if names_folder(text):
        raise ValueError(f"{text} is a folder: add a file name.")
    return Path(text)


def _one_token(converter: Any, **more: Any) -> Parameter:
    return Parameter(converter=converter, n_tokens=1, accepts_keys=False, **more)


def whole_number(least: int, most: int) -> Parameter:
    """Declare an option that is a whole number between two others, both included."""
    return _one_token(_whole_number, validator=Number(gte=least, lte=most))


NewFile: TypeAlias = Annotated[Path, _one_token(_new_file)]
Overwrite: TypeAlias = Annotated[bool, Parameter(help="Replace existing files.")]
Volumes: TypeAlias = Annotated[
    list[int] | None,
    _one_token(
        _whole_numbers,
        validator=Number(gte=0),
        help="Which volume of a file with several, from 0; given again: several as channels.",
    ),
]
Series: TypeAlias = Annotated[
    str | None, Parameter(help="Which DICOM series of a folder: its description or UID.")
]
VoxelsAnywhere: TypeAlias = Annotated[
    bool,
    Parameter(help="Follow headers (.nhdr, .mhd) to voxels outside their folders: trusted ones."),
]
Slices: TypeAlias = Annotated[
    list[int] | None,
    _one_token(
        _slice_numbers,
        metavar="INT,INT,...",
        help="The annotated slices, such as 40,52,60 (default: all that show a structure).",
    ),
]
Axis: TypeAlias = Annotated[
    _Axis | None,
    Parameter(
        help="Plane, or the voxel axis of the file (default: that of --init, else thickest "
        "spacing, else axial)."
    ),
]
IgnoreLabel: TypeAlias = Annotated[
    Ignored,
    _one_token(
        _ignore_label,
        metavar="INT|none",
        show_choices=False,
        help="Value of voxels that nobody annotated, or none: every value is a structure "
        "(default: 255, unless that may be a structure).",
    ),
]


def flag_of(name: str) -> str:
    """Name the option of a field."""
    return f"--{name.replace('_', '-')}"


def _options_of(owner: type, group: Group, *names: str, prefix: str = "", **types: Any) -> Any:
    """Make a dataclass of options from fields of a settings dataclass: None where not given.

    Parameters
    ----------
    owner : type
        A dataclass; its docstring has the help of each option.
    group : Group
        Heading in the help.
    names : str
        Fields that are options.
    prefix : str
        What flags begin with.
    types : annotation
        Of options that say more on the command line than their fields do.
    """
    help_of = {each.arg_name: each.description for each in parse(owner.__doc__ or "").params}
    hints = get_type_hints(owner) | types
    defaults = {each.name: each.default for each in fields(owner)}
    options: list[tuple[str, Any, Any]] = []
    for name in names:
        text = (help_of[name] or "").replace("\n", " ").replace("`", "")
        if group is DAILY:  # what all others default to depends on the network
            text += f" (default: {defaults[name]})"
        negative = flag_of(f"no_{name}") if hints[name] is bool else ""
        flag = Parameter(flag_of(prefix + name), help=text, group=group, negative=negative)
        if hints[name] is int:
            hints[name] = Annotated[int, _one_token(_whole_number)]
        options.append((name, Annotated[hints[name] | None, flag], None))
    made = make_dataclass(owner.__name__, options, frozen=True, kw_only=True)
    made.__module__ = __name__  # cyclopts takes apart no type of the standard library
    return made


if TYPE_CHECKING:
    TrainingOptions: TypeAlias = Any
    RecipeOptions: TypeAlias = Any
    BorderOptions: TypeAlias = Any
    NetworkOptions: TypeAlias = Any
else:
    TrainingOptions = _options_of(TrainConfig, DAILY, "seconds", "seed", "preset", preset=_Preset)
    RecipeOptions = _options_of(Recipe, _TRAINING, "loss", "flip_rows", "elastic")
    BorderOptions = _options_of(
        BorderWeighting,
        _TRAINING,
        *("weight", "sigma"),
        prefix="border_",
        sigma=Annotated[tuple[float, str], _one_token(_length, metavar="FLOAT[mm]")],
    )
    NetworkOptions = _options_of(
        ModelConfig,
        _NETWORK,
        *(
            each.name
            for each in fields(ModelConfig)
            if each.name not in ("in_channels", "n_classes")
        ),
    )


def given(options: Any) -> dict[str, Any]:
    """Find what was given of the options of a settings dataclass."""
    if options is None:
        return {}
    values = {each.name: getattr(options, each.name) for each in fields(options)}
    return {name: value for name, value in values.items() if value is not None}


def network_of(preset: str | None, options: NetworkOptions) -> ModelConfig | None:
    """Find the network that the options ask for; None if they change no preset.

    Raises
    ------
    UsageError
        If it is not said which network to change, or there is no such network.
    """
    changes = given(options)
    if not changes:
        return None
    if preset in (None, AUTO):
        raise UsageError(
            f"{flag_of(next(iter(changes)))} changes a network: add --preset "
            f"{' or '.join(PRESETS)}."
        )
    network = PRESETS[preset]
    if "width" in changes:
        changes.setdefault("max_width", max(changes["width"], network.max_width))
    return replace(network, **changes)
