"""The models of a scan: the better one is used, and the earlier ones are kept."""

from napari_unet.learning.config import ModelConfig
from napari_unet.learning.events import Comparison, RoundDone
from napari_unet.learning.model_card import ModelCard, Provenance
from napari_unet.learning.model_history import KEPT, ModelHistory
from napari_unet.learning.network.checkpoint import Checkpoint


def model(slices: int = 3, **history) -> Checkpoint:
    provenance = Provenance(annotated_slices=slices, trained_on=("scan",), **history)
    return Checkpoint({}, ModelCard(ModelConfig(), ("Tumour",), provenance=provenance))


def done(checkpoint: Checkpoint, **more) -> RoundDone:
    return RoundDone(checkpoint, stopped=False, seconds=1.0, **more)


def titles(history: ModelHistory) -> list[str]:
    return [each.title for each in history.kept]


def test_every_round_is_kept_with_its_slices_and_its_latest_score():
    history = ModelHistory()
    history.put_round(done(model(3)))
    assert titles(history) == ["Round 1 · 3 slices"]
    history.put_round(done(model(7), comparison=Comparison(0.84, 0.79, 1)))
    assert titles(history) == [
        "Round 2 · 7 slices · held-back Dice 0.84",
        "Round 1 · 3 slices · held-back Dice 0.79",
    ]
    assert history.position == 0


def test_a_worse_model_is_listed_and_the_earlier_one_stays_in_use():
    history = ModelHistory()
    history.put_round(done(model(3)))
    old, new = model(3, held_back=(("scan", 5),)), model(6)
    history.put_round(done(old, kept="old", comparison=Comparison(0.7, 0.8, 1), rejected=new))
    assert titles(history) == [
        "Round 2 · 6 slices · held-back Dice 0.70 · not kept",
        "Round 1 · 3 slices · held-back Dice 0.80",
    ]
    assert history.position == 1
    assert history.present is old


def test_the_oldest_models_are_let_go_of_but_not_the_one_in_use():
    history = ModelHistory()
    first = model(1)
    history.put_round(done(first))
    for number in range(2, KEPT + 5):
        result = Comparison(0.1, 0.9, 1)
        history.put_round(done(first, kept="old", comparison=result, rejected=model(number)))
    assert len(history.kept) == KEPT
    assert history.present is first
    assert history.position == KEPT - 1
    assert titles(history)[0].startswith(f"Round {KEPT + 4} ")


def test_the_card_of_another_program_may_have_no_date():
    history = ModelHistory()
    history.put(model(3), "theirs.safetensors")
    assert "3 slices of scan" in history.kept[0].details
