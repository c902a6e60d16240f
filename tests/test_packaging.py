"""What is declared in pyproject.toml is what the code imports, and what is tested."""

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "napari_unet"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

DISTRIBUTION = {"PIL": "pillow", "nrrd": "pynrrd", "skimage": "scikit-image"}
"""Packages that are imported under another name than they are installed by."""

NOT_IMPORTED = {
    "napari-unet-mri": "an extra may hold others",
    "pyside6-essentials": "kept from versions that abort; qtpy imports it",
    "python-gdcm": "pydicom imports it where it decodes",
}
"""Declared although nothing here imports them, and why."""

RUNTIME_EXTRAS = ("all", "dicom", "metaimage", "pyside", "samples")


def imported() -> set[str]:
    """Distributions that any module of the package imports, wherever in it."""
    names = set()
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                names.add(node.module.partition(".")[0])
    names -= {*sys.stdlib_module_names, "napari_unet"}
    return {DISTRIBUTION.get(name, name).lower().replace("_", "-") for name in names}


def names_of(requirements: list[str]) -> set[str]:
    """Distributions that requirements name, without versions and extras."""
    found = {re.match(r"[\w.-]+", each)[0] for each in requirements}
    return {name.lower().replace("_", "-") for name in found}


def declared() -> set[str]:
    extras = PROJECT["optional-dependencies"]
    optional = [each for name in RUNTIME_EXTRAS for each in extras[name]]
    return names_of(PROJECT["dependencies"]) | names_of(optional)


def test_everything_that_is_imported_is_declared():
    assert imported() <= declared()


def test_everything_that_is_declared_is_imported():
    assert declared() - imported() == set(NOT_IMPORTED)


def test_every_python_that_is_declared_is_tested():
    workflow = ROOT / ".github" / "workflows" / "ci.yml"
    if not workflow.exists():
        pytest.skip("the source distribution comes without")
    declared = {c.rpartition(" ")[2] for c in PROJECT["classifiers"] if "Python :: 3." in c}
    tested = set(re.findall(r'"(3\.\d+)"', workflow.read_text(encoding="utf-8")))
    assert declared == tested == {"3.11", "3.12", "3.13", "3.14"}
