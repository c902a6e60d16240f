"""A result on one page of HTML that needs nothing else to be shown."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from napari_unet.imaging.measurement import StructureMeasure, dice
from napari_unet.text import as_html


@dataclass(frozen=True, slots=True)
class StructureResult:
    """Truth and prediction of one structure.

    Parameters
    ----------
    truth, prediction : StructureMeasure
        Sizes.
    dice_unseen : float
        Overlap on the slices that the model did not learn from; NaN if empty in both.
    """

    truth: StructureMeasure
    prediction: StructureMeasure
    dice_unseen: float


@dataclass(frozen=True, slots=True)
class Report:
    """What the page says.

    Parameters
    ----------
    title, summary : str
        Heading, and a sentence below it.
    structures : sequence of StructureResult
        One per class.
    profile : pair of sequence of float
        Area of truth and of prediction in each slice, in cm2.
    annotated : sequence of int
        Slices that the model learned from.
    settings : sequence of (str, str)
        What was done and how.
    files : sequence of (str, str)
        Names of the files beside the page and what they are.
    commands : sequence of str
        Command lines that do the same.
    picture : Path
        PNG to embed.
    """

    title: str
    summary: str
    structures: Sequence[StructureResult]
    profile: tuple[Sequence[float], Sequence[float]]
    annotated: Sequence[int]
    settings: Sequence[tuple[str, str]]
    files: Sequence[tuple[str, str]]
    commands: Sequence[str]
    picture: Path


def render(report: Report) -> str:
    """Write the page."""
    picture = base64.b64encode(report.picture.read_bytes()).decode("ascii")
    return _PAGE.substitute(
        title=as_html(report.title),
        summary=as_html(report.summary),
        cards="".join(_card(result) for result in report.structures),
        rows="".join(_rows(result) for result in report.structures),
        picture=f"data:image/png;base64,{picture}",
        chart=_chart(report.profile, report.annotated),
        settings=_pairs(report.settings),
        files="".join(
            f'<tr><th><a href="{as_html(name)}">{as_html(name)}</a></th>'
            f"<td>{as_html(what)}</td></tr>"
            for name, what in report.files
        ),
        commands="\n".join(map(as_html, report.commands)),
    )


def _card(result: StructureResult) -> str:
    truth, found = result.truth, result.prediction
    facts = (
        (_number(result.dice_unseen, 2), "Dice on unseen slices"),
        (f"{found.volume_ml:.1f} mL", f"volume (truth {truth.volume_ml:.1f} mL)"),
        (str(found.n_components), f"pieces (truth {truth.n_components})"),
    )
    return "".join(f"<div><b>{as_html(a)}</b><span>{as_html(b)}</span></div>" for a, b in facts)


def _rows(result: StructureResult) -> str:
    name = as_html(result.truth.name)
    lines = (("truth", result.truth, ""), ("prediction", result.prediction, "found"))
    return "".join(
        f'<tr><th>{name}, <i class="{mark or "truth"}">{what}</i></th><td>{m.volume_ml:.2f}</td>'
        f"<td>{m.n_components}</td><td>{m.largest_ml:.2f}</td>"
        f"<td>{_number(result.dice_unseen, 3) if mark else ''}</td></tr>"
        for what, m, mark in lines
    )


def _number(value: float, digits: int) -> str:
    return "none" if math.isnan(value) else f"{value:.{digits}f}"


def _pairs(pairs: Sequence[tuple[str, str]]) -> str:
    return "".join(f"<tr><th>{as_html(a)}</th><td>{as_html(b)}</td></tr>" for a, b in pairs)


def _chart(profile: tuple[Sequence[float], Sequence[float]], annotated: Sequence[int]) -> str:
    """Area in each slice: two lines, and a mark at each annotated slice."""
    width, height, left, bottom = 720, 170, 36, 24
    last = max(len(profile[0]) - 1, 1)
    top = max(*profile[0], *profile[1], 1e-6)

    def x(index: float) -> float:
        return left + (width - left - 8) * index / last

    def y(area: float) -> float:
        return (height - bottom) - (height - bottom - 14) * area / top

    def line(areas: Sequence[float], mark: str) -> str:
        points = " ".join(f"{x(i):.1f},{y(a):.1f}" for i, a in enumerate(areas))
        return f'<polyline class="{mark}" points="{points}"/>'

    marks = "".join(
        f'<line class="seen" x1="{x(i):.1f}" x2="{x(i):.1f}" y1="10" y2="{height - bottom}"/>'
        for i in annotated
    )
    ticks = "".join(
        f'<text x="{x(i):.1f}" y="{height - 6}" text-anchor="middle">{i}</text>'
        for i in range(0, last + 1, max(1, 10 * round(last / 80)))
    )
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="Area of truth and prediction in each slice">{marks}'
        f'<line class="axis" x1="{left}" x2="{width - 8}" y1="{y(0):.1f}" y2="{y(0):.1f}"/>'
        f'<text x="{left - 6}" y="{y(top) + 4:.1f}" text-anchor="end">{top:.1f}</text>'
        f'<text x="{left - 6}" y="{y(0) + 4:.1f}" text-anchor="end">0</text>'
        f"{ticks}{line(profile[0], 'truth')}{line(profile[1], 'found')}</svg>"
    )


_PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
:root { color-scheme: light dark; --ink: #1d2127; --faint: #5d6670; --paper: #fff; --card: #f3f5f7;
  --line: #dde1e6; --truth: #0072b2; --found: #b86f00; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e7eb; --faint: #9aa3ad; --paper: #15171b;
  --card: #1f2329; --line: #333941; --truth: #56b4e9; --found: #e69f00; } }
body { margin: 0 auto; padding: 2rem 1.25rem 3rem; max-width: 60rem; color: var(--ink);
  background: var(--paper); font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: 0 0 .3rem; }
h2 { font-size: 1.1rem; margin: 2.2rem 0 .6rem; }
p { margin: 0 0 1rem; color: var(--faint); }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(11rem, 1fr)); gap: .8rem; }
.cards div { background: var(--card); border-radius: .6rem; padding: .8rem 1rem; }
.cards b { display: block; font-size: 1.7rem; line-height: 1.2; }
.cards span { color: var(--faint); font-size: .9rem; }
img { display: block; width: 100%; border-radius: .6rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .8rem .35rem 0; border-bottom: 1px solid var(--line); text-align: left;
  vertical-align: top; }
th { font-weight: 500; white-space: nowrap; }
thead th { color: var(--faint); font-size: .9rem; }
.numbers td, .numbers thead th + th { text-align: right; padding-right: 0; padding-left: .8rem; }
i { font-style: normal; } i.truth { color: var(--truth); } i.found { color: var(--found); }
a { color: var(--truth); }
pre { background: var(--card); border-radius: .6rem; padding: .8rem 1rem; overflow-x: auto;
  font-size: .85rem; }
svg { display: block; width: 100%; height: auto; }
svg text { fill: var(--faint); font: 11px system-ui, sans-serif; }
svg polyline { fill: none; stroke-width: 2; stroke-linejoin: round; }
polyline.truth { stroke: var(--truth); } polyline.found { stroke: var(--found); }
line.axis { stroke: var(--line); } line.seen { stroke: var(--faint); stroke-dasharray: 3 3; }
</style>
</head>
<body>
<h1>$title</h1>
<p>$summary</p>
<section class="cards">$cards</section>
<h2>Slices that the model had not seen</h2>
<img src="$picture" alt="Image, truth and prediction of several slices">
<h2>Area in each slice, cm²</h2>
<p><i class="truth">Truth</i> and <i class="found">prediction</i>; dashed: the annotated slices.</p>
$chart
<h2>Sizes</h2>
<div class="scroll"><table class="numbers">
<thead><tr><th>structure</th><th>volume, mL</th><th>pieces</th><th>largest, mL</th>
<th>Dice, unseen slices</th></tr></thead>
<tbody>$rows</tbody></table></div>
<h2>How it was made</h2>
<div class="scroll"><table><tbody>$settings</tbody></table></div>
<h2>Files</h2>
<div class="scroll"><table><tbody>$files</tbody></table></div>
<h2>The same by hand</h2>
<pre>$commands</pre>
</body>
</html>
""")


