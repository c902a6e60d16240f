"""What the documentation says can be run, and what it shows exists."""

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *ROOT.glob("*/README.md")])


@pytest.fixture(scope="module")
def script():
    path = ROOT / "scripts" / "draw_how_a_unet_sees.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_every_code_block_of_how_a_unet_sees_runs_and_finds_the_metastasis(script):
    variables = script.run_page()
    found, truth = variables["predicted"] == 1, variables["drawn"] == 1
    assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.5
    assert script._panels(variables).keys() >= {"convolution", "skips", "softmax"}


def links_of(page: Path) -> list[Path]:
    """Files of the repository that a page links to."""
    prose = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    links = re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", prose)
    return [(page.parent / link).resolve() for link in links]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_picture_and_page_that_is_linked_exists(page):
    assert not [link for link in links_of(page) if not link.exists()]


def test_every_picture_in_the_docs_is_shown_on_a_page():
    shown = {link for page in PAGES for link in links_of(page)}
    assert not {path for path in (ROOT / "docs" / "images").iterdir() if path not in shown}


def test_every_benchmark_that_is_named_exists():
    pages = [ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *PAGES]
    code = [path for top in ("src", "benchmarks", "tests") for path in (ROOT / top).rglob("*.py")]
    named = {
        name
        for path in [*pages, *code]
        for name in re.findall(r"-m (benchmarks\.\w[.\w]*)", path.read_text(encoding="utf-8"))
    }
    assert len(named) > 10
    assert not {name for name in named if importlib.util.find_spec(name) is None}
