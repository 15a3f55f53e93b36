"""What doctor says of Ascend cards, drivers and CANN, on folders that look like such machines."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from skywork_rt.support.ascend import look_for_ascend


def put(root: Path, name: str, text: str = "") -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A machine with two cards, a driver and a toolkit."""
    for card in ("davinci0", "davinci1", "davinci_manager"):
        put(tmp_path, f"dev/{card}")
    put(tmp_path, "usr/local/Ascend/driver/version.info", "Version=23.0.0\nascendhal_version=7.11.10\n")
    toolkit = "usr/local/Ascend/ascend-toolkit/latest/"
    put(tmp_path, toolkit + "version.cfg", "# version: 1.0\nrunning_version=[7.0.0.5:7.0.0]\nversion=7.0.0\n")
    for library in ("libascendcl.so", "libge_runner.so"):
        put(tmp_path, toolkit + "lib64/" + library)
    return tmp_path


@pytest.fixture(autouse=True)
def no_npu_smi(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")


def test_a_machine_without_ascend_is_no_fault(tmp_path: Path) -> None:
    found = look_for_ascend(tmp_path, {})
    assert found.summary.startswith("no card, no driver, no CANN")
    assert found.advice == []


def test_cards_driver_and_toolkit_are_named_with_their_versions(machine: Path) -> None:
    folder = machine / "usr/local/Ascend/ascend-toolkit/latest/lib64"
    found = look_for_ascend(machine, {"LD_LIBRARY_PATH": f":{folder}", "LITE_HOME": "somewhere"})
    assert "2 cards (davinci0, davinci1); driver 23.0.0; CANN 7.0.0 in " in found.summary
    assert found.summary.endswith("no npu-smi")
    assert found.advice == []


def test_what_is_not_set_is_advised(machine: Path) -> None:
    advice = look_for_ascend(machine, {}).advice
    assert any("libascendcl.so and libge_runner.so" in line and "set_env.sh" in line for line in advice)
    assert any("LITE_HOME" in line for line in advice)


def test_a_container_without_devices_and_one_without_the_driver_are_told_apart(machine: Path) -> None:
    (machine / "usr/local/Ascend/driver/version.info").unlink()
    assert any("no driver of theirs" in line for line in look_for_ascend(machine, {}).advice)
    for card in ("davinci0", "davinci1"):
        (machine / "dev" / card).unlink()
    assert any("davinci0" in line for line in look_for_ascend(machine, {}).advice)


def test_the_home_of_the_variable_counts(machine: Path, tmp_path: Path) -> None:
    home = tmp_path / "elsewhere"
    put(home, "x86_64-linux/ascend_toolkit_install.info", "package_name=Ascend\nversion=8.0.RC2\n")
    assert f"CANN 8.0.RC2 in {home}" in look_for_ascend(machine, {"ASCEND_HOME_PATH": str(home)}).summary


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo '| npu-smi 23.0.0   Version: 23.0.0 |'", "npu-smi 23.0.0"),
        ("exit 3", "npu-smi fails with status 3"),
    ],
)
def test_npu_smi_is_asked(machine: Path, monkeypatch: pytest.MonkeyPatch, script: str, said: str) -> None:
    program = put(machine, "bin/npu-smi", f"#!/bin/sh\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(machine / "bin"))
    assert look_for_ascend(machine, {}).summary.endswith(said)
