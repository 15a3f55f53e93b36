"""Preparing Lite: once, whole, by whoever comes first, whatever dies on the way."""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import skywork_rt.lite.location as locating
import skywork_rt.support.download as downloading
from skywork_rt.errors import BackendUnavailableError, UnsupportedError
from skywork_rt.lite import damaged_files, ensure, install, is_prepared, locate, prepared_home
from skywork_rt.lite.elf import ElfImage
from skywork_rt.lite.release import Release, release_for_this_machine

installing = importlib.import_module("skywork_rt.lite.install")  # the package has a function of this name

PROGRAM = Path(__file__).parent / "synthetic_lite.py"


def leftovers(home: Path) -> list[str]:
    return sorted(path.name for path in home.parent.iterdir() if path.name not in (home.name, f".{home.name}.lock"))


def test_prepares_patched_libraries_and_headers(release: Release) -> None:
    location = install()
    assert location == locate()
    assert location.origin == "cache"
    assert location.version == "9.9.9"
    assert location.home.name == "9.9.9-3"
    assert [path.name for path in location.libraries] == list(release.libraries)
    assert (location.include_dirs[0] / "include" / "api" / "model.h").is_file()
    assert (location.include_dirs[1] / "api" / "model.h").is_file()
    assert not (location.lib_dir / "libunused.so").exists()
    order = (location.lib_dir / "load_order.txt").read_text().split()
    assert order == [*release.libraries, *release.companions]
    for path in location.libraries:
        image = ElfImage.map_file(path)
        assert image.soname == path.name
        assert not any(name.startswith("libmindspore") for name in image.needed)
        assert not any("9mindspore" in name for name in image.unique_symbols())
    assert leftovers(location.home) == []


