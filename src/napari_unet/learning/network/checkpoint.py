"""The model file: weights and their card in one safetensors file, no pickle."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from napari_unet.errors import CheckpointError
from napari_unet.imaging.atomic import atomic_path, path_in_utf8
from napari_unet.imaging.scan_file import check_file
from napari_unet.imaging.volume import PLANES
from napari_unet.learning.config import ModelConfig
from napari_unet.learning.model_card import ModelCard, further_values
from napari_unet.learning.preparation import NORMALISATIONS
from napari_unet.learning.runtime import load_torch
from napari_unet.text import counted

load_torch()

import safetensors  # noqa: E402
import safetensors.torch  # noqa: E402
import torch  # noqa: E402
from torch import Tensor  # noqa: E402

from napari_unet.learning.network.unet import UNet  # noqa: E402

FORMAT_VERSION = 4
"""Version of the model file; raised when older software could not read it."""

_CARD_KEY = "napari_unet"

_CHECKSUM_KEY = "napari_unet_sha256"

_CHECKED_SINCE = 4
"""First format whose files have a checksum."""

_VALUES_SINCE = 4
"""First format whose cards have label values of their own."""

_DTYPES = {torch.float32: "F32", torch.int64: "I64"}
"""What a file calls the number types of a network."""

_Layout = dict[str, tuple[str, tuple[int, ...]]]
"""Number type and shape of each tensor."""

_T = TypeVar("_T")

_NEW_CLASS_DROP = 2.0
"""How far the score of an added class is below that of the background."""


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """A trained model.

    Parameters
    ----------
    state : dict of str to Tensor
        Weights, as of `UNet.state_dict`, on the CPU.
    card : ModelCard
        Everything else about it.
    """

    state: dict[str, Tensor]
    card: ModelCard

    def network(self) -> UNet:
        """Build the network with these weights, in evaluation mode.

        Raises
        ------
        CheckpointError
            If weights and card do not belong together.
        """
        net = UNet(self.card.model)
        try:
            net.load_state_dict(self.state)
        except RuntimeError as error:
            raise CheckpointError(_do_not_fit("this model")) from error
        return net.eval()

    def check_fits(
        self,
        n_channels: int,
        class_names: Sequence[str] | None = None,
        *,
        axis: int | None = None,
    ) -> None:
        """Make sure that the model can be used on a scan, and for these classes.

        Parameters
        ----------
        n_channels : int
            Image sequences of the scan.
        class_names : sequence of str, optional
            Names of classes 1..K to train or show; None: whatever the model has.
        axis : int, optional
            Display axis that the scan is sliced along; None: whichever the model needs.

        Raises
        ------
        CheckpointError
            If it does not fit.
        """
        card = self.card
        if n_channels != card.model.in_channels:
            names = f" ({', '.join(card.channel_names)})" if card.channel_names else ""
            raise CheckpointError(
                f"This model needs {counted(card.model.in_channels, 'image channel')}{names}, "
                f"but the scan has {n_channels}. Choose as many images, in the same order."
            )
        if axis is not None and axis != card.slice_axis:
            raise CheckpointError(
                f"This model learned from {PLANES[card.slice_axis]} slices, but these are "
                f"{PLANES[axis]}. Choose the {PLANES[card.slice_axis]} plane for it, or train a "
                "new model."
            )
        if class_names is not None and tuple(class_names) != card.class_names:
            raise CheckpointError(
                f"The structures here ({_listed(class_names)}) are not those of this model "
                f"({_listed(card.class_names)}). Rename or add structures to match, or train a "
                "new model."
            )

    def with_classes(
        self,
        class_names: Sequence[str],
        class_colors: Sequence[str] = (),
        label_values: Sequence[int] = (),
    ) -> Checkpoint:
        """Give the model other names for its structures, and further structures.

        Structures that were added start with the weights of the background, made
        somewhat less likely: the model predicts what it did before, and
        training goes on from there.

        Parameters
        ----------
        class_names, class_colors : sequence of str
            Names and hex colours of classes 1..K; those that the model knows come
            first, in its order. No colours: as they are.
        label_values : sequence of int
            Their values in files. None: as they are, and the next ones for added structures.

        Raises
        ------
        CheckpointError
            If there are fewer structures than the model knows.
        """
        known, wanted = len(self.card.class_names), len(class_names)
        if wanted < known:
            raise CheckpointError(
                f"This model knows {counted(known, 'structure')} "
                f"({_listed(self.card.class_names)}), but there "
                f"{'is' if wanted == 1 else 'are'} only {wanted} here. "
                "Add the missing structures, or train a new model."
            )
        state = dict(self.state)
        rows = self.card.model.stride**2  # of the last layer, per class; background comes first
        for name, drop in (("head.weight", 0.0), ("head.bias", _NEW_CLASS_DROP)):
            new = state[name][:rows] - drop
            state[name] = torch.cat([state[name], *[new] * (wanted - known)])
        values = tuple(label_values) or further_values(self.card.label_values, wanted)
        card = dataclasses.replace(
            self.card,
            model=dataclasses.replace(self.card.model, n_classes=wanted + 1),
            class_names=tuple(class_names),
            class_colors=tuple(class_colors) or self.card.class_colors,
            label_values=values,
        )
        return Checkpoint(state, card)

    def save(self, path: str | Path, *, overwrite: bool = True) -> None:
        """Write the model to one file, completely or not at all.

        Parameters
        ----------
        path : str or Path
            File to write, in an existing folder.
        overwrite : bool
            Whether an existing file may be replaced. It may, unless you say otherwise: a
            script that had to be told so would lose what it has trained.

        Raises
        ------
        SaveError
            If the file cannot be written; what was there before is untouched.
        """
        card = {"format_version": FORMAT_VERSION, **dataclasses.asdict(self.card)}
        with atomic_path(path, overwrite=overwrite) as temporary:
            state = {name: tensor.contiguous() for name, tensor in self.state.items()}
            # In ASCII: a name that is not UTF-8 must not cost the model.
            text = json.dumps(card)
            # Not save_file: it puts a file of its own, readable by its owner only, in the place.
            content = safetensors.torch.save(
                state, metadata={_CARD_KEY: text, _CHECKSUM_KEY: _checksum(text, state)}
            )
            temporary.write_bytes(content)

    @classmethod
    def load(cls, path: str | Path) -> Checkpoint:
        """Read a model file.

        Raises
        ------
        CheckpointError
            If there is no such file, or it is not a model of this package, or any bit of
            it is not as it was saved.
        """
        path = Path(path)
        check_file(path, CheckpointError)
        try:
            with (
                path_in_utf8(path, read=True) as readable,
                safetensors.safe_open(readable, framework="pt") as file,
            ):
                metadata = file.metadata() or {}
                if _CARD_KEY not in metadata:
                    raise CheckpointError(
                        f"{path.name} is not a model of napari-unet: it has weights but no card. "
                        "Choose a file saved with napari-unet."
                    )
                version, card = _read_card(metadata[_CARD_KEY], path.name)
                parts = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
                layout = {n: (p.get_dtype(), tuple(p.get_shape())) for n, p in parts.items()}
                if layout != _layout_of(card.model):  # before memory is taken for any of it
                    raise CheckpointError(_do_not_fit(path.name))
                state = {name: file.get_tensor(name) for name in parts}
        except (safetensors.SafetensorError, OSError, ValueError) as error:
            raise CheckpointError(
                f"{path.name} cannot be read as a model ({error}). "
                "It is damaged or not a .safetensors file; use another copy or train again."
            ) from error
        if version >= _CHECKED_SINCE:
            _check_unchanged(metadata, state, path.name)
        if card.normalisation not in NORMALISATIONS:
            raise CheckpointError(
                f"{path.name} expects intensities normalised as {card.normalisation!r}, which this "
                "version does not know. Update napari-unet to use it."
            )
        if not all(torch.isfinite(tensor).all() for tensor in state.values()):
            raise CheckpointError(f"{path.name} has weights that are not numbers: it is damaged.")
        return cls(state=state, card=card)


def _layout_of(model: ModelConfig) -> _Layout:
    """Find the tensors of a network without memory for its weights."""
    with torch.device("meta"):
        state = UNet(model).state_dict()
    return {name: (_DTYPES[each.dtype], tuple(each.shape)) for name, each in state.items()}


def _do_not_fit(name: str) -> str:
    return (
        f"The weights of {name} do not fit its description; it is damaged. "
        "Train again or use another copy."
    )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) if names else "(none)"


def _checksum(card: str, state: Mapping[str, Tensor]) -> str:
    """SHA-256 of the card as it is written and of the tensors: names, types, shapes, bytes."""
    found = hashlib.sha256(card.encode())
    for name in sorted(state):
        tensor = state[name].contiguous()
        found.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        found.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def _check_unchanged(metadata: Mapping[str, str], state: Mapping[str, Tensor], name: str) -> None:
    """Refuse a file in which a bit has flipped: other weights would give other masks silently."""
    if metadata.get(_CHECKSUM_KEY) != _checksum(metadata[_CARD_KEY], state):
        raise CheckpointError(
            f"{name} is not as it was saved: its checksum does not fit, so it was damaged or "
            "changed since, and its masks could be wrong. Use another copy or train again."
        )


@dataclass(frozen=True, slots=True)
class _Version:
    format_version: int


def _read_card(text: str, name: str) -> tuple[int, ModelCard]:
    """Format and card as they are written; what earlier formats do not know has its default."""
    version = _parse(_VERSION, text, name).format_version
    if version < 1:
        raise CheckpointError(_damaged_card(name, f"format {version}"))
    if version > FORMAT_VERSION:
        raise CheckpointError(
            f"{name} was written by a newer napari-unet (format {version}, this one reads up "
            f"to {FORMAT_VERSION}). Update napari-unet to use it."
        )
    card = _parse(_CARD, text, name)
    if version < _VALUES_SINCE and (values := _named_values(card.class_names)):
        card = dataclasses.replace(card, label_values=values)
    return version, card


_VERSION, _CARD = TypeAdapter(_Version), TypeAdapter(ModelCard)


def _parse(kind: TypeAdapter[_T], text: str, name: str) -> _T:
    """Make a value of what `dataclasses.asdict` and JSON have made of one, by its types."""
    try:
        return kind.validate_json(text, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise CheckpointError(
            _damaged_card(name, f"{where}: {first['msg']}" if where else first["msg"])
        ) from error


def _damaged_card(name: str, reason: str) -> str:
    return (
        f"The card of {name} cannot be read ({reason}): the file is damaged. "
        "Use another copy or train again."
    )


def _named_values(class_names: Sequence[str]) -> tuple[int, ...]:
    """Label values of models before format 4: in names like ``label 4``, else none."""
    found = [re.fullmatch(r"label ([0-9]{1,10})", name) for name in class_names]
    values = tuple(int(match[1]) for match in found if match)
    return values if len({*values} - {0}) == len(class_names) else ()
