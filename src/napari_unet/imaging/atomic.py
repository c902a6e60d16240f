"""Write a file completely or not at all, and in the place of another one only when told."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from napari_unet.errors import AlreadyExistsError, SaveError

PROBE_BYTES = 65_536
"""What has to fit on the disk for work to begin."""

ABANDONED_SECONDS = 24 * 3600.0
"""Age at which a temporary file has lost its writer, where nobody can ask for that."""

_CANNOT_FLUSH = frozenset(
    {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EPERM, errno.EACCES}
)
"""What systems answer that cannot flush, as of some network folders: files are written all the
same. A full or failing disk answers something else."""

_KEPT_OF_NAME = 40
"""Characters of a file's name that its temporary file ends in: suffixes, and to recognise it."""

_TEMPORARY = re.compile(r"\.napari-unet-([0-9a-f]{8})-(\d{1,9})-[0-9a-f]{8}-")
"""Beginning of a temporary name: computer, process, and what tells its files apart."""


def check_free(path: str | Path, *, overwrite: bool) -> None:
    """Refuse to replace a file without being told.

    Raises
    ------
    SaveError
        If there is one and `overwrite` is false, or no file can have that name.
    """
    _target(Path(path), overwrite=overwrite)


def check_may_write(path: str | Path, *, overwrite: bool) -> None:
    """Notice before the work, not after it, that its result could not be saved.

    For a moment there is a small file beside `path`, which shows that the folder may be
    written to and that the disk is not full.

    Raises
    ------
    SaveError
        As from `atomic_path`.
    """
    shown = Path(path)
    target = _target(shown, overwrite=overwrite)
    with _explained(shown), _temporary(target) as temporary:
        temporary.write_bytes(bytes(PROBE_BYTES))
        _flush(temporary)


def make_folder(folder: Path) -> None:
    """Make a folder, and those it lies in, where there is none.

    Raises
    ------
    SaveError
        If that is impossible.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise SaveError(
            f"Cannot make the folder {folder}: {reason}. Choose another place."
        ) from error


@contextmanager
def atomic_path(path: str | Path, *, overwrite: bool = True) -> Iterator[Path]:
    """Offer a temporary path that becomes `path` when the block succeeds.

    The temporary file lies in the same folder and ends in the same suffixes, in small
    letters (libraries choose the format by them). It is flushed to disk, where that is
    possible, before it takes the place of `path`. When the block fails, it is removed and
    `path` stays as it was. Those that killed processes have left in that folder are removed too.

    Parameters
    ----------
    path : str or Path
        Where the finished file shall be. Its folder must exist; a link is followed.
    overwrite : bool
        Whether an existing file is replaced. If not, only one of several writers that
        begin at the same time succeeds.

    Yields
    ------
    Path
        An empty file to write to.

    Raises
    ------
    AlreadyExistsError
        If there is a file, before the block or after it, and `overwrite` is false.
    SaveError
        If the operating system refuses to write: no such folder, no permission, disk full.
    """
    shown = Path(path)
    target = _target(shown, overwrite=overwrite)
    _remove_leftovers(target.parent)
    with _explained(shown), _temporary(target) as temporary:
        yield temporary
        _flush(temporary)
        if overwrite:
            _replace(temporary, target)
        else:
            try:
                _put_new(temporary, target)
            except FileExistsError as error:
                raise AlreadyExistsError(shown) from error
    with suppress(OSError):  # not every system can flush a folder
        _flush(target.parent)


@contextmanager
def path_in_utf8(path: Path, *, read: bool) -> Iterator[Path]:
    """Offer another path in place of one that is not UTF-8, which some libraries cannot take.

    SimpleITK even ends the process at such a path.

    Parameters
    ----------
    path : Path
        The file.
    read : bool
        Whether it is there to be read, rather than to be written.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError:
        with tempfile.TemporaryDirectory(prefix="napari-unet-") as folder:
            other = Path(folder, f"file{path.suffix}")
            if read:
                shutil.copyfile(path, other)
            yield other
            if not read:
                shutil.copyfile(other, path)
    else:
        yield path


