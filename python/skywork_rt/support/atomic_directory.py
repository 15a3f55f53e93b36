"""A directory that appears whole under its name, or not at all."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from pathlib import Path
from types import TracebackType

from skywork_rt.errors import CapacityError, InvalidArgumentError
from skywork_rt.support.publish import file_mode_mask, rename_new, replace_directory, sync

__all__ = ["AtomicDirectory"]

_SUFFIX = ".partial"


class AtomicDirectory:
    """Files are written into `path`, a temporary sibling of the final place; `publish` gives it its name.

    Leaving the context without `publish`, for whatever reason, removes everything. What a killed process left behind
    is removed when the next one writes to the same place: a living owner holds a lock on its temporary directory.
    """

    def __init__(self, final: Path, *, overwrite: bool = False) -> None:
        self._final = final.absolute()
        self._overwrite = overwrite
        self._published = False
        self._lock = -1
        self.path = Path()

    def __enter__(self) -> AtomicDirectory:
        parent = self._final.parent
        try:
            parent.mkdir(parents=True, exist_ok=True)
            self._remove_abandoned()
            self.path = Path(tempfile.mkdtemp(prefix=f".{self._final.name}.", suffix=_SUFFIX, dir=parent))
        except OSError as error:
            raise InvalidArgumentError(f"cannot write into {parent}: {error.strerror}") from error
        self._lock = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._lock >= 0:
            os.close(self._lock)
        if not self._published:
            shutil.rmtree(self.path, ignore_errors=True)

    def require_space(self, needed: int) -> None:
        """Raises CapacityError when the file system has less than `needed` bytes free."""
        free = shutil.disk_usage(self.path).free
        if free < needed:
            raise CapacityError(
                f"writing {self._final.name} needs about {_gigabytes(needed)} beside it, {_gigabytes(free)} are free"
            )

    def publish(self) -> None:
        """Makes the content durable and gives the directory its name.

        Raises InvalidArgumentError when something else took the name meanwhile and `overwrite` is not set.
        """
        for entry in self.path.rglob("*"):
            sync(entry)
        self.path.chmod(0o777 & ~file_mode_mask())
        sync(self.path)
        if self._overwrite and self._final.exists():
            replace_directory(self.path, self._final)
        else:
            self._rename()
        self._published = True
        sync(self._final.parent)

    def _rename(self) -> None:
        try:
            rename_new(self.path, self._final)
        except OSError as error:
            raise InvalidArgumentError(
                f"{self._final} appeared while it was being written; it was left alone"
            ) from error

    def _remove_abandoned(self) -> None:
        for left in self._final.parent.glob(f".{_glob_escape(self._final.name)}.*{_SUFFIX}"):
            try:
                handle = os.open(left, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            except OSError:
                continue
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(left, ignore_errors=True)
            except BlockingIOError:
                pass  # another process is at work
            finally:
                os.close(handle)


def _glob_escape(name: str) -> str:
    return "".join(f"[{c}]" if c in "*?[" else c for c in name)


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.2f} GB"
