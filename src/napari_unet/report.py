"""A result on one page of HTML that needs nothing else to be shown."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from string import Template

from napari_unet.imaging.measurement import StructureMeasure


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
        title=escape(report.title),
        summary=escape(report.summary),
        cards="".join(_card(result) for result in report.structures),
        rows="".join(_rows(result) for result in report.structures),
        picture=f"data:image/png;base64,{picture}",
        chart=_chart(report.profile, report.annotated),
        settings=_pairs(report.settings),
        files="".join(
            f'<tr><th><a href="{escape(name)}">{escape(name)}</a></th><td>{escape(what)}</td></tr>'
            for name, what in report.files
        ),
        commands=escape("\n".join(report.commands)),
    )


def _card(result: StructureResult) -> str:
    truth, found = result.truth, result.prediction
    facts = (
        (_number(result.dice_unseen, 2), "Dice on unseen slices"),
        (f"{found.volume_ml:.1f} mL", f"volume (truth {truth.volume_ml:.1f} mL)"),
        (str(found.n_components), f"pieces (truth {truth.n_components})"),
    )
    return "".join(f"<div><b>{escape(a)}</b><span>{escape(b)}</span></div>" for a, b in facts)


def _rows(result: StructureResult) -> str:
    name = escape(result.truth.name)
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
    return "".join(f"<tr><th>{escape(a)}</th><td>{escape(b)}</td></tr>" for a, b in pairs)


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
