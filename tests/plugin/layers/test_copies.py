"""What napari makes of a Segmentation layer, copies above all, is never truth by itself."""

import numpy as np
import pytest
from napari.layers import Labels
from napari.layers._layer_actions import _convert_to_image, _convert_to_labels, _duplicate_layer
from qtpy.QtWidgets import QMessageBox

from napari_unet.annotation.states import SliceState
from napari_unet.errors import AnnotationError
from napari_unet.learning.model_history import KeptModel
from napari_unet.plugin.app.annotator import Annotator


@pytest.fixture
def asked(monkeypatch):
    """Answer No, there is more to label, to every question; the list says which were asked."""
    asked = []

    def question(_parent, _title, text, *_):
        asked.append(text)
        return QMessageBox.StandardButton.No

    monkeypatch.setattr(QMessageBox, "question", question)
    return asked


def annotate(bench):
    """Have slices of every state: 8 painted, 1 accepted empty, 4 partial, the rest predicted."""
    bench.paint(8)
    for index in (1, 4):
        bench.session.segmentation.go_to(index)
        bench.annotator.accept_slice() if index == 1 else bench.annotator.set_partial(True)
    bench.paint(4, mask=np.arange(bench.truth[4].size).reshape(bench.truth[4].shape) < 9)
    for index in range(len(bench.truth)):
        bench.session.segmentation.write_prediction(index, bench.truth[index].astype(np.uint8))


def known(session):
    """Everything that is known of the slices of a session."""
    truth = [session.record.truth(index) for index in range(session.record.n_slices)]
    return session.record.states(), np.array(truth), session.record.origin(), session.axis


def duplicate(viewer, layer) -> Labels:
    """*Duplicate layer* of napari's menu."""
    viewer.layers.selection = {layer}
    _duplicate_layer(viewer.layers)
    return viewer.layers[viewer.layers.index(layer) + 1]


def assert_known(session, before):
    for now, then in zip(known(session), before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_a_duplicate_knows_of_its_slices_what_was_known_when_it_was_made(bench, asked):
    annotate(bench)
    before, original = known(bench.session), bench.session
    states = before[0]
    assert states.count(SliceState.ANNOTATED) == 2
    assert states.count(SliceState.PREDICTED) == 13
    copy = duplicate(bench.viewer, original.labels)
    bench.paint(6, mask=~bench.truth[6])
    bench.widget.choice.choose([bench.image], None, copy, False)
    assert bench.session.labels is copy, bench.widget.message.text
    assert_known(bench.session, before)
    bench.paint(11, mask=~bench.truth[11])
    assert original.record.state(11) is SliceState.PREDICTED
    assert original.record.state(6) is SliceState.ANNOTATED
    assert not asked


def test_a_duplicate_made_while_nobody_annotates_shares_neither_record_nor_models(bench, asked):
    annotate(bench)
    before, original = known(bench.session), bench.session
    bench.annotator.close()
    original.models._history.present = KeptModel(object(), "Round 1")
    copy = duplicate(bench.viewer, original.labels)
    original.labels.data[2] = 1
    again = Annotator(bench.viewer)
    again.choose([bench.image], labels=copy)
    assert_known(again.session, before)
    assert again.session.models.present is original.models.present
    again.session.models.forget()
    again.choose([bench.image], labels=original.labels)
    assert again.session.models.present is not None
    assert again.session.record.state(2) is SliceState.ANNOTATED, "painted meanwhile"
    again.close()


def test_other_labels_with_the_metadata_of_a_segmentation_are_asked_about(bench, asked):
    annotate(bench)
    labels = bench.session.labels
    data, state, _ = labels.as_layer_data_tuple()
    other = bench.viewer.add_layer(Labels(np.roll(data, 3, axis=0), **{**state, "name": "rolled"}))
    bench.widget.choice.choose([bench.image], None, other, False)
    assert bench.session.labels is other
    assert len(asked) == 1
    assert set(bench.session.record.states()) == {SliceState.PREDICTED, SliceState.EMPTY}
    assert bench.session.structures[0].name == "Structure 1"


def test_a_segmentation_that_was_an_image_meanwhile_is_asked_about(bench, asked):
    annotate(bench)
    original = bench.session.labels
    bench.viewer.layers.selection = {original}
    _convert_to_image(bench.viewer.layers)
    bench.viewer.layers.selection = {bench.viewer.layers[-1]}
    _convert_to_labels(bench.viewer.layers)
    back = bench.viewer.layers[-1]
    bench.widget.choice.choose([bench.image], None, back, False)
    assert bench.session.labels is back, bench.widget.message.text
    assert len(asked) == 1
    assert not bench.session.record.slices_in(SliceState.ANNOTATED)
    assert not np.shares_memory(back.data, original.data)


def test_annotated_slices_of_one_plane_are_not_taken_for_slices_of_another(bench):
    annotate(bench)
    labels, before = bench.session.labels, known(bench.session)
    bench.annotator.close()
    again = Annotator(bench.viewer)
    with pytest.raises(AnnotationError, match="annotated in the axial plane"):
        again.choose([bench.image], axis=2, labels=labels)
    again.choose([bench.image], labels=labels)
    assert_known(again.session, before)
    again.close()
