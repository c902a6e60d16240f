"""Write a file completely or not at all."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from napari_unet.errors import SaveError


def check_may_write(path: Path, *, overwrite: bool) -> None:
    """Refuse to replace a file without being told.

    Raises
    ------
    SaveError
        If there is one and `overwrite` is false.
    """
    if not overwrite and path.exists() and not path.is_dir():
        raise SaveError(f"{path} exists already. Choose another name, or allow overwriting.")


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Offer a temporary path that becomes `path` when the block succeeds.

    The temporary file lies in the same folder and ends in the same suffixes, in small
    letters (libraries choose the format by them). It is flushed to disk before it takes
    the place of `path`. When the block fails, it is removed and `path` stays as
    it was.

    Parameters
    ----------
    path : str or Path
        Where the finished file shall be. Its folder must exist; a link is followed.

    Yields
    ------
    Path
        An empty file to write to.

    Raises
    ------
    SaveError
        If the operating system refuses to write: no such folder, no permission, disk full.
    """
    shown = Path(path)
    target = Path(os.path.realpath(shown))
    if target.is_dir():
        raise SaveError(f"Cannot write {shown}: it is a folder. Add a file name.")
    temporary = target.with_name(f".{secrets.token_hex(4)}-{target.name.lower()}")
    try:
        # Not tempfile.mkstemp: its files are readable by their owner only, and so
        # would be the result.
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        yield temporary
        _flush(temporary)
        if target.exists():
            shutil.copymode(target, temporary)
        os.replace(temporary, target)
    except OSError as error:
        raise SaveError(_explain(shown, error)) from error
    finally:
        # A path below a file, or a folder that went away, must not hide the first error.
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
    with suppress(OSError):  # not every system can flush a folder
        _flush(target.parent)


def _flush(path: Path) -> None:
    """Push a file's content (or a folder's entries) from the cache to the disk."""
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _explain(path: Path, error: OSError) -> str:
    """Say in one sentence why `path` could not be written and what to do."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"Cannot write {path}: the disk is full. Free some space or choose another folder."
    if error.errno == errno.ENOENT:
        return f"Cannot write {path}: the folder {path.parent} does not exist. Create it first."
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"Cannot write {path}: no permission to write there. Choose another folder."
    reason = error.strerror or str(error) or type(error).__name__
    return f"Cannot write {path}: {reason}. Choose another place."
