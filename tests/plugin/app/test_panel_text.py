"""What the panel says, in every state that it can be in."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from napari_unet.annotation.progress import Judgement
from napari_unet.annotation.scoring import CorrectionScore
from napari_unet.imaging.measurement import measure
from napari_unet.learning.calibration import MATURE_STEPS
from napari_unet.learning.events import StepDone
from napari_unet.plugin.app import panel_text as texts
from napari_unet.plugin.app.panel_text import Model, PanelState, Said, panel_text
from napari_unet.plugin.app.tasks import Activity, VolumeSegmented

SCORE = CorrectionScore(0.8, 0.7, 0.9, 2)
READY = PanelState(scans=1, chosen=True, mask_there=True)


def step(number: int = 3, n_slices: int = 1, n_held_back: int = 0) -> StepDone:
    return StepDone(number, 0.42, 65.0, 0.5, n_slices, n_held_back)


def all_states():
    """Every combination of what there is; a step only where there is a model or a training."""
    yes_no = (False, True)
    for scans, chosen, there, annotated in product((0, 2), yes_no, yes_no, (0, 3)):
        if (chosen and not scans) or (there and not chosen):
            continue
        for activity, stopping, model, latest in product(
            (None, *Activity), yes_no, (None, Model(120, 3)), (None, step())
        ):
            if (stopping and activity is None) or (not chosen and (activity or model)):
                continue
            if latest is not None and model is None and activity is not Activity.TRAINING:
                continue
            for measured, changed, said in product(yes_no, yes_no, (None, Said("Saved."))):
                yield PanelState(
                    scans=scans,
                    chosen=chosen,
                    mask_there=there,
                    n_annotated=annotated,
                    activity=activity,
                    stopping=stopping,
                    model=model,
                    step=latest,
                    measured=measured,
                    changed=changed,
                    said=said,
                )


def test_every_text_is_true_in_every_state():
    n_states = 0
    for state in all_states():
        n_states += 1
        text = panel_text(state)
        idle = state.activity is None
        training = state.activity is Activity.TRAINING
        untrained = state.model is None and state.step is None and not training
        assert (text.progress == "not trained yet") == untrained, state
        assert (text.progress == "getting ready") == (training and state.step is None), state
        assert (text.train.text == "Stop") == training, state
        assert text.load_model.enabled == text.fill.enabled == idle, state
        assert text.segment.enabled <= (state.model is not None or not idle), state
        assert all(
            each.tooltip
            for each in (text.train, text.segment, text.fill, text.save_model, text.load_model)
        )
        assert (text.table is None) == (not state.measured), state
        assert text.table is None or text.table.stale == state.changed, state
        assert text.can_restore == (state.chosen and not state.mask_there), state
        if state.said is not None:
            assert text.message == state.said
            continue
        message = text.message.text
        present = state.chosen and state.mask_there
        assert (message == texts.NO_SCAN) == (not state.scans), state
        assert (message == texts.DELETED) == text.message.failed == text.can_restore, state
        fresh = present and idle and not state.n_annotated and state.model is None
        assert (message == texts.WELCOME) == fresh, state
        assert (message == texts.TRAINED) == (present and idle and state.model is not None), state
        assert message.startswith("Training on") <= training, state
        assert (message == "Stopping.") == (present and state.stopping), state
    assert n_states > 500


@pytest.mark.parametrize(
    ("state", "score"),
    [
        (PanelState(), ""),
        (PanelState(activity=Activity.TRAINING), ""),
        (PanelState(activity=Activity.TRAINING, step=step(120)), "from 250 steps on; 120 done"),
        (
            PanelState(activity=Activity.TRAINING, step=step(30), model=Model(100, 3)),
            "from 250 steps on; 130 done",
        ),
        (PanelState(model=Model(MATURE_STEPS - 1, 3)), "from 250 steps on; 249 done"),
        (PanelState(model=Model(MATURE_STEPS, 3)), "once slices are predicted"),
        (
            PanelState(model=Model(300, 3), judgement=Judgement(None, 1, 9)),
            "once you correct 2 predicted slices; 1 done",
        ),
        (PanelState(model=Model(300, 3), judgement=Judgement(None, 2, 9)), "show no structure"),
        (
            PanelState(model=Model(300, 3), judgement=Judgement(SCORE, 2, 9)),
            "Dice about 0.80 (2 corrected: 0.70–0.90)",
        ),
    ],
)
def test_where_there_is_no_score_it_is_said_why(state, score):
    text = panel_text(state).score
    assert score in text
    assert bool(score) == bool(text)


@pytest.mark.parametrize(
    ("latest", "words"),
    [(step(), "1 slice"), (step(n_slices=2), "2 slices"), (step(5, 6, 1), "6 + 1 slices")],
)
def test_slices_are_counted_in_words_that_fit(latest, words):
    state = PanelState(activity=Activity.TRAINING, step=latest)
    assert panel_text(state).progress == f"1:05 · loss 0.42 · {words}"


def test_disabled_buttons_say_why():
    text = panel_text(READY)
    for button in (text.segment, text.save_model):
        assert not button.enabled
        assert button.tooltip == "Train or load a model first"
    busy = PanelState(activity=Activity.TRAINING, model=Model(3, 1))
    assert "training" in panel_text(busy).segment.tooltip


# -- in a window ---------------------------------------------------------------


def beside(bench, name: str = "next"):
    """A second scan on the grid of the first."""
    image = bench.image
    return bench.viewer.add_image(
        image.data[:, ::-1],
        name=name,
        scale=image.scale,
        translate=image.translate,
        units=image.units,
    )


def test_a_mask_that_is_brought_back_is_no_longer_said_to_be_deleted(bench):
    bench.paint(8)
    bench.viewer.layers.remove(bench.session.labels)
    assert bench.widget.message.text == texts.DELETED
    assert bench.widget.message.button.isVisibleTo(bench.widget)
    bench.widget.message.button.click()
    assert bench.widget.message.text == texts.PAINTED
    assert not bench.widget.message.failed


def test_a_training_that_is_stopped_before_its_first_step_is_not_getting_ready_any_more(bench):
    bench.paint(8)
    bench.widget.train.start.click()
    assert bench.widget.train.progress.text() == "getting ready"
    bench.widget.train.start.click()
    assert bench.widget.message.text == "Stopping."
    bench.wait_for_job()
    assert bench.widget.train.progress.text() == "not trained yet"


def test_another_choice_of_sequences_is_not_welcomed_like_a_new_scan(bench):
    second = beside(bench)
    bench.paint(8)
    for images in ([bench.image, second], [bench.image]):
        bench.widget.choice.choose(images, None, bench.session.labels, fresh=False)
        assert bench.session.images == tuple(images)
        assert bench.widget.message.text != texts.WELCOME


def test_volumes_and_progress_of_a_scan_come_back_with_it_and_words_about_it_do_not_stay(bench):
    first, labels = bench.session, np.array(bench.truth, np.uint8)
    first.show_volume(VolumeSegmented(labels, tuple(measure(labels, (2, 1, 1), ["Structure 1"]))))
    first.step = step()
    bench.annotator.say("Done after 60 s. Correct the suggested slice (N) and train again.")
    assert bench.widget.result.table.isVisibleTo(bench.widget)
    bench.annotator.choose([beside(bench)])
    assert not bench.widget.result.table.isVisibleTo(bench.widget)
    assert bench.widget.train.progress.text() == "not trained yet"
    assert bench.widget.message.text == texts.WELCOME
    bench.viewer.layers.selection.active = first.labels
    assert bench.session is first
    assert bench.widget.result.table.isVisibleTo(bench.widget)
    assert bench.widget.result.table.item(0, 0).text() == "Structure 1"
    assert "loss 0.42" in bench.widget.train.progress.text()
    bench.annotator.change_structure(1, replace(first.structures[0], name="Cyst"))
    assert bench.widget.result.table.item(0, 0).text() == "Cyst"
    bench.paint(5, 0)
    assert bench.widget.result.table.horizontalHeaderItem(0).text() == "Before your last changes"


def test_what_was_wrong_is_not_said_any_more_once_it_is_right(bench):
    bench.widget.train.start.click()
    assert "No slice shows a structure" in bench.widget.message.text
    bench.paint(8)
    assert bench.widget.message.text == texts.PAINTED
