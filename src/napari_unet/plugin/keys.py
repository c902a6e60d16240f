"""The viewer keys of the annotation loop."""

from __future__ import annotations

from collections.abc import Callable

from napari.viewer import Viewer

from napari_unet.plugin.annotator import Annotator

KEYS = {"Shift-Enter": "accept", "N": "next"}
"""Viewer keys and the `SliceOnScreen` methods they call; free in napari's own settings."""


def bind_keys(
    viewer: Viewer, annotator: Annotator, try_to: Callable[[Callable[[], object]], object]
) -> None:
    """Let the keys work in a viewer; `try_to` calls the method and shows its errors."""
    for key, name in KEYS.items():
        viewer.bind_key(key, _key_action(getattr(annotator.slice, name), try_to), overwrite=True)


def release_keys(viewer: Viewer) -> None:
    """Give the keys back."""
    for key in KEYS:
        viewer.bind_key(key, None)


def _key_action(
    method: Callable[[], object], try_to: Callable[[Callable[[], object]], object]
) -> Callable[[Viewer], None]:
    # A function and no partial: napari asks every key binding for its __name__.
    def napari_unet_key(_viewer: Viewer) -> None:
        try_to(method)

    return napari_unet_key
