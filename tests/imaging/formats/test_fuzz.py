"""Damaged files are read or refused in a sentence; `scripts/fuzz_files.py` tries many more."""

from scripts import fuzz_files

COUNT = 300


def test_damaged_files_are_read_or_refused_in_a_sentence(tmp_path):
    seeds = fuzz_files.write_seeds(tmp_path / "seeds")
    escaped = {}
    for number in range(COUNT):
        name, path = fuzz_files.put(number, seeds, tmp_path / "file")
        result = fuzz_files.open_and_read(path)
        if result not in ("read", "refused"):
            escaped[number, name] = result
    assert not escaped


def test_the_files_that_are_damaged_are_sound(tmp_path):
    seeds = fuzz_files.write_seeds(tmp_path / "seeds")
    for name, files in seeds.items():
        if name.startswith("MR_small"):
            continue  # opened in test_every_file, beside no other series
        assert fuzz_files.open_and_read(files[0]) == "read", name
