"""`python -m skywork_rt`: the command line; `--cmakedir` prints where find_package(skywork_rt) looks."""

from __future__ import annotations

import sys
from pathlib import Path

import skywork_rt


def cmake_directory() -> Path:
    """The folder of skywork_rt-config.cmake: in the installed package, which is an installation prefix."""
    # An editable install has two places: the repository, and where the C++ parts were installed.
    folders = [Path(place).resolve() / "lib" / "cmake" / "skywork_rt" for place in skywork_rt.__path__]
    return next((folder for folder in folders if folder.is_dir()), folders[0])


def main() -> None:
    if sys.argv[1:] == ["--cmakedir"]:
        folder = cmake_directory()
        if not folder.is_dir():
            sys.exit(f"error: {folder} does not exist: this package was not installed from a wheel with the C++ parts")
        print(folder)
        return
    from skywork_rt.cli import main as cli_main

    cli_main()


if __name__ == "__main__":
    main()
