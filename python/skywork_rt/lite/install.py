"""Prepares MindSpore Lite in the cache: download, check, unpack what the CPU path needs, patch, rename into place.

Safe when several processes do it at once (one works, the others wait for it) and when one is killed halfway (what it
left has a temporary name and is removed by the next). Only the standard library is used, because a build from source
runs this before anything is installed.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

from skywork_rt.errors import BackendUnavailableError
from skywork_rt.lite.elf import ElfError, ElfImage
from skywork_rt.lite.location import (
    LOAD_ORDER,
    MANIFEST,
    MANIFEST_FORMAT,
    LiteLocation,
    is_prepared,
    locate,
    prepared_home,
    prepared_location,
    read_manifest,
)
from skywork_rt.lite.release import Release, release_for_this_machine
from skywork_rt.support import environment
from skywork_rt.support.download import DownloadError, download_wheel, sha256_of

__all__ = ["Progress", "damaged_files", "ensure", "install"]

Progress = Callable[[str, int, int], None]
"""Called with (what is being done, bytes done, bytes in all); the total is 0 where it is unknown."""

_BLOCK = 1 << 20


def ensure(progress: Progress | None = None) -> LiteLocation:
    """Finds MindSpore Lite, and prepares it first when it is missing: for builds, which need its headers.

    What runs only looks for it (`locate`). Raises BackendUnavailableError.
    """
    if environment.LITE_HOME.value():
        return locate()
    return install(progress)


def install(progress: Progress | None = None, *, force: bool = False) -> LiteLocation:
    """Prepares MindSpore Lite in the cache and returns where it is; quick when it is there already.

    The wheel comes from pip, or from the file that `SKYWORK_RT_LITE_WHEEL` names. `force` prepares it anew, for a
    preparation whose contents were damaged. Raises BackendUnavailableError that names the cause and the way out.
    """
    release = release_for_this_machine()
    home = prepared_home(release)
    if force or not is_prepared(home):
        report = progress or _no_progress
        try:
            home.parent.mkdir(parents=True, exist_ok=True)
            with _lock(home.parent / f".{home.name}.lock", report):
                if force or not is_prepared(home):  # another process may have done it meanwhile
                    _prepare(home, release, report)
        except OSError as error:
            raise BackendUnavailableError(
                f"MindSpore Lite could not be prepared in {home}: {error}. It needs 500 MB there for a moment "
                "and 310 MB for good; SKYWORK_RT_CACHE names another place."
            ) from error
    return prepared_location(home, release)


def damaged_files(home: Path) -> list[str]:
    """Names of the files of a preparation whose SHA-256 is not the manifest's (all of them are read)."""
    manifest = read_manifest(home)
    if manifest is None:
        return [MANIFEST]
    files = manifest["files"]
    assert isinstance(files, dict)
    return [
        name
        for name, entry in files.items()
        if not (home / name).is_file() or sha256_of(home / name) != entry.get("sha256")
    ]


def _no_progress(_what: str, _done: int, _total: int) -> None:
    pass


