"""Paint a few MRI slices, train a U-Net on two CPU cores, segment the rest.

The names below are loaded when first used, so that importing the package
(which napari does at start) costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_unet.api import fill_between, load_volume, save_mask, segment, train

__version__ = "0.1.0"

__all__ = ["__version__", "fill_between", "load_volume", "save_mask", "segment", "train"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module("napari_unet.api"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
