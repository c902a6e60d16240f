"""Files are complete or absent, are not replaced unasked, and leave nothing behind."""

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from napari_unet.errors import AlreadyExistsError, SaveError
from napari_unet.imaging.atomic import atomic_path, check_free, check_may_write

WRITER = """
import sys
from pathlib import Path
from napari_unet.imaging.atomic import atomic_path
content = Path(sys.argv[1]).name.encode() * 100_000
with atomic_path(sys.argv[1]) as temporary:
    temporary.write_bytes(content[: len(content) // 2])
    print("half", flush=True)
    sys.stdin.read()
    temporary.write_bytes(content)
"""


def begin(path: Path) -> subprocess.Popen[str]:
    """Start a process that writes a file; it has written half of it, and waits."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "half\n"
    return process


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def write(path: Path, text: str = "new", *, overwrite: bool = True) -> None:
    with atomic_path(path, overwrite=overwrite) as temporary:
        temporary.write_text(text)


def without_links(*_args: object, **_options: object) -> None:
    raise PermissionError(errno.EPERM, "Operation not permitted")


@pytest.mark.parametrize("links", [True, False])
def test_of_two_writers_of_a_new_file_exactly_one_succeeds(tmp_path, monkeypatch, links):
    if not links:  # as on FAT
        monkeypatch.setattr(os, "link", without_links)
    path = tmp_path / "mask.nii.gz"

    def write_slowly():
        with atomic_path(path, overwrite=False) as temporary:
            write(path, "quick", overwrite=False)
            temporary.write_text("slow")

    with pytest.raises(AlreadyExistsError, match="exists already"):
        write_slowly()
    assert path.read_text() == "quick"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_is_replaced_only_when_told(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_text("old")
    for check in (check_free, check_may_write, write):
        with pytest.raises(AlreadyExistsError):
            check(path, overwrite=False)
    assert path.read_text() == "old"
    check_may_write(path, overwrite=True)
    write(path)
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_new_file_that_cannot_get_its_name_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "link", without_links)
    monkeypatch.setattr(os, "replace", without_links)
    with pytest.raises(SaveError, match="no permission"):
        write(tmp_path / "mask.nii.gz", overwrite=False)
    assert list(tmp_path.iterdir()) == []


def test_a_signal_just_behind_the_naming_of_a_new_file_leaves_it(tmp_path, monkeypatch):
    replace = os.replace

    def interrupted(*paths):
        replace(*paths)
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "link", without_links)
    monkeypatch.setattr(os, "replace", interrupted)
    path = tmp_path / "model.safetensors"
    with pytest.raises(KeyboardInterrupt):
        write(path, overwrite=False)
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_process_does_not_ask_whether_it_lives_itself(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "kill", None)  # on Windows that is Ctrl-C

    with atomic_path(tmp_path / "a.nii") as outer:
        write(tmp_path / "b.nii")
        assert outer.exists()


@pytest.mark.parametrize("check", [check_may_write, write])
def test_every_refusal_of_the_system_is_told_before_the_work_and_in_our_words(
    tmp_path, monkeypatch, check
):
    with pytest.raises(SaveError, match="bytes are too long for a name here"):
        check(tmp_path / ("x" * 252 + ".nii"), overwrite=False)
    with pytest.raises(SaveError, match="no file can have that name"):
        check(tmp_path / "a\0b.nii", overwrite=False)
    with pytest.raises(SaveError, match="does not exist"):
        check(tmp_path / "absent" / "a.nii", overwrite=False)

    def full(_descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SaveError, match="disk is full"):
        check(tmp_path / "a.nii", overwrite=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("refused", ["fsync", "chmod"])
@pytest.mark.parametrize("reason", [errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EPERM])
def test_a_network_folder_without_flushing_or_permissions_takes_files(
    tmp_path, monkeypatch, refused, reason
):
    def refuse(*_args: object, **_options: object) -> None:
        raise OSError(reason, os.strerror(reason))

    monkeypatch.setattr(os, refused, refuse)
    path = tmp_path / "mask.nii.gz"
    for text in ("first", "second"):
        check_may_write(path, overwrite=True)
        write(path, text)
        assert path.read_text() == text
    assert list(tmp_path.iterdir()) == [path]


def test_the_longest_name_there_can_be_is_written(tmp_path):
    path = tmp_path / ("Ä" * 124 + ".nii.gz")
    write(path)
    assert path.read_text() == "new"


def test_what_a_killed_writer_left_is_removed_and_what_a_living_one_writes_is_not(tmp_path):
    path = tmp_path / "mask.nii.gz"
    path.write_text("old")
    killed, living = begin(path), begin(tmp_path / "other.nii.gz")
    kill(killed)
    assert path.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 3
    write(path)
    (left,) = set(tmp_path.iterdir()) - {path}
    assert left.name.endswith("-other.nii.gz")
    living.communicate("")
    assert living.returncode == 0
    assert set(tmp_path.iterdir()) == {path, tmp_path / "other.nii.gz"}
    assert (tmp_path / "other.nii.gz").read_bytes() == b"other.nii.gz" * 100_000


def test_leftovers_of_other_computers_go_after_a_day_and_files_of_others_never(tmp_path):
    names = {
        ".napari-unet-0123abcd-77-0123abcd-mask.nii.gz": 2.0,
        ".napari-unet-0123abcd-78-0123abcd-mask.nii.gz": 0.5,
        ".napari-unet-notes": 9.0,
        ".napari-unet-0123abcd-77-mask.nii.gz": 9.0,
        "napari-unet-0123abcd-77-0123abcd-mask.nii.gz": 9.0,
        ".0123abcd-mask.nii.gz": 9.0,
    }
    for name, days in names.items():
        (tmp_path / name).write_text("")
        when = time.time() - days * 24 * 3600
        os.utime(tmp_path / name, (when, when))
    (tmp_path / ".napari-unet-0123abcd-77-0123abcd-folder").mkdir()
    write(tmp_path / "new")
    before = {*names, "new", ".napari-unet-0123abcd-77-0123abcd-folder"}
    gone = before - {path.name for path in tmp_path.iterdir()}
    assert gone == {".napari-unet-0123abcd-77-0123abcd-mask.nii.gz"}
