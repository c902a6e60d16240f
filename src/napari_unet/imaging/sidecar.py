"""The JSON file beside a mask: what its values mean, and the receipt.

Every mask gets one, also without names: the receipt is to be found later, and a
program that reads masks can rely on it. The keys follow BIDS derivatives where these
have any for segmentations (https://bids-specification.readthedocs.io, "Imaging data
types" and "Common data types"):

- ``Description``, ``Sources`` (files relative to the mask) and ``SpatialReference``
  (``orig``: the space of the image itself), as in any BIDS derivative;
- ``GeneratedBy``: name and version, as in ``dataset_description.json``;
- ``Structures``: objects with ``index``, ``name`` and ``color``, which are the columns of
  ``_dseg.tsv``. (``LabelMap`` is for probabilistic maps: one name a volume.)
- ``Geometry``, of our own: the `GeometryReceipt`.

A JSON file of another program is never replaced.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from napari_unet import __version__
from napari_unet.errors import SaveError, VolumeError
from napari_unet.imaging.atomic import atomic_path
from napari_unet.imaging.dicom.headers import is_dicom
from napari_unet.imaging.dicom.seg_reader import segments_of as dicom_segments_of
from napari_unet.imaging.formats.nrrd import segments_of
from napari_unet.imaging.formats.registry import suffix_of
from napari_unet.imaging.receipt import GeometryReceipt
from napari_unet.imaging.scan_file import (
    LARGEST_LABEL,
    PROGRAM,
    StructureRow,
    check_file,
    not_opened,
    structure_row,
)

LONGEST = 2**26
"""Bytes that are read of a sidecar."""


def sidecar_of(mask: Path) -> Path:
    """Where the sidecar of a mask is: its name with ``.json`` for the suffix.

    Where that belongs to another mask that is there (``a.nii.gz`` beside ``a.mgz``),
    ``.json`` follows the whole name.
    """
    whole = mask.with_name(f"{mask.name}.json")
    suffix = suffix_of(mask) or mask.suffix
    short = mask.with_name(mask.name[: len(mask.name) - len(suffix)] + ".json")
    with suppress(VolumeError):  # one that cannot be read is nobody's
        if _is_ours(_content(whole)) or _is_of_another(_content(short), mask):
            return whole
    return short


def store_beside(
    receipt: GeometryReceipt, structures: Sequence[StructureRow], sources: Sequence[Path]
) -> GeometryReceipt:
    """Write the sidecar of a mask that was just saved.

    Returns
    -------
    GeometryReceipt
        With the sidecar's path, or a remark when a file of another program is there.

    Raises
    ------
    SaveError
        If it cannot be written; the mask stays.
    """
    path = sidecar_of(receipt.path)
    try:
        foreign = os.path.exists(path) and not _is_ours(_content(path))
        reason = f"{path.name} belongs to another program." if foreign else ""
    except VolumeError as error:
        reason = str(error)
    if reason:
        remark = f"Names and receipt are not stored: {reason}"
        return replace(receipt, remark=f"{receipt.remark} {remark}".lstrip())
    text = json.dumps(_describe(receipt, structures, sources), indent=2, ensure_ascii=False)
    try:
        with atomic_path(path) as temporary:
            # Names that are not UTF-8 become escapes, which JSON reads back as they were.
            temporary.write_text(text + "\n", encoding="utf-8", errors="backslashreplace")
    except SaveError as error:
        raise SaveError(
            f"{receipt.path.name} was saved, but not its names and receipt. {error}"
        ) from error
    return replace(receipt, sidecar=path)


def structures_beside(mask: Path) -> tuple[StructureRow, ...]:
    """Names and colours of a mask's values: of our sidecar, else of the file itself.

    3D Slicer's segmentations and DICOM's have their own.
    """
    content = _content(sidecar_of(mask))
    if _is_ours(content):
        return _rows(content)
    if mask.name.lower().endswith(".seg.nrrd"):
        return segments_of(mask)
    return dicom_segments_of(mask) if is_dicom(mask) else ()


def values_beside(mask: Path) -> frozenset[int] | None:
    """Values of a mask's structures that are listed, see `structures_beside`; None without any."""
    return frozenset(value for value, _, _ in structures_beside(mask)) or None


def _rows(content: Any) -> tuple[StructureRow, ...]:
    """Structures of a sidecar, which somebody may have edited by hand."""
    rows = []
    try:
        for each in content["Structures"]:
            try:
                value = int(each["index"])
                if 0 < value <= LARGEST_LABEL:
                    rows.append(structure_row(value, each.get("name"), each.get("color")))
            except (AttributeError, KeyError, TypeError, ValueError, OverflowError):
                continue  # costs itself only
    except (KeyError, TypeError):
        return ()
    return tuple(rows)


def _describe(
    receipt: GeometryReceipt, structures: Sequence[StructureRow], sources: Sequence[Path]
) -> dict[str, Any]:
    return {
        "Description": "Discrete segmentation; 0 is background.",
        "GeneratedBy": [{"Name": PROGRAM, "Version": __version__}],
        "Sources": [_relative(source, receipt.path.parent) for source in sources],
        "SpatialReference": "orig",
        "Structures": [
            {"index": index, "name": name, "color": color} for index, name, color in structures
        ],
        "Geometry": {
            "File": receipt.path.name,
            "Format": receipt.format,
            "Shape": list(receipt.shape),
            "ShapeKept": receipt.shape_ok,
            "AffineKept": receipt.affine_ok,
            "CodesKept": receipt.codes_ok,
            "VoxelsKept": receipt.voxels_ok,
            "LargestDisplacementMm": receipt.displacement_mm,
            "Remark": receipt.remark,
        },
    }


def _relative(source: Path, folder: Path) -> str:
    try:
        return Path(os.path.relpath(source, folder)).as_posix()
    except ValueError:  # another drive
        return source.absolute().as_posix()


def _content(path: Path) -> Any:
    """What a sidecar says; None if there is none, or it is no JSON.

    Raises
    ------
    VolumeError
        If it is there, but cannot be read: names would be lost without a word.
    """
    if not os.path.lexists(path):
        return None
    check_file(path)
    try:
        with path.open("rb") as file:
            return json.loads(file.read(LONGEST))
    except OSError as error:
        raise VolumeError(not_opened(path, error)) from error
    except (ValueError, RecursionError):
        return None


def _is_of_another(content: Any, mask: Path) -> bool:
    """Whether a sidecar of ours describes another mask, which is still there."""
    if not _is_ours(content):
        return False
    try:
        named = str(content["Geometry"]["File"])
    except (KeyError, TypeError):  # edited by hand
        return False
    return named != mask.name and os.path.isfile(mask.parent / Path(named).name)


def _is_ours(content: Any) -> bool:
    try:
        return bool(content["GeneratedBy"][0]["Name"] == PROGRAM)
    except (KeyError, IndexError, TypeError):
        return False
