"""OUT.partial: the tensors of an output that are written, which a second run finds and verifies."""

from __future__ import annotations

import binascii
import contextlib
import fcntl
import json
import logging
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from skywork_rt.checkpoints.tensors.ckpt_file import CRC_MARK
from skywork_rt.convert.plan import Plan, PlannedFile, Unit
from skywork_rt.errors import BusyError, CapacityError, InternalError, InvalidArgumentError
from skywork_rt.support.publish import file_mode_mask, rename_new, replace_directory, sync
from skywork_rt.support.stages import Progress

__all__ = ["Checksums", "PartialOutput", "drop_published"]

_log = logging.getLogger("skywork_rt.convert")

_PROGRESS = ".progress"
_PUBLISHED = "published"
_BLOCK = 1 << 22
_SPARE_BYTES = 16 << 20


@dataclass(frozen=True)
class Checksums:
    """CRC-32 of a tensor's part of its file, and of its content alone."""

    part: int
    content: int


def drop_published(out: Path) -> None:
    """Removes `out`.partial when it is of a run that was killed after it had given `out` its name."""
    left = PartialOutput(out)
    if not left.published():
        return
    try:
        with left:
            if left.published():
                left.remove()
                _log.warning("%s was finished by a run that was interrupted; what it left beside is removed", out)
    except BusyError:
        return  # its owner is about to do so


