"""Whether a scan is like those that a model learned from: its sequences, and its sizes.

No torch here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from napari_unet.learning.config import Millimetres
from napari_unet.learning.events import UnlikeTraining
from napari_unet.learning.model_card import ModelCard
from napari_unet.learning.preparation import PreparedScan

FACTOR = 1.5
"""How many times as large or as small as those learned from a scan may be without a word. (What
heads show differs by a factor of 1.3 between 12 people of four studies, hippocampus crops among
themselves by 1.4; a head shows 3 to 5 times what such a crop does.)"""

_CONTRAST = {"t1c", "t1ce", "t1gd", "t1km", "t1post", "t1wce", "ce", "gd", "gad", "km", "post"}

_WORDS = {
    **dict.fromkeys(("flair", "t2flair", "tirm", "darkfluid"), "FLAIR"),
    **dict.fromkeys(("t1", "t1w", "t1n", "t1wi", "mprage", "mp2rage"), "T1"),
    **dict.fromkeys(_CONTRAST - {"ce", "gd", "gad", "km", "post"}, "T1c"),
    **dict.fromkeys(("t2", "t2w", "t2wi"), "T2"),
    **dict.fromkeys(("t2s", "t2star", "swi"), "T2*"),
    **dict.fromkeys(("dwi", "diff", "adc"), "diffusion"),
    **dict.fromkeys(("pd", "pdw"), "PD"),
}
"""What the words in a file's name say of its sequence."""


def sequence_of(name: str) -> str:
    """Which sequence the name of a file says it is, such as ``T1c``; empty if it does not say.

    Parameters
    ----------
    name : str
        ``sub-01_T1w``, ``p3_flair`` or whatever.
    """
    words = _words_of(name)
    found = {_WORDS[word] for word in words if word in _WORDS}
    if "FLAIR" in found:
        return "FLAIR"  # also called T2-FLAIR
    if "T1c" in found or (found == {"T1"} and _CONTRAST.intersection(words)):
        found = found - {"T1"} | {"T1c"}
    return found.pop() if len(found) == 1 else ""


def as_learned(scan: PreparedScan, card: ModelCard) -> tuple[PreparedScan, list[UnlikeTraining]]:
    """Put the sequences of a scan in a model's order, and find what is unlike it.

    Parameters
    ----------
    scan : PreparedScan
        With as many sequences as the model needs.
    card : ModelCard
        Of the model.

    Returns
    -------
    scan : PreparedScan
        The same one, or one with its sequences in the model's order, where the names of
        all tell it.
    notices : list of UnlikeTraining
        What to tell the user: scan and model are named.
    """
    order = _order(scan.channel_names, card.channel_names)
    notices: list[str] = []
    if order is not None:
        names = tuple(scan.channel_names[place] for place in order)
        scan = replace(scan, slices=scan.slices[:, order], channel_names=names)
        notices.append(
            f"its sequences are put in the order of the model: {', '.join(names)} for "
            f"{', '.join(card.channel_names)}."
        )
    notices += [*_other_sequences(scan, card), *_other_sizes(scan, card)]
    return scan, [UnlikeTraining(f"{scan.name}: {text}") for text in notices]


def _words_of(name: str) -> set[str]:
    return set(re.split(r"[^a-z0-9]+", name.lower())) - {""}


def _marks(names: Sequence[str]) -> list[set[str]]:
    """What tells each sequence of a scan from its others: which it is, else words of its own."""
    words = [_words_of(name) for name in names]
    marks: list[set[str]] = []
    for number, name in enumerate(names):
        others = set().union(*(each for i, each in enumerate(words) if i != number))
        own = {word for word in words[number] - others if not word.isdigit()}
        marks.append({kind} if (kind := sequence_of(name)) else own)
    return marks


def _order(here: Sequence[str], learned: Sequence[str]) -> list[int] | None:
    """Places of the model's sequences in a scan; None if they are in order, or nobody knows."""
    if len(here) != len(learned) or len(here) < 2:
        return None
    ours = _marks(here)
    fits = [[i for i, mine in enumerate(ours) if mine & mark] for mark in _marks(learned)]
    if any(len(places) != 1 for places in fits):
        return None
    order = [places[0] for places in fits]
    in_order = list(range(len(here)))
    return order if sorted(order) == in_order and order != in_order else None


def _other_sequences(scan: PreparedScan, card: ModelCard) -> list[str]:
    pairs = zip(scan.channel_names, card.channel_names, strict=False)
    kinds = [(name, theirs, sequence_of(name), sequence_of(theirs)) for name, theirs in pairs]
    return [
        f"the model learned from {expected} (“{theirs}”), but “{name}” is {found} by its name. "
        "Check the result, or choose the other sequence."
        for name, theirs, found, expected in kinds
        if found and expected and found != expected
    ]


def _other_sizes(scan: PreparedScan, card: ModelCard) -> list[str]:
    learned, here = card.scan_sizes, scan.sizes
    if learned is None or here is None:
        return []
    said = []
    shows = here.least_extent_mm
    across = [axis for axis in range(3) if axis != card.slice_axis]
    # Fewer slices are a part of what was learned.
    smaller = any(shows[a] * FACTOR < learned.least_extent_mm[a] for a in across)
    larger = any(shows[a] > FACTOR * learned.most_extent_mm[a] for a in range(3))
    if smaller or larger:
        said.append(
            f"it shows about {_text(shows)} mm, but the model learned from scans that show about "
            f"{_text(_middle(learned.least_extent_mm, learned.most_extent_mm))} mm (x, y, z). "
            "Check the result: structures may be found where there are none, or missed."
        )
    voxel = here.least_voxel_mm
    if any(
        not learned.least_voxel_mm[a] / FACTOR < voxel[a] < learned.most_voxel_mm[a] * FACTOR
        for a in range(3)
    ):
        said.append(
            f"its voxels are {_text(voxel)} mm, but the model learned from voxels of about "
            f"{_text(_middle(learned.least_voxel_mm, learned.most_voxel_mm))} mm (x, y, z). "
            "Check the result."
        )
    return said


def _middle(least: Millimetres, most: Millimetres) -> Millimetres:
    z, y, x = ((low + high) / 2 for low, high in zip(least, most, strict=True))
    return (z, y, x)


def _text(lengths: Millimetres) -> str:
    """Lengths (z, y, x) for people: ``35 x 50 x 35``, in the order x, y, z."""
    return " x ".join(
        f"{length:.2g}" if length < 10 else f"{length:.0f}" for length in lengths[::-1]
    )