# Okabe and Ito: told apart with any colour vision.
TRUTH_COLOUR = (86, 180, 233)
PREDICTION_COLOUR = (230, 159, 0)

_BACKGROUND = (16, 18, 22)
_TEXT = (225, 228, 232)
_FAINT = (150, 156, 164)
_TILE_WIDTH = 264
_GAP = 6
_MARGIN = 16
_HEAD = 54
_FOOT = 30

Pixels: TypeAlias = NDArray[np.uint8]


def interesting_slices(
    truth_zyx: NDArray[Any], count: int, without: Sequence[int] = ()
) -> list[int]:
    """Choose slices that show much of the structures and lie apart, ascending.

    Parameters
    ----------
    truth_zyx : ndarray of integer, shape (z, y, x)
        What there is to see.
    count : int
        How many at most.
    without : sequence of int
        Slices not to choose: those the model learned from.
    """
    area = np.count_nonzero(truth_zyx, axis=(1, 2)).astype(float)
    area[list(without)] = 0
    where = np.arange(len(area))
    chosen: list[int] = []
    while len(chosen) < count and area.any():
        best = int(np.argmax(np.sqrt(area)))
        chosen.append(best)
        area[np.abs(where - best) < max(2, len(area) // (2 * count))] = 0
    return sorted(chosen)


def draw(
    image_zyx: NDArray[np.float32],
    truth_zyx: NDArray[Any],
    prediction_zyx: NDArray[Any],
    slices: Sequence[int],
    spacing_mm: tuple[float, float, float],
    title: str,
) -> Image.Image:
    """Draw a column for each axial slice and a row for image, truth and prediction.

    Parameters
    ----------
    image_zyx, truth_zyx, prediction_zyx : ndarray, shape (z, y, x)
        One channel of the scan, and labels.
    slices : sequence of int
        Slices along z, at least one.
    spacing_mm : tuple of float
        Voxel size (z, y, x).
    title : str
        Line at the top.
    """
    low, high = np.percentile(image_zyx, (1, 99.7))
    rows, columns = _head(image_zyx, float(low + 0.1 * (high - low)))
    height = round(
        _TILE_WIDTH
        * (rows.stop - rows.start)
        * spacing_mm[1]
        / ((columns.stop - columns.start) * spacing_mm[2])
    )
    size = (_TILE_WIDTH, height)
    step_x, step_y = _TILE_WIDTH + _GAP, height + _FOOT
    sheet = Image.new(
        "RGB",
        (2 * _MARGIN + step_x * len(slices) - _GAP, _HEAD + 3 * step_y + _MARGIN // 2),
        _BACKGROUND,
    )
    pen = ImageDraw.Draw(sheet)
    small, large = ImageFont.load_default(16), ImageFont.load_default(22)
    pen.text((_MARGIN, 16), title, font=large, fill=_TEXT)
    for column, index in enumerate(slices):
        grey = (image_zyx[index, rows, columns] - low) / max(float(high - low), 1e-6)
        base = _enlarged(np.clip(grey, 0, 1), size, Image.Resampling.BICUBIC)
        truth = _mask(truth_zyx[index, rows, columns], size)
        found = _mask(prediction_zyx[index, rows, columns], size)
        score = _score(prediction_zyx[index], truth_zyx[index])
        tiles = (
            (f"slice {index}", base),
            ("truth", _tint(base, truth, TRUTH_COLOUR)),
            (
                f"prediction, Dice {score:.2f}" if score == score else "prediction",
                _outline(_tint(base, found, PREDICTION_COLOUR), truth, TRUTH_COLOUR),
            ),
        )
        for row, (caption, tile) in enumerate(tiles):
            corner = (_MARGIN + column * step_x, _HEAD + row * step_y)
            sheet.paste(Image.fromarray(tile), corner)
            pen.text((corner[0] + 2, corner[1] + height + 4), caption, font=small, fill=_FAINT)
    return sheet


def _score(prediction: NDArray[Any], truth: NDArray[Any]) -> float:
    """Dice of all structures taken together in one slice."""
    return dice(prediction > 0, truth > 0, 1)


def _head(image_zyx: NDArray[np.float32], threshold: float) -> tuple[slice, slice]:
    """Rows and columns that show the head in any slice."""
    seen = np.count_nonzero(image_zyx > threshold, axis=0)
    ranges = []
    for axis in (1, 0):
        profile = seen.sum(axis=axis)
        where = np.flatnonzero(profile > 0.02 * profile.max())
        start, stop = (int(where[0]), int(where[-1]) + 1) if where.size else (0, len(profile))
        ranges.append(slice(max(0, start - 2), min(len(profile), stop + 2)))
    return ranges[0], ranges[1]


def _enlarged(values: NDArray[Any], size: tuple[int, int], method: Image.Resampling) -> Pixels:
    """Grey values 0..1 (h, w) as an RGB tile of `size` (width, height)."""
    image = Image.fromarray((255 * values).astype(np.uint8)).resize(size, method)
    return np.repeat(np.asarray(image)[..., None], 3, axis=2)


def _mask(labels: NDArray[Any], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Where a tile shows a structure; smooth at its edges, since the tile is enlarged."""
    shown = Image.fromarray((255 * (labels > 0)).astype(np.uint8))
    return np.asarray(shown.resize(size, Image.Resampling.BILINEAR)) > 127


def _tint(tile: Pixels, mask: NDArray[np.bool_], colour: tuple[int, int, int]) -> Pixels:
    """Colour a structure lightly and outline it."""
    tinted = tile.astype(float)
    tinted[mask] = 0.55 * tinted[mask] + 0.45 * np.asarray(colour)
    return _outline(tinted.astype(np.uint8), mask, colour)


def _outline(tile: Pixels, mask: NDArray[np.bool_], colour: tuple[int, int, int]) -> Pixels:
    """Draw the border of a structure."""
    drawn = tile.copy()
    drawn[ndimage.binary_dilation(mask) & ~mask] = colour
    return drawn
