"""Open thousands of damaged image files, and see that each is read or refused in a sentence.

``python -m scripts.fuzz_files --count 10000`` from the root of the repository. Files are
opened in child processes with a limit of memory and of time: a crash costs one file. What
ends in another way than by `NapariUnetError` is kept in a folder, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import gzip
import json
import multiprocessing
import resource
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType

import nibabel as nib
import nrrd
import numpy as np
from pydicom.data import get_testdata_file

from napari_unet.errors import NapariUnetError
from napari_unet.imaging.formats.registry import open_scan
from napari_unet.imaging.loading import load_volume
from tests.conftest import DicomWriter

MEMORY = 2**31
"""Bytes of address space that a child may take beyond those it starts with."""

SECONDS = 20.0
"""Time for one file."""

CHUNK = 500
"""Files a child process."""

HEADER = 600
"""Most damage is done in the first bytes, where the headers are."""

ODD_NUMBERS = (0, 1, 2, 127, 128, 255, 256, 32767, 32768, 65535, 2**31 - 1, 2**31, 2**32 - 1)
ODD_WORDS = (b"0", b"-1", b"1e308", b"nan", b"inf", b"99999999999", b"(1,0,0)", b"none", b"")


@dataclass(frozen=True)
class Outcome:
    """What came of one file."""

    number: int
    seed: str
    result: str
    seconds: float


class TooSlow(BaseException):
    """A file took longer than it may; no handler of errors may keep it."""


def write_seeds(folder: Path) -> dict[str, list[Path]]:
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
    for name, encoding in (("raw.nrrd", "raw"), ("gz.nrrd", "gzip"), ("text.nrrd", "ascii")):
        nrrd.write(str(add(name)), voxels, {**space, "encoding": encoding})
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


def put(number: int, seeds: dict[str, list[Path]], folder: Path) -> tuple[str, Path]:
    """Write damaged file `number`, always the same, and what belongs to it, into a new folder."""
    rng = np.random.default_rng([7, number])
    name = sorted(seeds)[number % len(seeds)]
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for other in seeds[name][1:]:
        shutil.copy(other, folder)
    path = folder / name
    path.write_bytes(damaged(seeds[name][0].read_bytes(), rng))
    return name, path


def open_and_read(path: Path) -> str:
    """Open a file and read one volume: what came of it, ``read``, ``refused`` or the escape."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            scan = open_scan(path)
            load_volume(path, volumes=[len(scan.volumes) - 1])
    except NapariUnetError as error:
        return "refused" if str(error).strip() else "refused without a word"
    except (Exception, TooSlow) as error:
        return f"{type(error).__name__}: {error}"
    return "read"


def _slow(_signal: int, _frame: FrameType | None) -> None:
    raise TooSlow(f"more than {SECONDS:g} s")


def _peak_kib() -> int:
    """Peak resident memory of this process; `getrusage` would count that of its parent too."""
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])


def work_through(numbers: range, folder: Path, log: Path) -> None:
    """Open the damaged files of these numbers; runs in a child process."""
    seeds = write_seeds(folder / "seeds")
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    signal.signal(signal.SIGALRM, _slow)
    before = _peak_kib()
    with log.open("a", buffering=1) as lines:
        for number in numbers:
            name, path = put(number, seeds, folder / "file")
            lines.write(json.dumps({"begins": number, "seed": name}) + "\n")
            start = time.perf_counter()
            signal.setitimer(signal.ITIMER_REAL, SECONDS)
            result = open_and_read(path)
            signal.setitimer(signal.ITIMER_REAL, 0)
            outcome = Outcome(number, name, result, time.perf_counter() - start)
            lines.write(json.dumps(asdict(outcome)) + "\n")
        grown = _peak_kib() - before
        lines.write(json.dumps({"grown": grown}) + "\n")


def run(numbers: range, folder: Path) -> tuple[list[Outcome], int]:
    """Open damaged files in child processes; outcomes, and the KiB a child grew at most."""
    outcomes: list[Outcome] = []
    grown = 0
    context = multiprocessing.get_context("spawn")
    first = numbers.start
    while first < numbers.stop:
        chunk = range(first, min(first + CHUNK, numbers.stop))
        log = folder / f"{first}.jsonl"
        child = context.Process(target=work_through, args=(chunk, folder, log))
        child.start()
        child.join()
        lines = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
        outcomes += [Outcome(**line) for line in lines if "result" in line]
        grown = max([grown, *(line["grown"] for line in lines if "grown" in line)])
        first = chunk.stop
        if child.exitcode != 0:
            begun = [line for line in lines if "begins" in line]
            if not begun:
                raise RuntimeError("A child process ended before its first file.")
            last = begun[-1]
            result = f"the process ended with status {child.exitcode}"
            outcomes.append(Outcome(last["begins"], last["seed"], result, 0.0))
            first = last["begins"] + 1
        sys.stdout.write(f"{first - numbers.start} of {len(numbers)} files\n")
        sys.stdout.flush()
    return outcomes, grown


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0, help="number of the first file")
    parser.add_argument("--keep", type=Path, help="folder for files that escaped")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        numbers = range(arguments.first, arguments.first + arguments.count)
        outcomes, grown = run(numbers, folder)
        escaped = [one for one in outcomes if one.result not in ("read", "refused")]
        if arguments.keep is not None:
            seeds = write_seeds(folder / "seeds")
            arguments.keep.mkdir(parents=True, exist_ok=True)
            for one in escaped:
                put(one.number, seeds, arguments.keep / str(one.number))
    slowest = max(outcomes, key=lambda one: one.seconds)
    counts = Counter(one.result for one in outcomes if one not in escaped)
    sys.stdout.write(
        f"{len(outcomes)} files: {counts['read']} read, {counts['refused']} refused, "
        f"{len(escaped)} escaped. Slowest: number {slowest.number} ({slowest.seed}), "
        f"{slowest.seconds:.2f} s. A process grew by at most {grown / 1024:.0f} MiB.\n"
    )
    for one in escaped[:50]:
        sys.stdout.write(f"  {one.number} {one.seed}: {one.result[:200]}\n")
    return 1 if escaped else 0


if __name__ == "__main__":
    sys.exit(main())
