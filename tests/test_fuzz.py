"""Damaged files are read or refused in a sentence; `scripts/fuzz_files.py` tries many more."""

import shutil
from pathlib import Path

import pytest

from scripts.fuzz_cases import KINDS
from scripts.fuzz_files import open_and_read, put

COUNTS = {"scans": 300, "masks": 150, "sidecars": 150, "models": 150}


@pytest.mark.parametrize("name", KINDS)
def test_damaged_files_are_read_or_refused_in_a_sentence(tmp_path, name):
    kind = KINDS[name]
    seeds = kind.write(tmp_path / "seeds")
    escaped = {}
    for number in range(COUNTS[name]):
        of, path = put(kind, number, seeds, tmp_path / "file")
        result = open_and_read(kind, path)
        if result not in ("read", "refused"):
            escaped[number, of] = result
    assert not escaped


@pytest.mark.parametrize("name", KINDS)
def test_the_files_that_are_damaged_are_sound(tmp_path, name):
    kind = KINDS[name]
    for number, (of, files) in enumerate(kind.write(tmp_path / "seeds").items()):
        if of.startswith("MR_small"):
            continue  # opened in test_every_file, beside no other series
        folder = tmp_path / str(number)
        folder.mkdir()
        copies = [shutil.copy(file, folder) for file in files]
        assert open_and_read(kind, Path(copies[0])) == "read", of
