"""What `scripts.fuzz_files` damages: sound files of each kind, how, and what is made of them."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nibabel as nib
import nrrd
import numpy as np
import safetensors.torch
import tifffile
import torch
from PIL import Image
from pydicom.data import get_testdata_file

from napari_unet.cli import info
from napari_unet.errors import GridMismatchError
from napari_unet.imaging.formats.registry import open_scan
from napari_unet.imaging.loading import load_labels, load_labels_onto, load_volume
from napari_unet.imaging.saving import save_mask
from napari_unet.imaging.sidecar import sidecar_of, structures_beside, values_beside
from napari_unet.imaging.volume import Grid
from napari_unet.learning.config import ModelConfig
from napari_unet.learning.model_card import ModelCard
from napari_unet.learning.network.checkpoint import Checkpoint
from napari_unet.learning.network.unet import UNet
from tests.conftest import DicomWriter

HEADER = 600
"""Most damage is done in the first bytes, where the headers are."""

ODD_NUMBERS = (0, 1, 2, 127, 128, 255, 256, 32767, 32768, 65535, 2**31 - 1, 2**31, 2**32 - 1)
ODD_WORDS = (b"0", b"-1", b"1e308", b"nan", b"inf", b"99999999999", b"(1,0,0)", b"none", b"")

ODD_VALUES: tuple[Any, ...] = (
    *(None, True, -1, 0, 2, 255, 4096, 2**31, 2**64, 10**400, 0.5, 1e-300, 1e308),
    *(float("nan"), float("inf"), "", "7", "#12345", "<b>\x1b[2J</b>", "/", "..", "\0", "\ud800"),
    *([], {}, [[]], {"": None}, [0] * 300, "x" * 100_000),
)
"""Put anywhere into JSON."""

NAMES = ("Tumour", "Oedema")
STRUCTURES = [(1, NAMES[0], "#e6550d"), (17, NAMES[1], "#3182bd")]
AFFINE = np.array([[-1.5, 0, 0.1, 20], [0, 2, 0, -30], [0, 0, 3, 40], [0, 0, 0, 1.0]])

Seeds = dict[str, list[Path]]
"""Name of each file that is damaged: itself, and what belongs to it."""


@dataclass(frozen=True)
class Kind:
    """Files of one kind.

    Parameters
    ----------
    write : callable
        Writes sound ones into a folder.
    damage : callable
        Gives the damaged content of one.
    read : callable
        Does with a file all that a user may; `NapariUnetError` is fine.
    """

    write: Callable[[Path], Seeds]
    damage: Callable[[bytes, np.random.Generator], bytes]
    read: Callable[[Path], object]


def write_scans(folder: Path) -> dict[str, list[Path]]:
    """Write a small sound image of every format; the first file of each list is damaged."""
    folder.mkdir(parents=True, exist_ok=True)
    voxels = np.random.default_rng(0).integers(-99, 999, (5, 6, 7)).astype(np.int16)
    affine = np.array([[-1.5, 0, 0.1, 20], [0, 2, 0, -30], [0, 0, 3, 40], [0, 0, 0, 1.0]])
    seeds: dict[str, list[Path]] = {}

    def add(name: str, *others: str) -> Path:
        seeds[name] = [folder / one for one in (name, *others)]
        return folder / name

    nib.Nifti1Image(voxels, affine).to_filename(add("little.nii"))
    big = nib.Nifti1Image(voxels.astype(">f4"), affine, nib.Nifti1Header(endianness=">"))
    big.to_filename(add("big.nii"))
    nib.Nifti1Image(np.stack([voxels] * 3, -1), affine).to_filename(add("series.nii.gz"))
    nib.Nifti2Image(voxels, affine).to_filename(add("second.nii"))
    nib.Nifti1Pair(voxels, affine).to_filename(add("pair.hdr", "pair.img"))
    nib.Spm99AnalyzeImage(voxels, affine).to_filename(add("old.hdr", "old.img", "old.mat"))
    nib.MGHImage(voxels, affine).to_filename(add("free.mgh"))
    nib.MGHImage(voxels, affine).to_filename(add("free.mgz"))
    space = {
        "space": "left-posterior-superior",
        "space directions": affine[:3, :3].T,
        "space origin": affine[:3, 3],
    }
    for encoding in ("raw", "gzip", "bzip2", "ascii"):
        nrrd.write(str(add(f"{encoding}.nrrd")), voxels, {**space, "encoding": encoding})
    pages = voxels.astype(np.uint16)
    for name, packed in (("raw.tif", None), ("zlib.tif", "zlib")):
        tifffile.imwrite(add(name), pages, photometric="minisblack", compression=packed)
    tifffile.imwrite(add("tiles.tif"), np.tile(pages, (1, 9, 9)), tile=(16, 16))
    for name in ("page.png", "page.bmp", "page.jpg"):
        Image.fromarray(np.tile(pages[0].astype(np.uint8), (4, 4))).save(add(name))
    nrrd.write(str(add("apart.nhdr", "apart.raw")), voxels, {**space, "encoding": "raw"})
    try:
        import SimpleITK as sitk
    except ImportError:
        pass
    else:
        image = sitk.GetImageFromArray(voxels.transpose(2, 1, 0).copy())
        sitk.WriteImage(image, str(add("meta.mha")))
        sitk.WriteImage(image, str(add("packed.mha")), useCompression=True)
        sitk.WriteImage(image, str(add("apart.mhd", "apart.raw")))
        seeds["apart.mhd"][1] = (folder / "apart.raw").rename(folder / "meta.raw")
        header = (folder / "apart.mhd").read_text().replace("apart.raw", "meta.raw")
        (folder / "apart.mhd").write_text(header)
        nrrd.write(str(folder / "apart.nhdr"), voxels, {**space, "encoding": "raw"})
    writer = DicomWriter(folder)
    slices = writer.write(voxels, names=[f"slice{n}.dcm" for n in range(len(voxels))])
    seeds["slice0.dcm"] = slices
    seeds["enhanced.dcm"] = [writer.write_enhanced(voxels, writer.tilted(), [2, 0, 1, 3, 4])]
    for kind in ("", "_RLE", "_bigendian", "_implicit", "_jp2klossless", "_jpeg_ls_lossless"):
        found = get_testdata_file(f"MR_small{kind}.dcm", download=False)
        if found:
            shutil.copy(found, add(f"MR_small{kind}.dcm"))
    return seeds


def damaged(raw: bytes, rng: np.random.Generator) -> bytes:
    """Damage a file in one to four places."""
    packed = raw[:2] == b"\x1f\x8b"
    inside = packed and rng.random() < 0.7  # else what is compressed is damaged as it is
    data = bytearray(gzip.decompress(raw) if inside else raw)
    for _ in range(int(rng.integers(1, 5))):
        data = _damage(data, rng)
    return gzip.compress(bytes(data), 1) if inside else bytes(data)


def _damage(data: bytearray, rng: np.random.Generator) -> bytearray:
    size = len(data)
    if size < 8:
        return data + bytearray(rng.bytes(8))
    end = min(size, HEADER) if rng.random() < 0.8 else size
    at = int(rng.integers(0, end - 4))
    how = rng.integers(0, 8)
    if how == 0:
        return data[: int(rng.integers(0, size))]
    if how == 1:
        data[at : at + int(rng.integers(1, 9))] = rng.bytes(int(rng.integers(1, 9)))
    elif how in (2, 3):  # an odd number where one may be
        length = int(rng.choice([1, 2, 4]))
        value = int(rng.choice(ODD_NUMBERS)) % 256**length
        at -= at % length
        data[at : at + length] = value.to_bytes(length, "little" if rng.random() < 0.5 else "big")
    elif how == 4:
        data[at : at + 4] = np.float32(rng.choice([0, -1, np.nan, np.inf, 1e38, 1e-38])).tobytes()
    elif how == 5:  # a word of a text
        words = bytes(data[:end]).split(b" ")
        words[int(rng.integers(len(words)))] = ODD_WORDS[int(rng.integers(len(ODD_WORDS)))]
        return bytearray(b" ".join(words)) + data[end:]
    elif how == 6:  # a line of a text twice, or not at all
        lines = bytes(data[:end]).split(b"\n")
        chosen = int(rng.integers(len(lines)))
        lines[chosen : chosen + 1] = [lines[chosen]] * int(rng.choice([0, 2]))
        return bytearray(b"\n".join(lines)) + data[end:]
    else:
        data[at] ^= 1 << int(rng.integers(8))
    return data


def read_scan(path: Path) -> None:
    """Open a file and read its last volume."""
    scan = open_scan(path)
    load_volume(path, volumes=[len(scan.volumes) - 1])


def _mask() -> tuple[np.ndarray, Grid]:
    labels = np.zeros((7, 6, 5), np.uint8)
    labels[2:5, 2:5, 1:4] = 1
    labels[3, 3, 2] = 17
    return labels, Grid((5, 6, 7), AFFINE, sform=AFFINE, sform_code=1)


def write_masks(folder: Path) -> Seeds:
    """Write a mask in every format."""
    folder.mkdir(parents=True, exist_ok=True)
    labels, grid = _mask()
    seeds: Seeds = {}
    for suffix in (".nii", ".nii.gz", ".nrrd", ".seg.nrrd", ".mgh", ".mgz", ".mha"):
        path = folder / f"mask{suffix}"
        receipt = save_mask(labels, grid, path, structures=STRUCTURES)
        seeds[path.name] = [path, *([receipt.sidecar] if receipt.sidecar else [])]
    scaled = nib.Nifti1Image(2 * labels.T, AFFINE)
    scaled.header.set_slope_inter(0.5, 0)
    scaled.to_filename(folder / "scaled.nii")
    flat = Grid.from_spacing((3, 6, 5), (10.0, 1.0, 1.0))
    save_mask(labels[:3], replace(flat, has_orientation=False), folder / "pages.tif")
    series = open_scan(_series(folder / "series"))
    named = save_mask(
        np.ones(series.grid.shape_zyx, np.uint8), series.grid, folder / "seg.dcm", series=series
    )
    for name in ("scaled.nii", "pages.tif", named.path.name):
        seeds[name] = [folder / name]
    return seeds


def _series(folder: Path) -> Path:
    folder.mkdir()
    DicomWriter(folder).write(np.arange(210, dtype=np.int16).reshape(5, 6, 7))
    return folder


def read_mask(path: Path) -> None:
    """Read a mask in all ways."""
    scan = open_scan(path)
    structures_beside(path)
    load_labels(path)
    load_labels_onto(scan, scan.grid)
    with suppress(GridMismatchError):
        load_labels_onto(path, _mask()[1])


def write_sidecars(folder: Path) -> Seeds:
    """Write masks with what is beside them."""
    folder.mkdir(parents=True, exist_ok=True)
    labels, grid = _mask()
    seeds: Seeds = {}
    for name in ("a.nii", "b.nrrd"):
        receipt = save_mask(labels, grid, folder / name, structures=STRUCTURES, sources=[folder])
        assert receipt.sidecar is not None
        seeds[receipt.sidecar.name] = [receipt.sidecar, folder / name]
    return seeds


def damage_sidecar(raw: bytes, rng: np.random.Generator) -> bytes:
    """Damage bytes, or put odd values into it."""
    if rng.random() < 0.3:
        return damaged(raw, rng)
    return json.dumps(_odd(json.loads(raw), rng)).encode()


def _odd(value: Any, rng: np.random.Generator) -> Any:
    """Change one to three places of what JSON holds."""
    for _ in range(int(rng.integers(1, 4))):
        value = _changed(value, rng)
    return value


def _changed(value: Any, rng: np.random.Generator) -> Any:
    """Change one place: to an odd value, away, or twice."""
    keys: list[Any] = list(value) if isinstance(value, dict) else []
    keys = list(range(len(value))) if isinstance(value, list) else keys
    if not keys or rng.random() < 0.1:
        return ODD_VALUES[int(rng.integers(len(ODD_VALUES)))]
    key = keys[int(rng.integers(len(keys)))]
    changed = value.copy()
    if rng.random() < 0.1:
        del changed[key]
    elif isinstance(changed, list) and rng.random() < 0.2:
        changed.append(changed[key])
    else:
        changed[key] = _changed(changed[key], rng)
    return changed


def read_sidecar(path: Path) -> None:
    """Read what a sidecar says, and save its mask again."""
    mask = next(file for file in path.parent.iterdir() if file != path)
    sidecar_of(mask)
    values_beside(mask)
    labels, grid = _mask()
    save_mask(labels, grid, mask, structures=structures_beside(mask), overwrite=True)


def write_models(folder: Path) -> Seeds:
    """Write networks of several shapes."""
    folder.mkdir(parents=True, exist_ok=True)
    shapes = {
        "plain": ModelConfig(width=2, levels=2),
        "valid": ModelConfig(width=2, levels=2, padding="valid", normalisation="none"),
        "two": ModelConfig(2, 3, width=2, levels=3, stride=1, upsampling="nearest", dropout=0.1),
    }
    seeds: Seeds = {}
    for name, shape in shapes.items():
        card = ModelCard(shape, NAMES[: shape.n_classes - 1], ("#e6550d",), spacing_mm=(0.9, 1.1))
        path = folder / f"{name}.safetensors"
        Checkpoint(UNet(shape).state_dict(), card).save(path)
        seeds[path.name] = [path]
    return seeds


def damage_model(raw: bytes, rng: np.random.Generator) -> bytes:
    """Damage bytes, the card (as format 3, which has no checksum), weights, or their header."""
    how = rng.random()
    if how < 0.15:
        return damaged(raw, rng)
    length = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + length])
    if how < 0.3:
        text = json.dumps(_odd(header, rng)).encode()
        return len(text).to_bytes(8, "little") + text + raw[8 + length :]
    state = safetensors.torch.load(raw)
    card = json.loads(header["__metadata__"]["napari_unet"]) | {"format_version": 3}
    if how < 0.8:
        card = _odd(card, rng)
    if how > 0.7:
        name = list(state)[int(rng.integers(len(state)))]
        dtype = (torch.float16, torch.float8_e5m2, torch.int8, torch.bool)[int(rng.integers(4))]
        state[name] = state[name].to(dtype) if how < 0.9 else state[name] * float("nan")
    text = json.dumps(card)
    if how < 0.35:
        text = text[: int(rng.integers(len(text)))] + "[" * int(rng.choice([1, 1000, 100_000]))
    return safetensors.torch.save(state, {"napari_unet": text})


def read_model(path: Path) -> None:
    """Load a model, describe it, and build its network."""
    model = Checkpoint.load(path)
    info.model(path)
    model.card.structure_rows()
    model.network()


KINDS = {
    "scans": Kind(write_scans, damaged, read_scan),
    "masks": Kind(write_masks, damaged, read_mask),
    "sidecars": Kind(write_sidecars, damage_sidecar, read_sidecar),
    "models": Kind(write_models, damage_model, read_model),
}
