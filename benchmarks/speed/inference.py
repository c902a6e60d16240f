"""Seconds and memory to segment a volume, against MONAI's sliding window with the same weights.

    python -m benchmarks.speed.inference [--quick] [--sizes 128 256] [--presets fast] [--large]

Each run has a process of its own. The volume is N x N x N voxels without any air to crop:
the worst case. Ours is all that happens after *Segment volume*: preparing the scan and
predicting it. MONAI gets the prepared scan for nothing and slides over it slice by slice
(`SliceInferer`, 256 x 256), our network wrapped as it is. Memory is the peak of the process
beyond what it held when it started to segment (the volume, torch). GFLOP/s are those of the
convolutions, counted with hooks, over the whole time.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import options, report
from napari_unet.imaging.volume import Grid, Volume
from napari_unet.learning.config import PRESETS
from napari_unet.learning.model_card import ModelCard
from napari_unet.learning.runtime import load_torch

WINDOW = 256
"""Side of MONAI's window, in pixels."""

_SIZES, _LARGE = [128, 192, 256], [384, 512]
_N_CLASSES = 3


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print and write."""
    parser = options.make_parser(__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", help="voxels along each side")
    parser.add_argument("--large", action="store_true", help="also 384 and 512 (ours only)")
    parser.add_argument("--presets", nargs="+", choices=list(PRESETS), default=["fast", "standard"])
    parser.add_argument("--repeats", type=int, default=3, help="default: 3; quick: 1")
    parser.add_argument("--run", nargs=4, help=argparse.SUPPRESS)  # who, preset, size, file
    given = report.parse(parser, argv)
    if given.run:
        who, preset, size, file = given.run
        print(json.dumps(_RUNS[who](preset, int(size), Path(file))))
        return 0
    out = report.Report("speed.inference", given)
    sizes = given.sizes or ([96] if given.quick else _SIZES + (_LARGE if given.large else []))
    peers = ["monai"] if importlib.util.find_spec("monai") else []
    repeats = 1 if given.quick else given.repeats
    for preset, size in itertools.product(given.presets, sizes):
        compared = ["ours", *(peers if size <= max(_SIZES) else [])]
        with tempfile.TemporaryDirectory() as folder:
            files = {who: Path(folder) / f"{who}.npy" for who in compared}
            # Interleaved, so that a busy moment does not hit one of them only.
            for _, who in itertools.product(range(repeats), compared):
                found = _in_process(who, preset, size, files[who], given.threads)
                same = np.mean(np.load(files[who]) == np.load(files["ours"]))
                out.add(preset=preset, size=size, method=who, **found, same_labels=float(same))
    values = ["seconds", "s_per_mvoxel", "gflop_per_s", "peak_extra_gb"]
    out.table(
        "Segmenting N x N x N", report.summarise(out.rows, ["preset", "size", "method"], values, 2)
    )
    out.table("Ours against MONAI, same weights", _ratios(out.rows))
    out.plot(
        report.lines_plot(
            [{**row, "mvoxels": float(row["size"]) ** 3 / 1e6} for row in out.rows],
            panel="preset",
            line="method",
            x="mvoxels",
            ys=["seconds"],
        )
    )
    return 0


def _in_process(
    who: str, preset: str, size: int, file: Path, threads: int | None
) -> dict[str, float]:
    """Run one measurement in a fresh process on as many cores as wanted; labels go to `file`."""
    command = [sys.executable, "-m", __spec__.name, "--run", who, preset, str(size), str(file)]
    if threads and hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))[:threads]
        code = f"import os, runpy; os.sched_setaffinity(0, {cores}); "
        code += f"runpy.run_module('{__spec__.name}', run_name='__main__', alter_sys=True)"
        command = [sys.executable, "-c", code, *command[3:]]
    paths = [str(Path(__file__).resolve().parents[2]), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr}")
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def _ratios(rows: Sequence[report.Row]) -> str:
    """How many times faster ours is, and on how many voxels both agree."""
    lines = ["| preset | size | times faster | same labels |", "|---|---|---|---|"]
    for preset, size in dict.fromkeys((row["preset"], row["size"]) for row in rows):
        of = {
            who: [
                row
                for row in rows
                if (row["preset"], row["size"], row["method"]) == (preset, size, who)
            ]
            for who in ("ours", "monai")
        }
        if of["monai"]:
            seconds = {
                who: statistics.median(float(row["seconds"]) for row in of[who]) for who in of
            }
            same = min(float(row["same_labels"]) for row in of["monai"])
            lines.append(
                f"| {preset} | {size} | {seconds['monai'] / seconds['ours']:.1f} | {same:.4%} |"
            )
    return "\n".join(lines)


# -- in a process of its own -------------------------------------------------------


def _run_ours(preset: str, size: int, file: Path) -> dict[str, float]:
    from napari_unet.learning.prediction.scan_prediction import predict_volume

    volume, checkpoint = _volume(size), _checkpoint(preset)
    flop = size * _flop(checkpoint.network(), size)
    return _measure(lambda: predict_volume(volume, checkpoint), flop, file)


def _run_monai(preset: str, size: int, file: Path) -> dict[str, float]:
    from monai.inferers import SliceInferer

    from napari_unet.learning.preparation import prepare

    torch = _torch()
    net = _checkpoint(preset).network()
    scan = prepare(_volume(size), 0)
    image = torch.from_numpy(np.ascontiguousarray(scan.slices.transpose(1, 0, 2, 3)))[None]
    side = min(WINDOW, size)
    slide = SliceInferer(roi_size=(side, side), sw_batch_size=4, spatial_dim=0, progress=False)

    def segment() -> Any:
        with torch.inference_mode():
            return slide(image, net).argmax(dim=1).to(torch.uint8)[0].numpy()

    return _measure(segment, size * _flop(net, size), file)


_RUNS = {"ours": _run_ours, "monai": _run_monai}


def _measure(work: Callable[[], Any], flop: float, file: Path) -> dict[str, float]:
    before = _resident_bytes()
    started = time.perf_counter()
    labels = work()
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    peak *= 1 if sys.platform == "darwin" else 1024
    np.save(file, labels)
    return {
        "seconds": seconds,
        "s_per_mvoxel": 1e6 * seconds / labels.size,
        "gflop": flop / 1e9,
        "gflop_per_s": flop / 1e9 / seconds,
        "peak_extra_gb": max(0.0, (peak - before) / 1e9),
    }


def _resident_bytes() -> float:
    """Memory that the process holds now; its peak so far where that is not told."""
    status = Path("/proc/self/statm")
    if status.exists():
        return float(status.read_text().split()[1]) * resource.getpagesize()
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def _torch() -> Any:
    load_torch()
    import torch

    return torch


def _volume(size: int) -> Volume:
    """Noise on a bright ground: nothing to crop."""
    data = np.random.default_rng(0).standard_normal((1, size, size, size), np.float32)
    data += 20
    data[0, 0, 0, 0] = 0  # some air
    return Volume(data, Grid.from_spacing((size, size, size)), "noise")


def _checkpoint(preset: str) -> Any:
    """A model with random weights, as if it had been trained."""
    torch = _torch()
    from napari_unet.learning.network.checkpoint import Checkpoint
    from napari_unet.learning.network.unet import UNet

    model = replace(PRESETS[preset], n_classes=_N_CLASSES)
    generator = torch.Generator().manual_seed(0)
    net = UNet(model, generator)
    # Statistics of its own features, so that they neither vanish nor explode on the way.
    net.train()
    with torch.no_grad():
        for _ in range(30):
            net(torch.randn(2, 1, 64, 64, generator=generator))
    names = tuple(f"structure {number}" for number in range(1, _N_CLASSES))
    return Checkpoint(net.state_dict(), ModelCard(model, names))


def _flop(net: Any, side: int) -> float:
    """Multiplications and additions in the convolutions for one slice of side x side pixels."""
    torch = _torch()
    total = 0.0

    def count(module: Any, inputs: Any, output: Any) -> None:
        nonlocal total
        # A transposed convolution uses its weights once per input pixel.
        transposed = isinstance(module, torch.nn.ConvTranspose2d)
        pixels = (inputs[0] if transposed else output)[0, 0].numel()
        total += 2.0 * module.weight.numel() * pixels

    kinds = (torch.nn.Conv2d, torch.nn.ConvTranspose2d)
    hooks = [m.register_forward_hook(count) for m in net.modules() if isinstance(m, kinds)]
    with torch.inference_mode():
        net(torch.zeros(1, net.config.in_channels, side, side))
    for hook in hooks:
        hook.remove()
    return total


if __name__ == "__main__":
    sys.exit(main())
