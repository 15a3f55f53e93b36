"""Giving finished files and directories their names, in one step and durably."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
from pathlib import Path

__all__ = ["exchange_directory", "file_mode_mask", "rename_new", "replace_directory", "sync"]

_AT_FDCWD = -100
_RENAME_NOREPLACE, _RENAME_EXCHANGE = 1, 2


def sync(path: Path) -> None:
    """Makes the content of a file, or the list of a directory, outlast a loss of power."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def file_mode_mask() -> int:
    """The permissions that this process takes from new files. Reading it sets it twice: there is no other way."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def rename_new(source: Path, target: Path) -> None:
    """Renames a file or directory, and replaces nothing. Raises FileExistsError when `target` is there.

    A file system without that promise renames all the same, and then replaces a file or an empty directory.
    """
    if not _rename_with(source, target, _RENAME_NOREPLACE):
        source.rename(target)


def replace_directory(source: Path, target: Path) -> None:
    """Gives `source` the name of the directory `target`, whose content is removed; one of both is always there."""
    old = exchange_directory(source, target)
    shutil.rmtree(old, ignore_errors=True)


def exchange_directory(source: Path, target: Path) -> Path:
    """Swaps two directories, in one step where the file system can, and returns where the old one is now."""
    if _rename_with(source, target, _RENAME_EXCHANGE):
        return source
    old = source.with_name(source.name + ".old")
    target.rename(old)
    try:
        source.rename(target)
    except BaseException:
        old.rename(target)
        raise
    return old


def _rename_with(source: Path, target: Path, flags: int) -> bool:
    """renameat2 of Linux; False where the C library or the file system lacks it."""
    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if call is None:
        return False
    if call(_AT_FDCWD, os.fsencode(source), _AT_FDCWD, os.fsencode(target), flags) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
        return False
    raise OSError(code, os.strerror(code), str(target))