class PartialOutput:
    """The directory beside an output in which it is made; `publish` gives the output its name.

    `root` is where the files of the plan are made: a folder in the directory with the name of the output when that is
    a directory, else the directory itself. So what takes the final name has nothing but the output in it, and the
    journals stay until it has its name.

    What leaves the context without `publish` stays there for the next run: files of the final size in which the
    tensors listed in the journals are whole. `open` removes what belongs to another source or other options. A living
    owner holds a lock.
    """

    def __init__(self, out: Path, *, directory: bool = False) -> None:
        self._out = out.absolute()
        self.path = self._out.with_name(self._out.name + ".partial")
        self.root = self.path / self._out.name if directory else self.path
        self.lock = -1

    def __enter__(self) -> PartialOutput:
        if self.path.is_symlink():
            raise InvalidArgumentError(f"{self.path} is a symbolic link; move it away, or choose another name")
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self.lock = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise InvalidArgumentError(f"cannot write {self.path}: {error.strerror}") from error
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self.lock)
            raise BusyError(f"another process is writing {self.path}; wait for its end") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):
            self.path.rmdir()  # an error before the first file leaves nothing
        os.close(self.lock)
        if kind is not None and issubclass(kind, KeyboardInterrupt | CapacityError) and self._progress.exists():
            _log.warning("%s keeps what is written; the same command goes on from there", self.path)

    @property
    def _progress(self) -> Path:
        return self.path / _PROGRESS

    def journal(self, number: int) -> Path:
        """The file in which writer `number` notes finished tensors."""
        return self._progress / f"journal-{number}.jsonl"

    def open(self, plan: Plan, progress: Progress) -> dict[Unit, Checksums]:
        """Prepares the directory for `plan` and returns the tensors that are there, verified byte for byte."""
        fingerprint = plan.fingerprint()
        stated = self._progress / "plan"
        if stated.exists() and stated.read_text(encoding="ascii") == fingerprint:
            found = self._verified(plan, progress)
        else:
            self._clear()
            found = {}
            self._progress.mkdir()
            stated.write_text(fingerprint, encoding="ascii")
        self._prune(plan)
        self._compact(found)
        self._require_space(plan.total() - sum(map(plan.size, found)))
        for file in plan.files:
            self._prepare(file)
        return found

    def _clear(self) -> None:
        entries = list(self.path.iterdir())
        if entries and not self._progress.exists():
            raise InvalidArgumentError(
                f"{self.path} has files that are not of an interrupted run; move it away, or choose another name"
            )
        if entries:
            _log.warning("%s is of another source or other options: starting anew", self.path.name)
        for entry in entries:
            _delete(entry)

    def _prune(self, plan: Plan) -> None:
        """Removes what is not of the plan: small files are written anew, and an output that was exchanged is old."""
        if self.root == self.path or not self.root.is_dir():
            return
        planned = [self.root / file.path for file in plan.files]
        kept = {*planned, *(folder for path in planned for folder in path.parents)}
        for current, folders, files in os.walk(self.root):
            for name in [*folders, *files]:
                if Path(current, name) not in kept:
                    _delete(Path(current, name))
            folders[:] = [name for name in folders if Path(current, name) in kept]

    def _prepare(self, file: PlannedFile) -> None:
        path = self.root / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("r+b" if path.exists() else "w+b") as opened:
            opened.write(file.layout.head)

    def _require_space(self, needed: int) -> None:
        free = shutil.disk_usage(self.path).free
        if free < needed + _SPARE_BYTES:
            raise CapacityError(
                f"{self.path.parent} has {free / 1e9:.2f} GB free, {needed / 1e9:.2f} GB are still to be written"
            )

    def entries(self) -> dict[Unit, Checksums]:
        """What the journals note, of all writers; a line that was cut off when its writer died is left out."""
        found: dict[Unit, Checksums] = {}
        for journal in sorted(self._progress.glob("journal-*.jsonl")):
            for line in journal.read_text(encoding="ascii", errors="replace").splitlines():
                try:
                    number, index, part, content = map(int, json.loads(line))
                except (ValueError, TypeError):
                    continue
                found[number, index] = Checksums(part, content)
        return found

    def _verified(self, plan: Plan, progress: Progress) -> dict[Unit, Checksums]:
        noted, units = self.entries(), set(plan.units())
        total, done = sum(plan.size(unit) for unit in noted if unit in units), 0
        found: dict[Unit, Checksums] = {}
        for unit, checksums in sorted(noted.items()):
            if unit not in units:
                continue
            if self._checksum(plan.files[unit[0]], unit[1]) == checksums.part:
                found[unit] = checksums
            done += plan.size(unit)
            progress("verify", done, total)
        return found

    def _checksum(self, file: PlannedFile, index: int) -> int | None:
        start, stop = file.layout.spans[index]
        try:
            with (self.root / file.path).open("rb") as opened:
                return _crc(_blocks(opened.fileno(), start, stop))
        except OSError:
            return None

    def _compact(self, found: dict[Unit, Checksums]) -> None:
        """One journal of what was verified, so that nothing doubtful is read again."""
        fresh = self._progress / "verified"
        fresh.write_text("".join(journal_line(unit, sums) for unit, sums in found.items()), encoding="ascii")
        for journal in self._progress.glob("journal-*.jsonl"):
            if journal != self.journal(0):
                journal.unlink()
        fresh.replace(self.journal(0))

    def finish(self, plan: Plan, progress: Progress) -> None:
        """Writes what stands behind the tensors and makes all files durable. Every tensor must be there."""
        entries = self.entries()
        missing = [unit for unit in plan.units() if unit not in entries]
        if missing:
            raise InternalError(f"{len(missing)} tensors were not written")
        for number, file in enumerate(plan.files):
            checksums = [entries[number, index].content for index in range(len(file.tensors))]
            end = max((stop for _, stop in file.layout.spans), default=len(file.layout.head))
            path = self.root / file.path
            with path.open("r+b") as opened:
                tail = file.layout.tail(checksums)
                os.pwrite(opened.fileno(), tail, end)
                end += len(tail)
                if file.crc:
                    found = _crc(_blocks(opened.fileno(), 0, end))
                    mark = CRC_MARK + found.to_bytes(10, "big")
                    os.pwrite(opened.fileno(), mark, end)
                    end += len(mark)
                opened.truncate(end)
            sync(path)
        progress("finish", 1, 1)

    def publish_file(self, name: str, *, overwrite: bool) -> None:
        """Gives the only file of the output its name."""
        made = self.path / name
        made.chmod(0o666 & ~file_mode_mask())
        self._note_published(made)
        if overwrite:
            made.replace(self._out)
        else:
            self._renamed(made)
        sync(self._out.parent)
        self.remove()

    def publish_directory(self, *, overwrite: bool) -> None:
        """Gives the directory its name."""
        for current, _, files in os.walk(self.root):
            for name in files:
                sync(Path(current) / name)
            sync(Path(current))
        self._note_published(self.root)
        if overwrite and self._out.is_dir():
            replace_directory(self.root, self._out)
        else:
            self._renamed(self.root)
        sync(self._out.parent)
        self.remove()

    def _note_published(self, made: Path) -> None:
        """Notes what takes the final name next, by which a later run knows whether it did."""
        note = self._progress / _PUBLISHED
        note.write_text(_identity(made), encoding="ascii")
        sync(note)

    def published(self) -> bool:
        """Whether what has the final name was made in this directory."""
        try:
            return (self._progress / _PUBLISHED).read_text(encoding="ascii") == _identity(self._out)
        except (OSError, ValueError):
            return False

    def remove(self) -> None:
        """Removes the directory, the journals last: without them it would be somebody else's."""
        with contextlib.suppress(OSError):  # the output has its name; what cannot be removed is no failure of it
            for entry in self.path.iterdir():
                if entry != self._progress:
                    _delete(entry)
            shutil.rmtree(self._progress)
            self.path.rmdir()

    def _renamed(self, made: Path) -> None:
        try:
            rename_new(made, self._out)
        except OSError as error:
            raise InvalidArgumentError(f"{self._out} appeared meanwhile; it was left alone") from error


def journal_line(unit: Unit, checksums: Checksums) -> str:
    """What a journal says of a tensor that is whole in its file."""
    return json.dumps([*unit, checksums.part, checksums.content]) + "\n"


def _delete(entry: Path) -> None:
    if entry.is_dir() and not entry.is_symlink():
        shutil.rmtree(entry)
    else:
        entry.unlink()


def _identity(path: Path) -> str:
    """What a rename does not change and another file does not have."""
    found = path.lstat()
    return f"{found.st_dev} {found.st_ino}"


def _blocks(handle: int, start: int, stop: int) -> Iterator[bytes]:
    while start < stop:
        block = os.pread(handle, min(_BLOCK, stop - start), start)
        if not block:
            return
        start += len(block)
        yield block


def _crc(blocks: Iterator[bytes]) -> int:
    value = 0
    for block in blocks:
        value = binascii.crc32(block, value)
    return value
