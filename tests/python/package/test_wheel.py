from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest
from installation import REPOSITORY, Installed, checked, tool

pytestmark = pytest.mark.slow

PROMPT = ["7", "21", "3"]
GENERATE = """
import sys, skywork_rt
with skywork_rt.Generator(sys.argv[1], backend=sys.argv[2]) as generator:
    ids = [int(text) for text in sys.argv[3:]]
    print(*generator.generate(ids, temperature=0, max_tokens=20).token_ids)
"""


def test_the_wheel_holds_the_library_its_headers_and_its_types_but_no_lite(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        size = sum(entry.file_size for entry in archive.infolist())
    for wanted in (
        "skywork_rt/py.typed",
        "skywork_rt/_core/__init__.pyi",
        "skywork_rt/lib/libskywork_rt.so",
        "skywork_rt/include/skywork_rt/generator.h",
        "skywork_rt/lib/cmake/skywork_rt/skywork_rt-config.cmake",
        "skywork_rt/bench/recipe.py",
    ):
        assert wanted in names
    assert any(name.startswith("skywork_rt/_core.") and name.endswith(".so") for name in names)
    theirs = ("libmindspore", "libmslite", "libdnnl", "libopencv", "libmsplugin", "libruntime_convert")
    assert [name for name in names if Path(name).name.startswith(theirs)] == []
    assert size < 40 << 20  # Lite's libraries alone are 343 MB
    for suffix in ("LICENSE", "NOTICE"):
        assert any(name.endswith(suffix) for name in names)


def test_it_runs_from_a_fresh_environment_in_another_folder(installed: Installed) -> None:
    done = installed.run(installed.python, "-c", "import skywork_rt; print(skywork_rt.__file__)")
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).is_relative_to(installed.environment)
    done = installed.run("skywork-rt", "--help")
    assert done.returncode == 0 and "bench" in done.stdout, done.stderr


def test_it_generates_without_lite(installed: Installed, tiny_bundle: Path, tmp_path: Path) -> None:
    variables = {"SKYWORK_RT_CACHE": str(tmp_path), "LITE_HOME": ""}
    done = installed.run(installed.python, "-c", GENERATE, tiny_bundle, "native", *PROMPT, **variables)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.split()) > 0


def test_without_lite_the_error_names_the_command_that_prepares_it(
    installed: Installed, tiny_bundle: Path, tmp_path: Path
) -> None:
    variables = {"SKYWORK_RT_CACHE": str(tmp_path), "LITE_HOME": ""}
    done = installed.run(installed.python, "-c", GENERATE, tiny_bundle, "lite", *PROMPT, **variables)
    assert done.returncode == 1
    assert "BackendUnavailableError" in done.stderr and "skywork-rt lite install" in done.stderr
    assert list(tmp_path.iterdir()) == [], "opening a bundle prepares nothing"


@pytest.mark.parametrize("backend", ["lite", "native"])
def test_a_cpp_program_built_against_the_wheel_says_what_python_says(
    installed: Installed, tiny_bundle: Path, backend: str, tmp_path: Path
) -> None:
    cmake_directory = installed.run(installed.python, "-m", "skywork_rt", "--cmakedir").stdout.strip()
    assert Path(cmake_directory).is_relative_to(installed.environment)
    source, build = REPOSITORY / "examples" / "cpp_hello", tmp_path / "build"
    flags = "-Wall -Wextra -Wpedantic -Werror"
    checked(
        [
            tool("cmake"),
            "-S",
            source,
            "-B",
            build,
            f"-DCMAKE_PREFIX_PATH={cmake_directory}",
            f"-DCMAKE_CXX_FLAGS={flags}",
        ]
    )
    checked([tool("cmake"), "--build", build])
    bundle = _only_for(tiny_bundle, backend, tmp_path)
    spoken = installed.run(build / "cpp_hello", bundle, *PROMPT)
    assert spoken.returncode == 0, spoken.stderr
    expected = installed.run(installed.python, "-c", GENERATE, bundle, backend, *PROMPT)
    assert expected.returncode == 0, expected.stderr
    assert spoken.stdout.splitlines()[-1].split() == expected.stdout.split()


def _only_for(bundle: Path, backend: str, folder: Path) -> Path:
    """The bundle with the parts of one backend only: cpp_hello takes whatever a bundle is best at."""
    manifest = json.loads((bundle / "model.json").read_text(encoding="utf-8"))
    del manifest["weights" if backend == "lite" else "graphs"]
    alone = folder / f"only-{backend}"
    alone.mkdir()
    for name in manifest["files"]:
        (alone / name).symlink_to(bundle / name)
    (alone / "model.json").write_text(json.dumps(manifest), encoding="utf-8")
    return alone
