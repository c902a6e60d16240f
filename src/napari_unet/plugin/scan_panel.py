"""Which scan, which sequences of it, sliced how, labelled where."""

from __future__ import annotations

from collections.abc import Sequence

from napari.layers import Image, Labels
from qtpy.QtCore import Signal
from qtpy.QtGui import QAction
from qtpy.QtWidgets import QComboBox, QGridLayout, QLabel, QMenu, QToolButton, QWidget

from napari_unet.imaging.volume import PLANES, Grid

NEW_LAYER = "New layer"


class ScanPanel(QWidget):
    """Which scan, which sequences of it, sliced how, labelled where.

    Signals
    -------
    chosen : (list of Image, int or None, Labels or None, bool)
        Images, slicing axis (None: decide), label layer (None: find one) and
        whether to make a new label layer.
    """

    chosen = Signal(object, object, object, bool)

    def __init__(self) -> None:
        super().__init__()
        self._images: list[Image] = []
        self._labels: list[Labels] = []
        self.image = QComboBox()
        self.image.setToolTip("The MRI volume to segment")
        self.sequences = QToolButton()
        self.sequences.setText("Sequences: 1")
        self.sequences.setStyleSheet("QToolButton::menu-indicator { image: none; }")
        self.sequences.setToolTip(
            "Use further sequences of the same patient (same grid), such as FLAIR"
        )
        self.sequences.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self._menu = QMenu(self.sequences)
        self.sequences.setMenu(self._menu)
        self.axis = QComboBox()
        self.axis.setToolTip("The plane you paint in; by default across the thickest slices")
        self.labels = QComboBox()
        self.labels.setToolTip("The label layer that holds the mask")
        for box in (self.image, self.axis, self.labels):
            box.setSizeAdjustPolicy(
                QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
            )
            box.setMinimumContentsLength(8)
        self.image.activated.connect(self._on_image)
        self.axis.activated.connect(lambda i: self._emit(axis=i))
        self.labels.activated.connect(lambda i: self._emit(axis=None, fresh=i == 0))
        form = QGridLayout(self)
        form.setContentsMargins(0, 0, 0, 0)
        form.setVerticalSpacing(4)
        form.addWidget(QLabel("Scan"), 0, 0)
        form.addWidget(self.image, 0, 1)
        form.addWidget(self.sequences, 0, 2)
        form.addWidget(QLabel("Plane"), 1, 0)
        form.addWidget(self.axis, 1, 1)
        form.addWidget(self.labels, 1, 2)
        form.setColumnStretch(1, 3)
        form.setColumnStretch(2, 2)

    def show_layers(self, images: Sequence[Image], labels: Sequence[Labels]) -> None:
        """Offer the layers of the viewer."""
        chosen = self._chosen_images()
        label = (
            self._labels[self.labels.currentIndex() - 1] if self.labels.currentIndex() > 0 else None
        )
        self._images, self._labels = list(images), list(labels)
        self.image.clear()
        self.image.addItems([image.name for image in images])
        if chosen and chosen[0] in self._images:
            self.image.setCurrentIndex(self._images.index(chosen[0]))
        self.labels.clear()
        self.labels.addItems([NEW_LAYER, *(layer.name for layer in labels)])
        if label in self._labels:
            self.labels.setCurrentIndex(self._labels.index(label) + 1)
        self._fill_menu(chosen[1:])

    def show_choice(self, images: Sequence[Image], axis: int, labels: Labels, grid: Grid) -> None:
        """Show what is being annotated."""
        if images[0] in self._images:
            self.image.setCurrentIndex(self._images.index(images[0]))
        self._fill_menu(images[1:])
        self.axis.clear()
        self.axis.addItems(
            [f"{p.capitalize()} ({s:.3g} mm)" for p, s in zip(PLANES, grid.spacing_mm, strict=True)]
        )
        self.axis.setCurrentIndex(axis)
        if labels in self._labels:
            self.labels.setCurrentIndex(self._labels.index(labels) + 1)

    def _fill_menu(self, checked: Sequence[Image]) -> None:
        self._menu.clear()
        first = self._images[self.image.currentIndex()] if self._images else None
        for image in self._images:
            if image is not first:
                action = QAction(image.name, self._menu)
                action.setCheckable(True)
                action.setChecked(image in checked)
                action.setData(self._images.index(image))
                action.toggled.connect(lambda _on: self._emit(axis=None))
                self._menu.addAction(action)
        count = 1 + sum(a.isChecked() for a in self._menu.actions())
        self.sequences.setText(f"Sequences: {count}")
        self.sequences.setEnabled(len(self._images) > 1)

    def _chosen_images(self) -> list[Image]:
        if not self._images or self.image.currentIndex() < 0:
            return []
        extra = [self._images[a.data()] for a in self._menu.actions() if a.isChecked()]
        first = self._images[self.image.currentIndex()]
        return [first, *(image for image in extra if image is not first)]

    def _on_image(self, _index: int) -> None:
        self.chosen.emit(self._chosen_images()[:1], None, None, False)

    def _emit(self, axis: int | None, *, fresh: bool = False) -> None:
        images = self._chosen_images()
        chosen = self.labels.currentIndex()
        if images:
            labels = self._labels[chosen - 1] if chosen > 0 else None
            self.chosen.emit(images, axis, labels, fresh)
