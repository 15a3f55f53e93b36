"""What of Ascend is on this machine: cards, driver and CANN toolkit, as far as files and variables tell.

Nothing is loaded; `npu-smi` is asked, for a few seconds at most, where there is a card.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from skywork_rt.support import environment

__all__ = ["AscendFindings", "look_for_ascend"]

_LIBRARIES = ("libascendcl.so", "libge_runner.so")
_BELOW_HOME = ("lib64", "runtime/lib64", "compiler/lib64", "fwkacllib/lib64")
_TOOLKIT, _DRIVER = "usr/local/Ascend/ascend-toolkit/latest", "usr/local/Ascend/driver"
_PATIENCE_SECONDS = 5
_LARGEST_FILE = 1 << 16


@dataclass
class AscendFindings:
    """One line of what is there, and what to do where something is but not all of it. No card is no fault."""

    summary: str
    advice: list[str] = field(default_factory=list)


def look_for_ascend(root: Path = Path("/"), variables: Mapping[str, str] | None = None) -> AscendFindings:
    """Looks below `root` with the environment `variables` (None: the process's)."""
    if variables is None:
        read = (environment.ASCEND_HOME, environment.LIBRARY_PATH, environment.LITE_HOME)
        variables = {variable.name: variable.value() or "" for variable in read}
    cards = sorted(path.name for path in (root / "dev").glob("davinci[0-9]*"))
    home = Path(variables.get(environment.ASCEND_HOME.name) or root / _TOOLKIT)
    driver = _version(root / _DRIVER / "version.info")
    toolkit = _toolkit_version(home)
    if not (cards or driver or toolkit):
        return AscendFindings("no card, no driver, no CANN: the backend ascend is not for this machine")
    parts = [
        f"{len(cards)} cards ({', '.join(cards)})" if cards else "no card",
        f"driver {driver}" if driver else "no driver",
        f"CANN {toolkit} in {home}" if toolkit else "no CANN",
        *_asked_npu_smi(bool(cards)),
    ]
    return AscendFindings("; ".join(parts), _advice(bool(cards), driver, toolkit, home, variables))


def _advice(
    cards: bool, driver: str | None, toolkit: str | None, home: Path, variables: Mapping[str, str]
) -> list[str]:
    advice = []
    if not cards:
        advice.append("ascend: no device davinci0: install the driver, or start the container with its devices")
    elif not driver:
        advice.append("ascend: there are cards, but no driver of theirs: mount its folder into the container")
    if not toolkit:
        advice.append("ascend: install the CANN toolkit of the driver's release, and run 'source set_env.sh' of it")
        return advice
    missing = [name for name in _LIBRARIES if not _in_loader_path(name, variables)]
    if missing:
        advice.append(
            f"ascend: LD_LIBRARY_PATH does not lead to {' and '.join(missing)} of CANN: run "
            f"'source {home}/../set_env.sh' in the shell that starts the program"
        )
    if not variables.get(environment.LITE_HOME.name):
        advice.append(
            "ascend: set LITE_HOME to an unpacked MindSpore Lite for Ascend, 2.2 or later: the prepared one has no ge"
        )
    return advice


def _in_loader_path(library: str, variables: Mapping[str, str]) -> bool:
    folders = filter(None, variables.get(environment.LIBRARY_PATH.name, "").split(":"))
    return any((Path(folder) / library).exists() for folder in folders)


def _toolkit_version(home: Path) -> str | None:
    """Of version.cfg or an install.info; "of an unknown version" where only the libraries are."""
    for file in (home / "version.cfg", *sorted(home.glob("*/ascend_toolkit_install.info"))):
        version = _version(file)
        if version:
            return version
    has_library = any((home / folder / _LIBRARIES[0]).exists() for folder in _BELOW_HOME)
    return "of an unknown version" if has_library else None


def _version(file: Path) -> str | None:
    try:
        with file.open(encoding="utf-8", errors="replace") as text:
            body = text.read(_LARGEST_FILE)
    except OSError:
        return None
    match = re.search(r"(?mi)^\s*(?:package_)?version\s*=\s*([^\s\]]+)", body) or re.search(
        r"\[?(\d+\.\d+[\w.]*)", body
    )
    return match[1] if match else None


def _asked_npu_smi(cards: bool) -> list[str]:
    program = shutil.which("npu-smi")
    if program is None:
        return ["no npu-smi"] if cards else []
    try:
        said = subprocess.run(
            [program, "info"], capture_output=True, text=True, errors="replace", timeout=_PATIENCE_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return [f"npu-smi does not answer ({type(error).__name__})"]
    if said.returncode != 0:
        return [f"npu-smi fails with status {said.returncode}"]
    version = re.search(r"npu-smi\s+(\S+)", said.stdout)
    return [f"npu-smi {version[1]}" if version else "npu-smi answers"]
