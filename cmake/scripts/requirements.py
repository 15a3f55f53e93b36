"""Prints what the project and the named extras need, and what building it needs, one a line: ``requirements.py test``.

The Makefile installs these first, with pip's own progress bars, so that building our own wheel is a step of its own.
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"


def main() -> None:
    description = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))
    project = description["project"]
    lines = [*description["build-system"]["requires"], *project["dependencies"]]
    for extra in sys.argv[1:]:
        lines += project["optional-dependencies"][extra]
    print("\n".join(lines))


if __name__ == "__main__":
    main()