def test_the_prepared_libraries_load_in_the_stated_order(release: Release) -> None:
    location = install()
    program = (
        "import ctypes, os, sys\n"
        "libraries = [ctypes.CDLL(path, mode=os.RTLD_LOCAL | os.RTLD_NOW) for path in sys.argv[1:]]\n"
        "print(libraries[-1].lite_value(), ctypes.c_int.in_dll(libraries[1], 'mindspore_log_calls').value)\n"
    )
    command = [sys.executable, "-c", program, *map(str, location.libraries)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.split() == ["116", "0"]


def test_a_second_time_touches_nothing(release: Release, monkeypatch: pytest.MonkeyPatch) -> None:
    location = install()
    before = {path: path.stat().st_mtime_ns for path in location.home.rglob("*")}
    monkeypatch.setenv("SKYWORK_RT_LITE_WHEEL", "/gone")
    assert ensure() == location
    assert {path: path.stat().st_mtime_ns for path in location.home.rglob("*")} == before


def test_progress_names_stages_and_ends_each(release: Release) -> None:
    reports: list[tuple[str, int, int]] = []
    install(lambda *report: reports.append(report))
    last = {stage: (done, total) for stage, done, total in reports}
    assert list(last) == ["checking the wheel", "unpacking", "patching", "writing the manifest"]
    assert all(done == total > 0 for done, total in last.values())


def test_an_incomplete_preparation_does_not_count_and_is_replaced(release: Release) -> None:
    home = install().home
    library = home / "lib" / release.libraries[1]
    whole = library.read_bytes()
    library.write_bytes(whole[:-1])
    assert not is_prepared(home)
    with pytest.raises(BackendUnavailableError, match=r"9\.9\.9 is not prepared in .*skywork-rt lite install"):
        locate()
    assert ensure().home == home
    assert library.read_bytes() == whole
    (home / "manifest.json").unlink()
    assert not is_prepared(home)
    (home / "manifest.json").write_text("{}")
    assert not is_prepared(home)


def test_damage_that_keeps_sizes_is_found_on_request_and_mended_by_force(release: Release) -> None:
    home = install().home
    library = home / "lib" / release.libraries[0]
    data = bytearray(library.read_bytes())
    data[len(data) // 2] ^= 1
    library.write_bytes(data)
    assert is_prepared(home)
    assert damaged_files(home) == [f"lib/{release.libraries[0]}"]
    install(force=True)
    assert damaged_files(home) == []


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data[:-10], r"has \d+ bytes; mindspore-lite==9\.9\.9 .* has \d+"),
        (lambda data: data[:100] + bytes([data[100] ^ 1]) + data[101:], "SHA-256 .* altered or damaged"),
    ],
)
def test_a_damaged_wheel_installs_nothing(
    damage: object, message: str, release: Release, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert callable(damage)
    bad = tmp_path / "bad.whl"
    bad.write_bytes(damage(Path(os.environ["SKYWORK_RT_LITE_WHEEL"]).read_bytes()))
    monkeypatch.setenv("SKYWORK_RT_LITE_WHEEL", str(bad))
    with pytest.raises(BackendUnavailableError, match=message):
        install()
    assert not prepared_home().exists()
    assert leftovers(prepared_home()) == []


def test_a_wheel_that_is_not_there_is_named(release: Release, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SKYWORK_RT_LITE_WHEEL", "/nowhere/lite.whl")
    with pytest.raises(BackendUnavailableError, match=r"/nowhere/lite\.whl: there is no such file"):
        install()


def test_a_wheel_without_a_library_is_refused_by_its_name(release: Release, monkeypatch: pytest.MonkeyPatch) -> None:
    fuller = dataclasses.replace(release, libraries=("libabsent.so", *release.libraries))
    monkeypatch.setattr(installing, "release_for_this_machine", lambda: fuller)
    with pytest.raises(BackendUnavailableError, match=r"has no mindspore_lite/lib/libabsent\.so"):
        install()
    assert leftovers(prepared_home(release)) == []


def test_looking_for_it_prepares_nothing_and_names_the_command_that_does(release: Release) -> None:
    with pytest.raises(BackendUnavailableError, match="skywork-rt lite install"):
        locate()
    assert not prepared_home(release).exists()


def test_four_processes_at_once_prepare_it_once(release: Release) -> None:
    command = [sys.executable, str(PROGRAM), os.environ["SKYWORK_RT_LITE_WHEEL"]]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    answers = [process.communicate(timeout=120)[0].split("\n") for process in processes]
    assert [process.returncode for process in processes] == [0] * 4
    home = prepared_home()
    assert all(answer[-2] == str(home) for answer in answers)
    assert sum("unpacking" in answer for answer in answers) == 1
    assert damaged_files(home) == []
    assert leftovers(home) == []


def test_what_a_killed_process_left_neither_counts_nor_blocks(release: Release) -> None:
    command = [sys.executable, str(PROGRAM), os.environ["SKYWORK_RT_LITE_WHEEL"], "hang"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.strip() == "patching":
                break
        process.send_signal(signal.SIGKILL)
    home = prepared_home()
    assert len(leftovers(home)) == 1
    assert not home.exists()
    with pytest.raises(BackendUnavailableError):
        locate()
    assert install().home == home
    assert leftovers(home) == []


def test_a_place_that_cannot_be_written_is_named(
    release: Release, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SKYWORK_RT_CACHE", str(tmp_path / "file"))
    with pytest.raises(BackendUnavailableError, match=r"could not be prepared in .*SKYWORK_RT_CACHE"):
        install()


def test_without_pip_the_ways_out_are_named(release: Release, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SKYWORK_RT_LITE_WHEEL")
    monkeypatch.setattr(downloading, "_pip_candidates", lambda: iter([["/no/such/pip"]]))
    with pytest.raises(BackendUnavailableError, match=r"(?s)has no pip.*SKYWORK_RT_LITE_WHEEL.*LITE_HOME"):
        install()


def test_pips_own_words_reach_the_user(release: Release, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pip = tmp_path / "pip"
    pip.write_text("#!/bin/sh\n[ \"$1\" = --version ] && exit 0\necho 'ERROR: no route to the registry' >&2\nexit 3\n")
    pip.chmod(0o755)
    monkeypatch.delenv("SKYWORK_RT_LITE_WHEEL")
    monkeypatch.setattr(downloading, "_pip_candidates", lambda: iter([[str(pip)]]))
    with pytest.raises(BackendUnavailableError, match=r"exit status 3(.|\n)*no route to the registry"):
        install()
    assert leftovers(prepared_home()) == []


def test_pip_fetches_the_wheel_of_another_python(
    release: Release, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in for pip that copies the miniature's wheel to where pip would put it."""
    seen = tmp_path / "arguments"
    wheel = os.environ["SKYWORK_RT_LITE_WHEEL"]
    pip = tmp_path / "pip"
    pip.write_text(
        '#!/bin/sh\n[ "$1" = --version ] && exit 0\n'
        f'printf "%s\\n" "$@" > {seen}\nwhile [ "$1" != --dest ]; do shift; done\ncp {wheel} "$2"\n'
    )
    pip.chmod(0o755)
    monkeypatch.delenv("SKYWORK_RT_LITE_WHEEL")
    monkeypatch.setattr(downloading, "_pip_candidates", lambda: iter([[str(pip)]]))
    assert is_prepared(install().home)
    arguments = seen.read_text().split()
    assert arguments[-1] == "mindspore-lite==9.9.9"
    for option in ("--no-deps", "--python-version=37", "--abi=cp37m", "--platform=manylinux1_x86_64"):
        assert option in arguments


def test_other_machines_are_told_about_lite_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    with pytest.raises(UnsupportedError, match=r"riscv64.*LITE_HOME"):
        release_for_this_machine()


def official_tree(root: Path, built: Path) -> Path:
    """The layout of the official tarball, with the miniature's libraries."""
    home = root / "mindspore-lite-2.3.1-linux-x64"
    for folder in ("runtime/lib", "runtime/include/api", "runtime/third_party/glog", "tools/converter/lib"):
        (home / folder).mkdir(parents=True)
    (home / "runtime/include/api/model.h").write_text("#pragma once\n")
    (home / "runtime/lib/libmindspore-lite.so").write_bytes((built / "libmain.so").read_bytes())
    (home / "tools/converter/lib/libmindspore_core.so").write_bytes((built / "libmindspore_core.so").read_bytes())
    glog = "libmindspore_glog.so.0"
    (home / "runtime/third_party/glog" / glog).write_bytes((built / glog).read_bytes())
    return home


def test_lite_home_is_used_instead_of_the_cache(
    release: Release, built_wheel: tuple[Path, Release], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = official_tree(tmp_path, built_wheel[0].parent)
    monkeypatch.setenv("LITE_HOME", str(home))
    location = ensure()
    assert location.origin == "LITE_HOME"
    assert location.version == "2.3.1"
    assert location.lib_dir == home / "runtime/lib"
    assert location.include_dirs == (home / "runtime", home / "runtime/include")
    assert [path.name for path in location.libraries] == [
        "libmindspore_glog.so.0",
        "libmindspore_core.so",
        "libmindspore-lite.so",
    ]
    assert not prepared_home().exists()
    program = "import ctypes, sys\nfor path in sys.argv[1:]: ctypes.CDLL(path)"
    subprocess.run([sys.executable, "-c", program, *map(str, location.libraries)], check=True)


@pytest.mark.parametrize("missing", ["runtime/lib/libmindspore-lite.so", "runtime/include/api/model.h", ""])
def test_an_incomplete_lite_home_is_told_what_it_lacks(
    missing: str,
    release: Release,
    built_wheel: tuple[Path, Release],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    home = official_tree(tmp_path, built_wheel[0].parent)
    if missing:
        (home / missing).unlink()
    else:
        home.rename(tmp_path / "moved")
    monkeypatch.setenv("LITE_HOME", str(home))
    with pytest.raises(BackendUnavailableError, match=f"{home / missing} does not exist") as caught:
        locate()
    assert "tar.gz" in str(caught.value)


def test_a_lite_home_whose_library_is_damaged_is_told_so(
    release: Release, built_wheel: tuple[Path, Release], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = official_tree(tmp_path, built_wheel[0].parent)
    (home / "runtime/lib/libmindspore-lite.so").write_bytes(b"not a library")
    monkeypatch.setenv("LITE_HOME", str(home))
    with pytest.raises(BackendUnavailableError, match=r"libmindspore-lite\.so is no usable shared library"):
        locate()


def test_the_manifest_says_what_it_came_from(release: Release) -> None:
    home = install().home
    manifest = json.loads((home / locating.MANIFEST).read_text())
    assert manifest["version"] == "9.9.9"
    assert manifest["wheel_sha256"] == release.wheel_sha256
    assert set(manifest["files"]) == {
        str(path.relative_to(home)) for path in home.rglob("*") if path.is_file() and path.name != locating.MANIFEST
    }
