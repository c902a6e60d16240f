"""Any folder of NIfTI files as scans with masks, patients and times, told from the names.

**Which file is a mask.** One whose name ends in a mask word (``mask``, ``msk``, ``seg``,
``label``, ..., before the suffix, after ``_``, ``-`` or ``.``), or that lies in a folder called
``labels``, ``labelsTr``, ``masks`` or ``segmentations``. All others are images.

**Which image belongs to a mask.** The one with the same name, apart from mask words at its end,
sequence words (``t1``, ``t1c``, ``flair``, ``img``, ``0000``, ...) at the end of the other, and the
names of folders for images and masks. Where there are several, the first in the order of
`SEQUENCES`: T1 with contrast medium before all others.

**Patient and time.** Of the name without those words:

1. names in ``_img`` and ``_msk``: the first part is the patient, the second the time (OpenBTAI);
2. else the time is a number after ``ses``, ``tp``, ``time``, ``visit``, ``week``, ``month``,
   ``scan`` or ``fu``, or a date (20190131, 2019-01-31), in the name or in a folder's;
3. else it is a number at the end of a name that has another number before it
   (``BraTS-GLI-00005-001``, ``pat03_2``; but ``BRATS_003`` is a patient);
4. else there is no time.

What is left of the name (and folders) is the patient. Times are ordered as numbers.

The layout of OpenBTAI (MOLAB; Ocana-Tienda et al. 2023, doi:10.1038/s41597-023-02123-0) is that
of its authors' own code, github.com/ysuter/OpenBTAI-radiomics, batchpyradprep.py:
``PATIENT/PATIENT/NIFTI/PATIENT_TIME..._img.nii`` and ``..._msk.nii``; the values of a mask are ten
times the number of the metastasis, plus 1 where it enhances and 2 where it is necrotic.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from napari_unet.imaging.formats.registry import stem

SUFFIXES = (".nii", ".nii.gz")

MASK_WORDS = ("mask", "masks", "msk", "label", "labels", "seg", "segmentation", "gt", "lesion")

SEQUENCES = (
    "t1c", "t1ce", "t1gd", "t1post", "t1wce", "t1contrast", "ce", "gd", "img", "image",
    "t1", "t1w", "t1n", "0000", "flair", "t2f", "t2", "t2w", "dwi", "0001", "0002", "0003",
)  # fmt: skip
"""Words for images, the most wanted first; files without any of them come first of all."""

FOLDERS = (
    "images", "imagestr", "labels", "labelstr", "masks", "segmentations", "nifti", "anat",
    "rawdata", "derivatives",
)  # fmt: skip
"""Folders that say what is in them, not whose it is."""

MASK_FOLDERS = ("labels", "labelstr", "masks", "segmentations")

_TIME = re.compile(
    r"(?:^|[_/-])((?:ses|session|tp|time|timepoint|visit|week|month|scan|fu)[-_]?\d+"
    r"|\d{4}-\d\d-\d\d|(?:19|20)\d{6})(?=$|[_/-])",
    re.IGNORECASE,
)
_LAST_NUMBER = re.compile(r"\d.*[_-](\d+)$")


@dataclass(frozen=True, slots=True)
class Pair:
    """An image and its mask.

    Parameters
    ----------
    image, mask : Path
        The files.
    patient, time : str
        Whose, and which time; the latter may be empty.
    """

    image: Path
    mask: Path
    patient: str
    time: str


def find_pairs(folder: Path) -> tuple[list[Pair], list[str]]:
    """Match the NIfTI files in a folder, and in all folders in it.

    Returns
    -------
    pairs : list of Pair
        By patient, each in the order of time.
    left_out : list of str
        Sentences about files without a partner.
    """
    images: dict[str, list[tuple[int, Path]]] = {}
    masks: dict[str, list[Path]] = {}
    for path in sorted(p for p in folder.rglob("*") if p.name.lower().endswith(SUFFIXES)):
        place = path.relative_to(folder)
        if _is_mask(place):
            masks.setdefault(_key(place, MASK_WORDS), []).append(path)
        else:
            rank = [n for n, word in enumerate(SEQUENCES) if _last_word(place) == word]
            images.setdefault(_key(place, SEQUENCES), []).append((rank[0] if rank else -1, path))
    # A mask of one sequence (`..._t1c_seg`) belongs to all of that name without it.
    masks = {(key if key in images else _key(Path(key), SEQUENCES)): m for key, m in masks.items()}
    pairs = [
        Pair(min(images[key])[1], found[0], *patient_and_time(key, _last_word(found[0])))
        for key, found in masks.items()
        if key in images
    ]
    pairs.sort(key=lambda pair: (_natural(pair.patient), _natural(pair.time)))
    return pairs, list(_lonely(folder, images, masks))


def patient_and_time(key: str, mask_word: str = "") -> tuple[str, str]:
    """Tell patient and time from a name without its last words; rules as of this module.

    Parameters
    ----------
    key : str
        Folders and name, such as ``sub-01/ses-02/sub-01_ses-02``.
    mask_word : str
        The word that the mask's name ends in.
    """
    folders, _, name = key.rpartition("/")
    parts = name.split("_")
    if mask_word == "msk" and len(parts) > 1:
        return parts[0], parts[1]
    found = _TIME.search(name) or _TIME.search(folders)
    if found:
        start, end = found.span(1)
        text = found.string
        # In the name: what stands before the time; else the folder that holds it.
        before = text[:start].rstrip("_-/") or text[end:].lstrip("_-/")
        return before.rpartition("/")[2] or name or text, found[1]
    if number := _LAST_NUMBER.search(name):
        return name[: number.start(1)].rstrip("_-"), number[1]
    return name or folders, ""


def _is_mask(place: Path) -> bool:
    return _last_word(place) in MASK_WORDS or any(
        each.lower() in MASK_FOLDERS for each in place.parts[:-1]
    )


def _last_word(place: Path) -> str:
    """Last word of a file name, in small letters."""
    return re.split(r"[_.-]", stem(place).lower())[-1]


def _key(place: Path, words: Sequence[str]) -> str:
    """Folders and name, without folders that say nothing and `words` at the end of the name."""
    name = stem(place)
    while (last := re.search(r"(?:^|[_.-])([^_.-]+)$", name)) and last[1].lower() in words:
        name = name[: last.start()]
    folders = [each for each in place.parts[:-1] if each.lower() not in FOLDERS]
    return "/".join([*folders, name])


def _natural(text: str) -> list[tuple[int, str]]:
    """Sort numbers in a name as numbers."""
    return [(int(each), "") if each.isdigit() else (-1, each) for each in re.split(r"(\d+)", text)]


def _lonely(
    folder: Path, images: dict[str, list[tuple[int, Path]]], masks: dict[str, list[Path]]
) -> Iterator[str]:
    for key, found in images.items():
        if key not in masks:
            names = ", ".join(str(path.relative_to(folder)) for _, path in found)
            yield f"{names}: no mask of that name"
    for key, also in masks.items():
        if key not in images:
            yield f"{also[0].relative_to(folder)}: no image of that name"
        for path in also[1:]:
            yield f"{path.relative_to(folder)}: a second mask of the same image"
