"""Runs mypy over the package and fails, too, when it has not looked at every file of both halves.

The package lies in two folders, python/skywork_rt and export/. mypy passes over a half that it does not find, and says
"Success"; so the number of files that it checked is compared with what git knows.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HALVES = ("python/skywork_rt", "export")
_CHECKED = re.compile(r"(?:no issues found in|checked) (\d+) source files?")


def package_files(root: Path) -> list[str]:
    """Modules and stubs of the package that git tracks or would track, and that are there."""
    command = ["git", "-C", str(root), "ls-files", "--cached", "--others", "--exclude-standard", "--", *HALVES]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return sorted({name for name in listed if name.endswith((".py", ".pyi")) and (root / name).is_file()})


def missed(answer: str, files: list[str]) -> str | None:
    """What to say when mypy's last line does not count as many files as there are; None when it does."""
    match = _CHECKED.search(answer)
    checked = int(match[1]) if match else 0
    if checked == len(files):
        return None
    return (
        f"mypy checked {checked} files, but {' and '.join(HALVES)} have {len(files)}. Every folder needs an "
        "__init__.py, and python/skywork_rt/export must be a link to export/."
    )


def main() -> int:
    done = subprocess.run([sys.executable, "-m", "mypy"], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    print(done.stdout, end="")
    problem = missed(done.stdout, package_files(ROOT))
    if problem:
        print(problem, file=sys.stderr)
    return done.returncode or (1 if problem else 0)


if __name__ == "__main__":
    sys.exit(main())