def _target(shown: Path, *, overwrite: bool) -> Path:
    """Follow links to the file that is meant, and check that it may be written."""
    try:
        target = Path(os.path.realpath(shown))
    except ValueError as error:  # a null byte
        raise SaveError(f"Cannot write {shown}: no file can have that name.") from error
    if os.path.isdir(target):
        raise SaveError(f"Cannot write {shown}: it is a folder. Add a file name.")
    with _explained(shown):
        try:
            os.stat(target)
        except (FileNotFoundError, NotADirectoryError):
            return target
    if not overwrite:
        raise AlreadyExistsError(shown)
    return target


@contextmanager
def _temporary(target: Path) -> Iterator[Path]:
    """Make an empty file beside `target` for this block."""
    # Not the whole name, which may be as long as names can be, nor letters that a library
    # cannot take.
    kept = re.sub(r"[^a-z0-9._-]", "_", target.name.lower()[-_KEPT_OF_NAME:])
    mark = f"{_computer()}-{os.getpid()}-{secrets.token_hex(4)}"
    temporary = target.with_name(f".napari-unet-{mark}-{kept}")
    try:
        # Not tempfile.mkstemp: its files are readable by their owner only, and so
        # would be the result.
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        yield temporary
    finally:
        # A path below a file, or a folder that went away, must not hide the first error.
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _replace(temporary: Path, target: Path) -> None:
    if target.exists():
        with suppress(OSError):  # not every disk has permissions
            shutil.copymode(target, temporary)
    os.replace(temporary, target)


def _put_new(temporary: Path, target: Path) -> None:
    """Give a finished file its name, unless another one has it by now.

    Raises
    ------
    FileExistsError
        If so.
    """
    if os.name == "nt":
        os.rename(temporary, target)  # which replaces nothing there
        return
    try:
        os.link(temporary, target)
    except FileExistsError:
        # A network folder may have made the link and lost the answer.
        if not os.path.samefile(temporary, target):
            raise
    except OSError:
        # Some disks (FAT) know no links. Whoever makes the empty file first has the name;
        # what else may be wrong, this finds too.
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        try:
            os.replace(temporary, target)
        except BaseException:
            if os.path.exists(temporary):  # a signal may come just behind the replacing
                target.unlink()
            raise


def _remove_leftovers(folder: Path) -> None:
    """Remove the temporary files of writers that were killed."""
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            found = _TEMPORARY.match(entry.name)
            if found is not None and _is_abandoned(entry, found[1], int(found[2])):
                with suppress(OSError):
                    os.unlink(entry)


def _is_abandoned(entry: os.DirEntry[str], computer: str, process: int) -> bool:
    if not entry.is_file(follow_symlinks=False):
        return False
    found = entry.stat(follow_symlinks=False)
    if hasattr(os, "getuid") and found.st_uid != os.getuid():
        return False
    if computer == _computer():
        return not _is_alive(process)
    return time.time() - found.st_mtime > ABANDONED_SECONDS


def _is_alive(process: int) -> bool:
    if process == os.getpid():  # which Windows would send a Ctrl-C
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's
        return True
    return True


@cache
def _computer() -> str:
    """Eight digits for all processes that know each other by their numbers.

    That is a computer from start to shutdown, without what runs in containers. Where the
    system does not tell it, a process knows itself only, and never asks for others (on
    Windows asking would end them).
    """
    try:
        started = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
        known = started + os.readlink("/proc/self/ns/pid")
    except (OSError, ValueError):
        known = secrets.token_hex(16)
    return hashlib.sha256(known.encode()).hexdigest()[:8]


def _flush(path: Path) -> None:
    """Push a file's content (or a folder's entries) from the cache to the disk, if it can be."""
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _CANNOT_FLUSH:
            raise
    finally:
        os.close(descriptor)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn what the operating system refuses in this block into a sentence."""
    try:
        yield
    except OSError as error:
        raise SaveError(_explain(path, error)) from error


def _explain(path: Path, error: OSError) -> str:
    """Say in one sentence why `path` could not be written and what to do."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"Cannot write {path}: the disk is full. Free some space or choose another folder."
    if error.errno == errno.ENOENT:
        return f"Cannot write {path}: the folder {path.parent} does not exist. Create it first."
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"Cannot write {path}: no permission to write there. Choose another folder."
    if error.errno == errno.ENAMETOOLONG:
        return (
            f"Cannot write a file named {path.name[:40]}...: {len(os.fsencode(path.name))} bytes "
            "are too long for a name here. Choose a shorter one."
        )
    reason = error.strerror or str(error) or type(error).__name__
    return f"Cannot write {path}: {reason}. Choose another place."
