"""The ways in which the package leaves its repository: a wheel, a source distribution, an editable install.

`export/` lies at the top of the repository and is a part of the package `skywork_rt`: each way has to bring it along.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from installation import REPOSITORY, checked

pytestmark = pytest.mark.slow

#: The package's files: its modules, and those of the server's page.
ENDINGS = (".py", ".pyi", "py.typed", ".html", ".js", ".css", ".svg")

#: What pip is told where the C++ parts are of no interest: they are built once, for the wheel.
PYTHON_ONLY = ("--no-build-isolation", "--no-deps", "--config-settings=wheel.cmake=false")


def tracked(*folders: str) -> set[str]:
    """Files that git tracks below some folders of the repository."""
    return set(checked(["git", "-C", REPOSITORY, "ls-files", *folders]).split())


def package_files() -> set[str]:
    """Every such file of both halves of the package, by its path in an installation."""
    files = {path for path in tracked("python", "export") if path.endswith(ENDINGS)}
    inside = {f"skywork_rt/{path}" for path in files if path.startswith("export/")}
    return inside | {path.removeprefix("python/") for path in files if path.startswith("python/")}


def in_wheel(wheel: Path) -> set[str]:
    return {name for name in zipfile.ZipFile(wheel).namelist() if name.endswith(ENDINGS)}


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source distribution of this checkout."""
    folder = tmp_path_factory.mktemp("sdist")
    program = f"from scikit_build_core.build import build_sdist; build_sdist({str(folder)!r})"
    checked([sys.executable, "-c", program], cwd=REPOSITORY)
    (built,) = folder.glob("*.tar.gz")
    return built


def test_the_wheel_holds_every_file_of_the_package(wheel: Path) -> None:
    assert in_wheel(wheel) == package_files()


def test_the_source_distribution_holds_every_source(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    wanted = tracked("csrc", "cmake", "export", "CMakeLists.txt", "pyproject.toml", "README.md", "LICENSE", "NOTICE")
    assert wanted - held == set()
    assert {path for path in tracked("python") if not (REPOSITORY / path).is_symlink()} - held == set()


def test_a_wheel_made_of_the_source_distribution_holds_every_file_of_the_package(sdist: Path, tmp_path: Path) -> None:
    checked([sys.executable, "-m", "pip", "wheel", *PYTHON_ONLY, "-w", tmp_path, sdist])
    (wheel,) = tmp_path.glob("*.whl")
    assert in_wheel(wheel) == package_files()


def test_an_editable_install_finds_both_halves_in_the_repository(tmp_path: Path) -> None:
    environment = tmp_path / "venv"
    checked([sys.executable, "-m", "venv", "--system-site-packages", environment])
    # The build's own tools and numpy come from the environment that runs the tests.
    (environment / "lib" / f"python3.{sys.version_info.minor}" / "site-packages" / "tests.pth").write_text(
        "\n".join(path for path in sys.path if path.endswith("site-packages"))
    )
    python = environment / "bin" / "python"
    checked([python, "-m", "pip", "install", *PYTHON_ONLY, "-e", REPOSITORY])
    program = "import skywork_rt.errors, skywork_rt.export as e; print(skywork_rt.errors.__file__, e.__file__)"
    done = subprocess.run([python, "-c", program], capture_output=True, text=True, check=True, cwd=tmp_path)
    errors, export = map(Path, done.stdout.split())
    assert errors == REPOSITORY / "python" / "skywork_rt" / "errors.py"
    assert export.resolve() == REPOSITORY / "export" / "__init__.py"
