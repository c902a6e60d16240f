"""Peak memory of opening, training on and segmenting a large scan.

``python -m benchmarks.speed.memory``: each step runs in a process of its own on a volume of
512 x 512 x 400 int16, compressed and not. Printed is the peak resident memory above what the
process took with everything imported, in units of the float32 volume (419 MB); the aim is
3 at most.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nibabel as nib
import numpy as np

from napari_unet import api
from napari_unet.imaging.volume import Grid
from napari_unet.learning.config import TrainConfig
from napari_unet.learning.network.checkpoint import Checkpoint

SHAPE = (512, 512, 400)
STEPS = ("open", "train", "segment")
NAMES = ("scan.nii.gz", "scan.nii")
TRAINING_STEPS = 5
ANNOTATED = (180, 200, 220)


def write_scan(folder: Path, shape: tuple[int, int, int]) -> None:
    """Write a noisy ball that fills most of its volume, plane by plane, twice."""
    rng = np.random.default_rng(0)
    x, y = (np.linspace(-1.1, 1.1, n) for n in shape[:2])
    disc = x[:, None] ** 2 + y[None] ** 2
    voxels = np.empty(shape, np.int16, order="F")
    for k, z in enumerate(np.linspace(-1.1, 1.1, shape[2])):
        plane = np.where(disc + z**2 < 1, 600, 20) + 400 * (disc + z**2 < 0.1)
        voxels[..., k] = plane + rng.integers(0, 40, shape[:2])
    for name in NAMES:
        nib.Nifti1Image(voxels, np.diag([0.5, 0.5, 0.5, 1])).to_filename(folder / name)


def labels_of(grid: Grid) -> np.ndarray:
    """Annotate a square on three slices."""
    labels = np.zeros(grid.shape_zyx, np.uint8)
    middle = [n // 2 for n in grid.shape_zyx]
    for index in ANNOTATED:
        at = index * grid.shape_zyx[0] // SHAPE[2]
        labels[at, middle[1] - 30 : middle[1] + 30, middle[2] - 30 : middle[2] + 30] = 1
    return labels


def peak_kib() -> int:
    """Peak resident memory of this process; `getrusage` would count that of its parent too."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


def work(step: str, scan: Path, model: Path) -> None:
    """Do one step, and print how far its memory rose (bytes) and how long it took (s)."""
    import napari_unet.learning.prediction.scan_prediction
    import napari_unet.learning.training.loop  # noqa: F401  # loads torch

    before = peak_kib()
    start = time.perf_counter()
    volume = api.load_volume(scan)
    if step == "train":
        config = TrainConfig(max_steps=TRAINING_STEPS, preset="fast")
        api.train(volume, labels_of(volume.grid), config=config).save(model)
    elif step == "segment":
        labels = api.segment(volume, Checkpoint.load(model))
        api.save_mask(labels, volume.grid, scan.with_name("mask.nii.gz"), overwrite=True)
    after = peak_kib()
    print(1024 * (after - before), time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", type=int, nargs=3, default=SHAPE)
    parser.add_argument("--work", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        step, scan, model = arguments.work
        work(step, Path(scan), Path(model))
        return
    volume_bytes = 4 * int(np.prod(arguments.shape))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_scan(folder, tuple(arguments.shape))
        print(f"float32 volume: {volume_bytes / 1e6:.0f} MB", flush=True)
        for scan in NAMES:
            for step in STEPS:
                job = [step, str(folder / scan), str(folder / "model.safetensors")]
                command = [sys.executable, "-m", "benchmarks.speed.memory", "--work", *job]
                ended = subprocess.run(command, capture_output=True, text=True, check=True)
                grown, seconds = (float(word) for word in ended.stdout.split()[-2:])
                print(
                    f"{step:8} {scan:12} {grown / volume_bytes:5.2f} x  ({grown / 1e6:6.0f} MB, "
                    f"{seconds:.0f} s)",
                    flush=True,
                )


if __name__ == "__main__":
    main()
