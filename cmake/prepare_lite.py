"""Prints, as JSON, where MindSpore Lite is for a build; prepares it in the cache first when it is missing.

Runs before anything of this project is installed: the package's own `__init__`, which needs the compiled module, is
stepped over.
"""

from __future__ import annotations

import json
import sys
import time
import types
from pathlib import Path


def _import_lite(source: Path) -> types.ModuleType:
    package = types.ModuleType("skywork_rt")
    package.__path__ = [str(source / "python" / "skywork_rt")]
    sys.modules["skywork_rt"] = package
    import skywork_rt.lite

    return skywork_rt.lite


class _Progress:
    """A line on standard error every few seconds and at every new stage: build logs are no terminals."""

    def __init__(self) -> None:
        self._stage = ""
        self._next = 0.0

    def __call__(self, stage: str, done: int, total: int) -> None:
        now = time.monotonic()
        if stage == self._stage and now < self._next:
            return
        self._stage, self._next = stage, now + 5.0
        share = f" {100 * done // total} %" if total else ""
        print(f"-- MindSpore Lite: {stage}{share}", file=sys.stderr, flush=True)


def main() -> int:
    lite = _import_lite(Path(__file__).resolve().parent.parent)
    from skywork_rt.errors import SkyworkError

    try:
        location = lite.ensure(_Progress())
    except SkyworkError as error:
        print(error, file=sys.stderr)
        return 1
    answer = {
        "library": str(location.main_library),
        "lib_dir": str(location.lib_dir),
        "include_dirs": ";".join(str(path) for path in location.include_dirs),
        "library_dirs": ";".join(dict.fromkeys(str(path.parent) for path in location.libraries)),
        "version": location.version,
        "origin": location.origin,
        "release": location.home.name if location.origin == "cache" else "",
    }
    print(json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main())
