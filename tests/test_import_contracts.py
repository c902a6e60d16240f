"""What importing costs: the core knows no napari, and nothing loads torch before it is needed."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

import napari_unet

CORE = [
    "napari_unet",
    "napari_unet.errors",
    "napari_unet.imaging.volume",
    "napari_unet.imaging.loading",
    "napari_unet.imaging.measurement",
    "napari_unet.imaging.cleanup",
    "napari_unet.annotation",
    "napari_unet.learning.config",
    "napari_unet.learning.training.loop",
    "napari_unet.learning.prediction.scan_prediction",
    "napari_unet.phantom.metastases",
    "napari_unet.api",
    "napari_unet.cli.demo",
    "napari_unet.cli.main",
]
OPENS_FAST = [
    "napari_unet",
    "napari_unet.cli.main",
    "napari_unet.api",
    "napari_unet.cli.demo",
    "napari_unet.phantom.metastases",
    "napari_unet.annotation",
    "napari_unet.learning.config",
    "napari_unet.learning.events",
    "napari_unet.learning.preparation",
    "napari_unet.plugin.layers.reader",
    "napari_unet.plugin.layers.writer",
    "napari_unet.plugin.layers.samples",
    "napari_unet.plugin.widgets.annotator_widget",
    "napari_unet.plugin.inspection.panel",
]


def loaded_by(modules: list[str], watched: list[str]) -> list[str]:
    """Which of `watched` a fresh interpreter has loaded after importing `modules`."""
    present = [name for name in modules if importlib.util.find_spec(name)]
    code = (
        f"import sys, importlib\n"
        f"for name in {present!r}: importlib.import_module(name)\n"
        f"print(*[name for name in {watched!r} if name in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.split()


def test_core_imports_neither_napari_nor_qt():
    watched = ["napari", "qtpy", "magicgui", "pyqtgraph", "superqt", "PyQt6", "PySide6"]
    assert loaded_by(CORE, watched) == []


def test_nothing_loads_torch_before_work_starts():
    assert loaded_by(OPENS_FAST, ["torch"]) == []


def test_torch_is_imported_by_way_of_load_torch_alone():
    room = Path(napari_unet.__file__).parent / "learning"
    for path in room.rglob("*.py"):
        above, *torch = re.split("^(?:import|from) torch", path.read_text(), flags=re.MULTILINE)
        package = "" if path.parent == room else (path.parent / "__init__.py").read_text()
        assert not torch or "\nload_torch()" in package + above, path


def test_the_package_itself_loads_next_to_nothing():
    assert loaded_by(["napari_unet"], ["numpy", "nibabel", "torch"]) == []


def test_the_check_itself_notices_an_import():
    assert loaded_by(["napari_unet.imaging.volume"], ["nibabel", "torch"]) == ["nibabel"]


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        napari_unet.nonsense  # noqa: B018
