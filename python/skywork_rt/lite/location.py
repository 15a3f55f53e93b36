"""Where MindSpore Lite is: a user's own (`LITE_HOME`) or the one prepared in the cache."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from skywork_rt.errors import BackendUnavailableError
from skywork_rt.lite.elf import ElfError, ElfImage
from skywork_rt.lite.release import Release, release_for_this_machine
from skywork_rt.support import environment
from skywork_rt.support.cache import cache_root

__all__ = ["LiteLocation", "is_prepared", "locate", "prepared_home"]

MANIFEST = "manifest.json"
LOAD_ORDER = "load_order.txt"
MANIFEST_FORMAT = 1
_OFFICIAL_LIBRARY = "libmindspore-lite.so"


@dataclass(frozen=True)
class LiteLocation:
    """A MindSpore Lite whose needed parts are all there."""

    home: Path
    lib_dir: Path
    """Folder of the library that is linked."""
    include_dirs: tuple[Path, ...]
    """What goes on the include path, so that both `include/api/model.h` and `api/model.h` are found."""
    version: str
    """"unknown" when the tree does not say."""
    libraries: tuple[Path, ...]
    """To be loaded in this order; the last one is the one that is linked."""
    origin: str
    """"LITE_HOME" or "cache"."""

    @property
    def main_library(self) -> Path:
        """The library whose C++ API is used."""
        return self.libraries[-1]


def prepared_home(release: Release | None = None) -> Path:
    """Where the registry's Lite is prepared, whether it is there or not."""
    release = release or release_for_this_machine()
    return cache_root() / "lite" / release.directory_name


def is_prepared(home: Path) -> bool:
    """Whether `home` holds a whole preparation: a manifest, and every file of it with its size."""
    manifest = read_manifest(home)
    if manifest is None:
        return False
    files = manifest["files"]
    assert isinstance(files, dict)
    return all(_has_size(home / name, entry["size"]) for name, entry in files.items())


def read_manifest(home: Path) -> dict[str, object] | None:
    """The manifest of a preparation, or None when there is none that this version understands."""
    try:
        manifest = json.loads((home / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(manifest, dict) or manifest.get("format") != MANIFEST_FORMAT:
        return None
    return manifest if isinstance(manifest.get("files"), dict) else None


def locate() -> LiteLocation:
    """Finds MindSpore Lite without changing anything.

    Raises BackendUnavailableError that names what is missing and the command that mends it.
    """
    official = environment.LITE_HOME.value()
    if official:
        return _official_location(Path(official).absolute())
    release = release_for_this_machine()
    home = prepared_home(release)
    if not is_prepared(home):
        raise BackendUnavailableError(
            f"MindSpore Lite {release.version} is not prepared in {home}. Run 'skywork-rt lite install', "
            "or set LITE_HOME to an unpacked MindSpore Lite 2.2 or later."
        )
    return prepared_location(home, release)


def prepared_location(home: Path, release: Release) -> LiteLocation:
    """The location that a whole preparation in `home` is."""
    lib_dir = home / "lib"
    return LiteLocation(
        home=home,
        lib_dir=lib_dir,
        include_dirs=(home, home / "include"),
        version=release.version,
        libraries=tuple(lib_dir / name for name in release.libraries),
        origin="cache",
    )


def _has_size(path: Path, size: int) -> bool:
    try:
        return path.stat().st_size == size
    except OSError:
        return False


def _official_location(home: Path) -> LiteLocation:
    runtime = home / "runtime"
    library = runtime / "lib" / _OFFICIAL_LIBRARY
    header = runtime / "include" / "api" / "model.h"
    for path in (home, library, header):
        if not path.exists():
            raise BackendUnavailableError(
                f"LITE_HOME={home}: {path} does not exist. LITE_HOME must be the directory of an unpacked "
                "mindspore-lite-<version>-linux-<machine>.tar.gz (2.2 or later, the one with runtime/ and tools/); "
                "unset it to use the Lite that 'skywork-rt lite install' prepares."
            )
    return LiteLocation(
        home=home,
        lib_dir=library.parent,
        include_dirs=(runtime, runtime / "include"),
        version=_official_version(home),
        libraries=tuple(_in_load_order(library, _library_folders(home))),
        origin="LITE_HOME",
    )


def _official_version(home: Path) -> str:
    """From a version file of the tree, or from the directory's own name, as the tarball has it."""
    for candidate in (home / "version.txt", home / "runtime" / "version.txt"):
        if candidate.is_file():
            return candidate.read_text(encoding="utf-8", errors="replace").strip() or "unknown"
    match = re.search(r"mindspore-lite-(\d+(?:\.\w+)*)", home.name)
    return match[1] if match else "unknown"


def _library_folders(home: Path) -> list[Path]:
    """Folders of an official tree that hold shared libraries, the runtime's own first."""
    preferred = [home / "runtime" / "lib", home / "tools" / "converter" / "lib"]
    third_party = {path.parent for path in sorted((home / "runtime" / "third_party").rglob("*.so*"))}
    return [folder for folder in (*preferred, *sorted(third_party)) if folder.is_dir()]


def _in_load_order(library: Path, folders: list[Path]) -> Iterator[Path]:
    """`library` after everything of `folders` that it needs, directly or not."""
    visited: set[str] = set()

    def visit(path: Path) -> Iterator[Path]:
        for name in _needed(path):
            if name in visited:
                continue
            visited.add(name)
            found = next((folder / name for folder in folders if (folder / name).is_file()), None)
            if found is not None:  # the others are the system's
                yield from visit(found)
        yield path

    yield from visit(library)


def _needed(path: Path) -> list[str]:
    try:
        return ElfImage.map_file(path).needed
    except (ElfError, OSError) as error:
        raise BackendUnavailableError(f"{path} is no usable shared library: {error}") from error
