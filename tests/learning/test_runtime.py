from __future__ import annotations

import os
import subprocess
import sys

from napari_unet.learning.runtime import ThreadChooser


def _run(chooser, seconds_with, steps=60):
    used = []
    for _ in range(steps):
        used.append(chooser.threads)
        chooser.took(seconds_with[chooser.threads])
    return used


def test_all_threads_are_used_where_they_are_faster():
    used = _run(ThreadChooser(2), {2: 0.06, 1: 0.1})
    assert used.count(2) >= 56


def test_fewer_threads_are_used_while_another_program_takes_a_core():
    chooser = ThreadChooser(2)
    assert _run(chooser, {2: 0.3, 1: 0.1}).count(1) >= 56
    assert _run(chooser, {2: 0.06, 1: 0.1}).count(2) >= 56


def test_a_single_core_has_no_choice():
    assert set(_run(ThreadChooser(1), {1: 0.1})) == {1}


def test_loading_torch_leaves_the_environment_as_it_was():
    code = (
        "import os; before = dict(os.environ)\n"
        "from napari_unet.learning.runtime import load_torch; load_torch()\n"
        "import torch, sys; torch.ones(2).sum()\n"
        "assert 'torch._dynamo' not in sys.modules\n"
        "assert {k: os.environ.get(k) for k in before} == before\n"
        "assert 'GOMP_SPINCOUNT' not in set(os.environ) - set(before)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=dict(os.environ))
