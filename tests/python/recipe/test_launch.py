"""Ranks through msrun: one that dies ends the others at once, with its reason on the screen."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from skywork_rt.errors import InvalidArgumentError
from skywork_rt.recipe.launch.failure import describe_exit, reason_in
from skywork_rt.recipe.launch.launcher import python_command
from skywork_rt.recipe.train.stop import StopRequest

# Rank 1 fails as its argument says once rank 0 has started; rank 0 and the scheduler would go on for a minute.
PROGRAM = """
import os, pathlib, sys, time
mark = pathlib.Path("started")
role, rank = os.environ["MS_ROLE"], os.environ.get("RANK_ID")
print(role, rank, os.environ["ASCEND_RT_VISIBLE_DEVICES"], os.environ.get("RANK_TABLE_FILE"), sys.argv[1:], flush=True)
if role == "MS_WORKER" and rank == "0":
    mark.touch()
    time.sleep(0 if sys.argv[1] == "well" else 60)
if role == "MS_WORKER" and rank == "1":
    while not mark.exists():
        time.sleep(0.05)
    pathlib.Path("ended").write_text(str(time.time()))
    if sys.argv[1] == "raise":
        raise ValueError("this rank cannot go on")
    if sys.argv[1] == "kill":
        os.kill(os.getpid(), 9)
"""


def launch(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "skywork_rt", "launch", *arguments, "--log-dir", "logs"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)


def left_over(folder: Path) -> list[psutil.Process]:
    """Processes that still work in the folder."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.cwd() == str(folder) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("way", "said"), [("raise", "this rank cannot go on"), ("kill", "SIGKILL")])
def test_a_rank_that_dies_ends_the_others_within_5_seconds_with_its_reason(tmp_path: Path, way: str, said: str) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    (tmp_path / "table.json").write_text(TABLE)
    done = launch(tmp_path, f"python program.py {way}", "table.json", "[2,4]", "2")
    took = time.time() - float((tmp_path / "ended").read_text())
    assert done.returncode == 1
    assert f"rank 1 {'was killed by SIGKILL' if way == 'kill' else 'ended with status 1'}" in done.stderr
    assert said in done.stderr
    assert took < 5
    assert not left_over(tmp_path)
    first = (tmp_path / "logs" / "worker_0.log").read_text().splitlines()[0]
    assert first == f"MS_WORKER 0 2,3 {tmp_path / 'table.json'} ['{way}']"
    assert first in done.stdout


TABLE = (
    '{"version": "1.0", "server_count": "1", "status": "completed", "server_list": [{"server_id": "10.0.0.1", '
    '"host_nic_ip": "reserve", "device": [{"device_id": "2", "rank_id": "0"}, {"device_id": "3", "rank_id": "1"}]}]}'
)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGHUP, 129), (signal.SIGKILL, -9)])
def test_no_process_is_left_when_the_one_that_started_them_ends(
    tmp_path: Path, number: signal.Signals, status: int
) -> None:
    """Ctrl-C, a closed terminal, and a kill that the launcher cannot hear."""
    (tmp_path / "program.py").write_text(PROGRAM)
    command = [sys.executable, "-m", "skywork_rt", "launch", "python program.py well-not", "[0,2)", "2"]
    process = subprocess.Popen(
        [*command, "--log-dir", "logs"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    while not (tmp_path / "ended").exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == status
    deadline = time.monotonic() + 5
    while left_over(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not left_over(tmp_path)


@pytest.mark.parametrize("ignored", [False, True])
def test_a_closed_terminal_asks_a_training_to_save_but_under_nohup(ignored: bool) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN if ignored else signal.SIG_DFL)
    try:
        with StopRequest() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert stop.signal == (None if ignored else signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


TERMINAL = """
import os, signal, sys
from skywork_rt.recipe.train.stop import StopRequest
with StopRequest() as stop:
    print("listening", flush=True)
    while stop.signal is None:
        signal.pause()
    print("a line for a terminal that is closed", flush=True)
    open(sys.argv[1], "w").write("saved")
"""


def test_printing_to_a_closed_terminal_does_not_end_what_saves(tmp_path: Path) -> None:
    master, slave = os.openpty()
    saved = tmp_path / "saved"
    command = ["setsid", "--ctty", "--wait", sys.executable, "-c", TERMINAL, str(saved)]
    with subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave) as process:
        os.close(slave)
        assert b"listening" in os.read(master, 4096)
        os.close(master)
        process.wait(30)
    assert saved.read_text() == "saved"


def test_only_python_programs_are_launched() -> None:
    assert python_command("skywork-rt train --config 'a b.yaml'") == [
        "-m",
        "skywork_rt",
        "train",
        "--config",
        "a b.yaml",
    ]
    assert python_command("python run.py --x 1") == ["run.py", "--x", "1"]
    assert python_command("run.py") == ["run.py"]
    for wrong in ("bash run.sh", "", "python 'x"):
        with pytest.raises(InvalidArgumentError):
            python_command(wrong)


def test_the_reason_of_a_rank_is_found_in_what_it_printed(tmp_path: Path) -> None:
    log = tmp_path / "worker_0.log"
    assert reason_in(log) == ""
    log.write_text("one\ntwo\n\nthree\nfour\n")
    assert reason_in(log) == "two / three / four"
    log.write_text("Traceback (most recent call last):\n  File x\nRuntimeError: no memory\n[ERROR] later\n")
    assert reason_in(log) == "RuntimeError: no memory"
    log.write_text("error: load_checkpoint x lacks 3 tensors\nhint: see\nValueError: other\n")
    assert reason_in(log) == "load_checkpoint x lacks 3 tensors"
    assert describe_exit(-9) == "was killed by SIGKILL, perhaps for want of memory"
