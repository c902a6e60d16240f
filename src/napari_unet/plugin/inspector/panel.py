"""The dock widget "Look inside": the model's U, and what to see of it over the scan."""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from napari.layers import Labels
from napari.viewer import Viewer
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSpinBox,
    QVBoxLayout,
)

from napari_unet.plugin.inspector.architecture_view import ArchitectureView
from napari_unet.plugin.inspector.controller import Inside
from napari_unet.plugin.inspector.tasks import Method
from napari_unet.plugin.widgets.dock_widget import DockedWidget, WheelGuard
from napari_unet.plugin.widgets.message_line import MessageLine

if TYPE_CHECKING:
    import napari

NO_LEVEL = "No feature maps"
NOT_VARIED = "Not varied"
PAN = "pan_zoom"


class InsidePanel(DockedWidget):
    """Look inside.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Given by napari.
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.viewer: Viewer = viewer
        self.inside = Inside(viewer)
        self._open = True
        self._held: tuple[Labels, str] | None = None  # whose painting rests while voxels are asked
        self.view = ArchitectureView()
        self.given = _toggle(
            "As the model sees it",
            "The exact input of the network for this slice: cropped to the head, normalised, "
            "resampled to its pixel size, and filled up at the borders",
        )
        self.probabilities = _toggle(
            "Probabilities",
            "How likely the model alone finds each structure, without the slices next to this "
            "one and without your annotation",
        )
        self.uncertainty = _toggle(
            "Uncertainty", "Entropy of the probabilities: bright where the model cannot decide"
        )
        self.level = QComboBox()
        self.level.setToolTip("The level of the network whose feature maps to see")
        self.arrangement = QComboBox()
        self.arrangement.addItems(["One channel", "All channels"])
        self.arrangement.setToolTip(
            "One channel lies exactly over the scan.\n"
            "All channels: in a grid over the scan, each shrunk, the most telling first"
        )
        self.rank = QSpinBox()
        self.rank.setPrefix("no. ")
        self.rank.setMinimum(1)
        self.rank.setToolTip(
            "Channels ranked by how much of their variance is between the structures that the "
            "model sees in this slice; 1 is the most telling"
        )
        self.why = _toggle(
            "Why here?",
            "Click a voxel of the scan: a box shows what the model can see from there, colours "
            "what spoke for its decision and what against. Painting rests meanwhile",
        )
        self.method = QComboBox()
        for name, method in (("Gradient", "gradient"), ("Occlusion", "occlusion")):
            self.method.addItem(name, method)
        self.method.setToolTip(
            "Gradient: which pixels would change the decision most; fast, but speckled.\n"
            "Occlusion: what the decision loses when a patch is hidden; slower, clearer"
        )
        self.variation = QComboBox()
        self.variation.addItem(NOT_VARIED, "")
        self.variation.setToolTip(
            "How training varies annotated slices before it learns from them (augmentation), "
            "shown on this one: “all” as for this kind of network, its recipe unchanged, and\n"
            "mirrored only where sides may be exchanged, upside down only as the paper does; "
            "“elastic (paper)” for any network. Choose the same again for another draw"
        )
        self.follow = QCheckBox("Follow slice")
        self.follow.setToolTip("Show the same of every slice that comes on screen")
        self.remove = QPushButton("Remove")
        self.remove.setToolTip("Remove all layers of “Look inside”, and stop what is under way")
        self.message = MessageLine()
        self._guard = WheelGuard(self)
        self._guard.watch(self.level, self.arrangement, self.rank, self.method, self.variation)
        self._lay_out()
        # Layers come one by one; the annotator has taken them up once they all are there.
        self._find_timer = QTimer(self)
        self._find_timer.setSingleShot(True)
        self._find_timer.setInterval(0)
        self._find_timer.timeout.connect(self.inside.find)
        self._connect()
        self._connections: tuple[Any, ...] = (
            (viewer.layers.events.inserted, self._find_soon),
            (viewer.layers.events.removed, self._find_soon),
        )
        for emitter, callback in self._connections:
            emitter.connect(callback)
        # When the window goes, the C++ half of this widget goes first: only Python here.
        self.destroyed.connect(partial(_let_go, self.inside, self._connections))
        self.inside.find()
        self._render()

    def _lay_out(self) -> None:
        sees = QGridLayout()
        sees.setContentsMargins(0, 0, 0, 0)
        sees.setSpacing(4)
        sees.addWidget(self.given, 0, 0, 1, 2)
        sees.addWidget(self.probabilities, 1, 0)
        sees.addWidget(self.uncertainty, 1, 1)
        sees.addWidget(self.variation, 2, 0, 1, 2)
        features = QHBoxLayout()
        features.setSpacing(4)
        features.addWidget(self.arrangement, 1)
        features.addWidget(self.rank, 1)
        why = QHBoxLayout()
        why.setSpacing(4)
        why.addWidget(self.why, 1)
        why.addWidget(self.method, 1)
        end = QHBoxLayout()
        end.addWidget(self.follow, 1)
        end.addWidget(self.remove, 1)
        column = QVBoxLayout(self)
        column.setContentsMargins(6, 6, 6, 0)
        column.setSpacing(6)
        column.addWidget(self.view)
        column.addWidget(self.level)
        column.addLayout(features)
        column.addWidget(QLabel("Of the slice on screen:"))
        column.addLayout(sees)
        column.addLayout(why)
        column.addLayout(end)
        column.addStretch()
        column.addWidget(self.message)
        self.setMinimumWidth(316)

    def _connect(self) -> None:
        inside = self.inside
        self.view.clicked.connect(self._choose_level)
        self.level.activated.connect(lambda at: self._choose_level(self.level.itemData(at) or ""))
        self.given.clicked.connect(lambda on: inside.see(given=on))
        self.probabilities.clicked.connect(lambda on: inside.see(probabilities=on))
        self.uncertainty.clicked.connect(lambda on: inside.see(uncertainty=on))
        self.arrangement.activated.connect(lambda at: inside.see(grid=at == 1))
        self.rank.valueChanged.connect(lambda value: inside.see(rank=value - 1))
        self.why.toggled.connect(self._arm)
        self.method.activated.connect(self._choose_method)
        self.variation.activated.connect(self._vary)
        self.follow.toggled.connect(inside.follow_slice)
        self.remove.clicked.connect(self._remove)
        inside.changed.connect(self._render)
        inside.message.connect(self.message.say)

    def enterEvent(self, event: Any) -> None:
        """Look for an annotator that was opened meanwhile."""
        super().enterEvent(event)
        if self._open:
            self.inside.find()

    def disconnect_viewer(self) -> None:
        """Remove what is shown and let go of the viewer; safe to call twice."""
        if self._open:
            self._open = False
            self._find_timer.stop()
            self._arm(False)
            _let_go(self.inside, self._connections)

    def _find_soon(self, _event: Any = None) -> None:
        self._find_timer.start()

    # -- what to see -----------------------------------------------------------

    def _choose_level(self, name: str) -> None:
        self.inside.find()
        self.inside.see(level=name, rank=0)

    def _choose_method(self, at: int) -> None:
        self.inside.method = cast(Method, self.method.itemData(at))

    def _vary(self, at: int) -> None:
        self.inside.see(variation=self.variation.itemData(at), seed=self.inside.request.seed + 1)

    def _remove(self) -> None:
        self.why.setChecked(False)
        self.inside.reset()

    def _render(self) -> None:
        """Show what is requested for, and what can be."""
        if not self._open:
            return
        inside, request = self.inside, self.inside.request
        known = [level.name for level in inside.levels]
        self.view.show_levels(
            inside.levels, request.level, "The model's levels will be drawn here."
        )
        titles = [NO_LEVEL, *(level.title for level in inside.levels)]
        if titles != [self.level.itemText(at) for at in range(self.level.count())]:
            self.level.clear()
            for title, name in zip(titles, ["", *known], strict=True):
                self.level.addItem(title[0].upper() + title[1:], name)
        self.level.setCurrentIndex(1 + known.index(request.level) if request.level in known else 0)
        self.given.setChecked(request.given)
        self.probabilities.setChecked(request.probabilities)
        self.uncertainty.setChecked(request.uncertainty)
        self.arrangement.setCurrentIndex(int(request.grid))
        self.rank.blockSignals(True)
        chosen = next((level for level in inside.levels if level.name == request.level), None)
        self.rank.setMaximum(1 if chosen is None else chosen.channels)
        self.rank.setSuffix("" if chosen is None else f" of {chosen.channels}")
        self.rank.setValue(request.rank + 1)
        self.rank.blockSignals(False)
        self.arrangement.setEnabled(chosen is not None)
        self.rank.setEnabled(chosen is not None and not request.grid)
        ready = bool(known)
        if ready and self.variation.count() == 1:
            # With levels known torch is loaded, and this import costs nothing.
            from napari_unet.learning.inspection.augmentation_preview import KINDS

            for name in KINDS:
                self.variation.addItem(f"Varied: {name}", name)
        self.variation.setCurrentIndex(max(0, self.variation.findData(request.variation)))
        controls = (
            self.level,
            self.given,
            self.probabilities,
            self.uncertainty,
            self.variation,
            self.why,
        )
        for control in controls:
            control.setEnabled(ready)
        if self.why.isChecked() and not ready:
            self.why.setChecked(False)

    # -- asking for a voxel ----------------------------------------------------

    def _arm(self, on: bool) -> None:
        """Let clicks into the viewer ask why, and painting rest; or the other way round."""
        callbacks = self.viewer.mouse_drag_callbacks
        if on:
            callbacks.append(self._on_press)
            active = self.viewer.layers.selection.active
            if isinstance(active, Labels) and active.mode != PAN:
                self._held = (active, str(active.mode))
                active.mode = PAN
            self.message.say("Click a voxel of the scan.")
            return
        if self._on_press in callbacks:
            callbacks.remove(self._on_press)
        if self._held is not None:
            layer, mode = self._held
            self._held = None
            if layer.mode == PAN:
                layer.mode = mode
        self.inside.forget_why()

    def _on_press(self, _viewer: Viewer, event: Any) -> Generator[None, None, None]:
        """Ask about the voxel that is clicked; a drag moves the view as ever."""
        if event.button != 1:
            return
        pressed = event.pos
        yield
        while event.type == "mouse_move":
            yield
        if abs(event.pos - pressed).max() < 4:
            self.inside.ask_why(tuple(event.position))


def _let_go(inside: Inside, connections: tuple[Any, ...]) -> None:
    for emitter, callback in connections:
        with contextlib.suppress(ValueError):  # done before
            emitter.disconnect(callback)
    if inside.open:
        inside.close()


def _toggle(text: str, tooltip: str) -> QPushButton:
    button = QPushButton(text)
    button.setCheckable(True)
    button.setToolTip(tooltip)
    return button
