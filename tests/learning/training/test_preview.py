"""Which slices are predicted while a network learns: counted, on machines of any speed."""

from collections import Counter
from types import SimpleNamespace

import pytest

from napari_unet.learning.training import preview

N_SLICES = 150


class Machine:
    """Steps and predictions that take so many seconds, on a clock of their own."""

    def __init__(self, monkeypatch, step_s: float, slice_s: float) -> None:
        self.now, self.step_s, self.slice_s = 0.0, step_s, slice_s
        self.order: list[int] = []
        self.in_view = 75
        monkeypatch.setattr(preview, "time", SimpleNamespace(perf_counter=lambda: self.now))
        monkeypatch.setattr(preview, "SliceFusion", lambda *_, **__: self)
        self.round = SimpleNamespace(
            scans=[SimpleNamespace(n_slices=N_SLICES)],
            priors=[SimpleNamespace(truth=lambda index: None if index != 70 else "annotated")],
            examples=SimpleNamespace(learned_from={0: frozenset()}),
            trainer=SimpleNamespace(device=None),
            updater=SimpleNamespace(device=None),
            predictor=lambda _device: SimpleNamespace(device=None, take_notices=list),
            calibrate=lambda _predictor: None,
            steps=0,
        )
        self.preview = preview.Preview(self.round, lambda: (0, self.in_view))

    def predict(self, wanted, **_):
        self.now += self.slice_s * len(wanted)
        self.order += wanted
        return []

    def train(self, seconds: float) -> Counter:
        """Train so long; give how often each slice was predicted."""
        before, until = len(self.order), self.now + seconds
        while self.now < until:
            self.now += self.step_s
            self.round.steps += 1
            self.preview.after_step(self.now)
        return Counter(self.order[before:])


@pytest.mark.parametrize(("step_s", "slice_s"), [(0.3, 0.3), (1.0, 0.5), (0.05, 0.15)])
def test_most_predictions_go_to_slices_that_are_not_in_view_however_slow_the_machine(
    monkeypatch, step_s, slice_s
):
    machine = Machine(monkeypatch, step_s, slice_s)
    counts = machine.train(120)
    assert counts[machine.in_view] > 2
    assert counts.total() - counts[machine.in_view] > 2 * counts[machine.in_view]
    others = [count for index, count in counts.items() if index != machine.in_view]
    assert max(others) - min(others) <= 1


def test_a_fast_machine_predicts_every_slice_and_refreshes_the_one_in_view_each_second(monkeypatch):
    machine = Machine(monkeypatch, 0.02, 0.01)
    counts = machine.train(60)
    assert set(counts) == set(range(N_SLICES)) - {70}
    assert counts[machine.in_view] >= 50


def test_a_slice_that_comes_into_view_is_next(monkeypatch):
    machine = Machine(monkeypatch, 0.3, 0.3)
    machine.train(30)
    before, machine.in_view = len(machine.order), 20
    machine.train(10)
    assert machine.order[before] == 20
