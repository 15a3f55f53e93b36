"""The small C++ programs that run Lite's converter and Lite itself, and the environment that they need.

They are built with the Lite backend (csrc/backend/lite/tools). `SKYWORK_RT_LITE_TOOLS` names another folder than the
installed package's own.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import skywork_rt
from skywork_rt.errors import BackendUnavailableError
from skywork_rt.support import environment

if TYPE_CHECKING:
    from skywork_rt.lite import LiteLocation

__all__ = ["LiteTools", "find_tools", "require_programs"]

_LITE_ERRORS_ONLY = "3"


@dataclass(frozen=True)
class LiteTools:
    """Paths of the programs and the environment to start them with."""

    convert: Path
    run: Path
    env: dict[str, str]


def find_tools() -> LiteTools:
    """Finds the programs and Lite's libraries.

    Raises BackendUnavailableError that names what is missing and the command that mends it.
    """
    from skywork_rt import lite

    folder = _folder()
    return LiteTools(_program(folder, "convert"), _program(folder, "run"), _environment(lite.locate()))


def require_programs() -> None:
    """Raises BackendUnavailableError, which names the way out, where a program or Lite itself is missing."""
    from skywork_rt import lite

    for name in ("convert", "run"):
        _program(_folder(), name)
    lite.locate()


def _folder() -> Path:
    override = environment.LITE_TOOLS.value()
    return Path(override).absolute() if override else Path(skywork_rt.__path__[0]) / "bin"


def _program(folder: Path, name: str) -> Path:
    path = folder / f"skywork_rt_lite_{name}"
    if not os.access(path, os.X_OK):
        raise BackendUnavailableError(
            f"{path} does not exist: this skywork_rt was built without its Lite backend "
            f"(SKYWORK_RT_LITE=OFF), or {environment.LITE_TOOLS.name} names the wrong folder"
        )
    return path


def _environment(location: LiteLocation) -> dict[str, str]:
    """This process's environment, with every folder that holds a library of Lite's."""
    folders = [path.parent for path in location.libraries]
    folders.append(location.home / "tools" / "converter" / "lib")  # of an official tarball
    known = [str(folder) for folder in dict.fromkeys(folders) if folder.is_dir()]
    inherited = os.environ.get("LD_LIBRARY_PATH")
    search = os.pathsep.join([*known, inherited] if inherited else known)
    return {**os.environ, "LD_LIBRARY_PATH": search, "GLOG_v": _LITE_ERRORS_ONLY}
