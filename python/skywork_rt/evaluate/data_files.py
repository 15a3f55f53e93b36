"""The files of a task as they were downloaded: a directory, or a .zip or .tar archive, which is read where it lies."""

from __future__ import annotations

import os
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Protocol

from skywork_rt.errors import InvalidArgumentError

__all__ = ["DataFiles", "open_data"]

_LARGEST_FILE = 256 << 20
_DEPTH = 4  # folders below the given one that are looked through
_ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
_DAMAGE = (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError)


class DataFiles(Protocol):
    """Files by their names below a root, with / between folders."""

    def names(self) -> Sequence[str]: ...

    def read(self, name: str) -> bytes:
        """The content. Raises InvalidArgumentError when it cannot be read or is far too large."""
        ...

    def where(self, name: str) -> str:
        """How messages name a file."""
        ...


class _Directory:
    def __init__(self, root: Path) -> None:
        self._root = root

    def names(self) -> Sequence[str]:
        found = []
        for folder, folders, files in os.walk(self._root):
            depth = len(Path(folder).relative_to(self._root).parts)
            folders[:] = sorted(name for name in folders if not name.startswith(".")) if depth < _DEPTH else []
            found += [(Path(folder) / name).relative_to(self._root).as_posix() for name in sorted(files)]
        return found

    def read(self, name: str) -> bytes:
        path = self._root / name
        try:
            _check_size(str(path), path.stat().st_size)
            return path.read_bytes()
        except OSError as error:
            raise InvalidArgumentError(f"{path} cannot be read: {error.strerror}") from error

    def where(self, name: str) -> str:
        return str(self._root / name)


class _Archive:
    """Either kind: sizes by name, and a function that opens a member."""

    def __init__(self, path: Path, sizes: dict[str, int], open_member: Callable[[str], IO[bytes]]) -> None:
        self._path = path
        self._sizes = sizes
        self._open = open_member
        for name in sizes:
            parts = PurePosixPath(name.replace("\\", "/"))
            if parts.is_absolute() or ".." in parts.parts:
                raise InvalidArgumentError(
                    f"{path} holds {name!r}, a name that leads out of the archive: do not use it"
                )

    def names(self) -> Sequence[str]:
        return list(self._sizes)

    def read(self, name: str) -> bytes:
        _check_size(self.where(name), self._sizes[name])
        with _told(self._path), self._open(name) as member:
            data = member.read(_LARGEST_FILE + 1)
        _check_size(self.where(name), len(data))
        return data

    def where(self, name: str) -> str:
        return f"{self._path}:{name}"


def open_data(path: Path, wanted: Callable[[str], bool]) -> DataFiles:
    """What lies at `path`. A directory without a file that is `wanted` but with one archive means that archive.

    Raises InvalidArgumentError when there is nothing, or it is no archive, is damaged or holds names that lead out.
    """
    if not path.exists():
        raise InvalidArgumentError(f"{path} does not exist; give the data's directory or archive as it was downloaded")
    if path.is_file():
        return _open_archive(path)
    directory = _Directory(path)
    if any(wanted(name) for name in directory.names()):
        return directory
    archives = [name for name in directory.names() if name.lower().endswith(_ARCHIVES)]
    return _open_archive(path / archives[0]) if len(archives) == 1 else directory


def _open_archive(path: Path) -> DataFiles:
    with _told(path):
        if zipfile.is_zipfile(path):
            archive = zipfile.ZipFile(path)
            sizes = {entry.filename: entry.file_size for entry in archive.infolist() if not entry.is_dir()}
            return _Archive(path, sizes, archive.open)
        if tarfile.is_tarfile(path):
            tar = tarfile.open(path)  # noqa: SIM115  # open as long as the evaluation reads it
            members = {member.name.removeprefix("./"): member for member in tar.getmembers() if member.isfile()}
            return _Archive(path, {name: member.size for name, member in members.items()}, _opener(tar, members))
    raise InvalidArgumentError(f"{path} is neither a directory nor a .zip or .tar archive, or its download is damaged")


def _opener(tar: tarfile.TarFile, members: dict[str, tarfile.TarInfo]) -> Callable[[str], IO[bytes]]:
    def open_member(name: str) -> IO[bytes]:
        file = tar.extractfile(members[name])
        assert file is not None, "only regular files are listed"
        return file

    return open_member


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except InvalidArgumentError:
        raise
    except _DAMAGE as error:
        raise InvalidArgumentError(f"{path} cannot be read as an archive: {error}; download it again") from error


def _check_size(where: str, size: int) -> None:
    if size > _LARGEST_FILE:
        raise InvalidArgumentError(f"{where} has over {_LARGEST_FILE >> 20} MB, which no file of questions has")