@contextlib.contextmanager
def _lock(path: Path, progress: Progress) -> Iterator[None]:
    """Holds an advisory lock that the kernel frees with the process, however it ends."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress("waiting for another process that prepares MindSpore Lite", 0, 0)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _prepare(home: Path, release: Release, progress: Progress) -> None:
    _remove_leftovers(home)
    work = home.with_name(f"{home.name}.partial-{os.getpid()}")
    work.mkdir()
    try:
        wheel = _obtain_wheel(work, release, progress)
        tree = work / "tree"
        _unpack(wheel, tree, release, progress)
        _patch(tree, release, progress)
        _write_manifest(tree, release, progress)
        _replace(tree, home, work)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _remove_leftovers(home: Path) -> None:
    """What killed processes left; nobody else is at work, since the lock is ours."""
    for leftover in home.parent.glob(f"{home.name}.partial-*"):
        shutil.rmtree(leftover, ignore_errors=True)


def _replace(tree: Path, home: Path, work: Path) -> None:
    """Gives the finished tree its name. A damaged one that has it goes aside first: processes may have it mapped."""
    if home.exists():
        home.rename(work / "replaced")
    tree.rename(home)


def _obtain_wheel(work: Path, release: Release, progress: Progress) -> Path:
    given = environment.LITE_WHEEL.value()
    if given:
        wheel = Path(given).absolute()
        if not wheel.is_file():
            raise BackendUnavailableError(f"SKYWORK_RT_LITE_WHEEL={given}: there is no such file.")
        origin = f"SKYWORK_RT_LITE_WHEEL={given}"
    else:
        try:
            wheel = download_wheel(release.wheel, work, progress)
        except DownloadError as error:
            raise BackendUnavailableError(f"{error}\n{_way_out(release)}") from error
        origin = "the wheel that pip fetched"
    _check_wheel(wheel, origin, release, progress)
    return wheel


def _check_wheel(wheel: Path, origin: str, release: Release, progress: Progress) -> None:
    size = wheel.stat().st_size
    if size != release.wheel_bytes:
        raise BackendUnavailableError(
            f"{origin} has {size} bytes; {release.requirement} for {release.platform_tag} has {release.wheel_bytes}. "
            "It is incomplete or another file; nothing was installed."
        )
    digest = sha256_of(wheel, lambda done: progress("checking the wheel", done, size))
    if digest != release.wheel_sha256:
        raise BackendUnavailableError(
            f"{origin} has SHA-256 {digest}; {release.requirement} for {release.platform_tag} has "
            f"{release.wheel_sha256}. It was altered or damaged; nothing was installed."
        )


def _unpack(wheel: Path, tree: Path, release: Release, progress: Progress) -> None:
    with zipfile.ZipFile(wheel) as archive:
        targets = dict(_targets(archive.namelist(), release))
        total = sum(archive.getinfo(name).file_size for name in targets)
        done = 0
        for name, target in targets.items():
            path = tree / target
            path.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(name) as source, path.open("wb") as sink:
                while block := source.read(_BLOCK):
                    sink.write(block)
                    done += len(block)
                    progress("unpacking", done, total)


def _targets(names: list[str], release: Release) -> Iterator[tuple[str, str]]:
    """Members of the wheel that are kept, and their places in the tree."""
    present = set(names)
    for library in (*release.libraries, *release.companions):
        member = f"{release.package}/lib/{release.original_name(library)}"
        if member not in present:
            raise BackendUnavailableError(f"The wheel of {release.requirement} has no {member}.")
        yield member, f"lib/{library}"
    prefix = f"{release.package}/include/"
    for name in names:
        if name.startswith(prefix) and name.endswith(".h"):
            yield name, f"include/{name.removeprefix(prefix)}"


def _patch(tree: Path, release: Release, progress: Progress) -> None:
    libraries = (*release.libraries, *release.companions)
    for index, library in enumerate(libraries):
        progress("patching", index, len(libraries))
        try:
            image = ElfImage.map_file(tree / "lib" / library, writable=True)
            image.rename_libraries(release.renamed)
            image.weaken_unique_symbols(release.weakened)
            for name, other in release.redirected.get(library, {}).items():
                image.redirect_import(name, other)
        except ElfError as error:
            raise BackendUnavailableError(f"A library of {release.requirement} cannot be patched: {error}") from error
        if image.soname != library:
            raise BackendUnavailableError(f"{library} of {release.requirement} calls itself {image.soname}.")
    progress("patching", len(libraries), len(libraries))
    # For programs without Python. The companions too: Lite resets its log when it opens them in the midst of its work.
    (tree / "lib" / LOAD_ORDER).write_text("".join(f"{name}\n" for name in libraries), encoding="utf-8")


def _write_manifest(tree: Path, release: Release, progress: Progress) -> None:
    paths = sorted(path for path in tree.rglob("*") if path.is_file())
    total, done = sum(path.stat().st_size for path in paths), 0
    files = {}
    for path in paths:
        size = path.stat().st_size
        files[str(path.relative_to(tree))] = {"size": size, "sha256": sha256_of(path)}
        done += size
        progress("writing the manifest", done, total)
    manifest = {
        "format": MANIFEST_FORMAT,
        "version": release.version,
        "patch": release.patch,
        "wheel_sha256": release.wheel_sha256,
        "files": files,
    }
    (tree / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")


def _way_out(release: Release) -> str:
    return (
        "Check the network and pip's settings, or download the wheel elsewhere "
        f"('pip download {' '.join(release.wheel.pip_options)} {release.requirement}') and name it in "
        "SKYWORK_RT_LITE_WHEEL, or set LITE_HOME to an unpacked MindSpore Lite."
    )
