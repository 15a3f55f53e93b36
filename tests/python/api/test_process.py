"""Whole processes: Ctrl-C, exit status, fork, and importing without the heavy parts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest


def run_python(code: str, *arguments: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=timeout, check=False
    )


def test_a_process_that_generated_exits_with_status_0(tiny_bundle: Path, backend: str) -> None:
    code = """
import sys, skywork_rt
generator = skywork_rt.Generator(sys.argv[1], backend=sys.argv[2])
print(len(generator.generate([5], temperature=0, max_tokens=4, ignore_eos=True).token_ids))
"""
    result = run_python(code, str(tiny_bundle), backend)
    assert (result.returncode, result.stdout, result.stderr) == (0, "4\n", "")


def test_a_process_that_leaves_a_stream_running_exits_with_status_0(endless_bundle: Path, backend: str) -> None:
    code = """
import sys, skywork_rt
generator = skywork_rt.Generator(sys.argv[1], backend=sys.argv[2])
stream = generator.stream([5], temperature=0, max_tokens=None, ignore_eos=True)
print(next(stream).index)
"""
    result = run_python(code, str(endless_bundle), backend)
    assert (result.returncode, result.stdout, result.stderr) == (0, "0\n", "")


@pytest.mark.parametrize("how", ["generate", "stream", "batch"])
def test_ctrl_c_stops_at_the_next_token(endless_bundle: Path, backend: str, how: str) -> None:
    """The request would run for ever; the generator is usable after the interruption."""
    code = """
import sys, time, skywork_rt
generator = skywork_rt.Generator(sys.argv[1], backend=sys.argv[2])
forever = dict(temperature=0, max_tokens=None, ignore_eos=True)
print("ready", flush=True)
try:
    if sys.argv[3] == "stream":
        for piece in generator.stream([5], **forever): pass
    else:
        generator.generate([5] if sys.argv[3] == "generate" else [[5], [6], [7]], **forever)
except KeyboardInterrupt:
    print("interrupted", flush=True)
end = time.monotonic() + 10
while generator.stats()["running"] and time.monotonic() < end: time.sleep(0.01)
print(generator.stats()["running"], len(generator.generate([5], max_tokens=3, ignore_eos=True).token_ids))
"""
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(endless_bundle), backend, how],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.3)
    sent = time.monotonic()
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "interrupted\n"
    assert time.monotonic() - sent < 2
    output, errors = process.communicate(timeout=30)
    assert (process.returncode, output, errors) == (0, "0 3\n", "")


FOREVER = ("--max-tokens", "60000", "--min-tokens", "60000")


def start_cli(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-u", "-m", "skywork_rt", *arguments],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_ctrl_c_ends_the_command_line_with_130(endless_bundle: Path, backend: str) -> None:
    process = start_cli("generate", str(endless_bundle), "the", "--backend", backend, *FOREVER)
    assert process.stdout is not None
    assert process.stdout.read(3) == "the"
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (130, "interrupted\n")


def test_ctrl_c_stops_an_answer_and_not_the_chat(endless_bundle: Path, backend: str) -> None:
    process = start_cli("chat", str(endless_bundle), "--backend", backend, *FOREVER)
    assert process.stdin is not None
    assert process.stdout is not None
    for _ in range(2):
        process.stdin.write("hello\n")
        process.stdin.flush()
        assert process.stdout.read(1)
        process.send_signal(signal.SIGINT)
        said = ""
        while not said.endswith(" [stopped]\n"):
            piece = process.stdout.read(1)
            assert piece, "the chat ended"
            said += piece
    output, errors = process.communicate(timeout=30)
    assert (process.returncode, output, errors) == (0, "", "")


def test_a_child_after_fork_gets_an_error_instead_of_a_hang(tiny_bundle: Path, backend: str) -> None:
    code = """
import os, sys, skywork_rt
generator = skywork_rt.Generator(sys.argv[1], backend=sys.argv[2])
child = os.fork()
if child == 0:
    try:
        generator.generate([5], max_tokens=2)
    except skywork_rt.ClosedError as error:
        os._exit(7 if "fork" in str(error) else 8)
    os._exit(9)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
print(len(generator.generate([5], max_tokens=2, ignore_eos=True).token_ids))
"""
    result = run_python(code, str(tiny_bundle), backend)
    assert (result.returncode, result.stdout, result.stderr) == (0, "7\n2\n", "")


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = """
import sys, skywork_rt, skywork_rt.errors
from skywork_rt import SkyworkError
heavy = {"numpy", "tokenizers", "sentencepiece", "jinja2", "typer", "rich", "mindspore", "skywork_rt._core"}
print(sorted(heavy & set(sys.modules)))
import skywork_rt.api.generator
print(sorted({"tokenizers", "sentencepiece", "jinja2", "typer", "rich", "mindspore"} & set(sys.modules)))
"""
    result = run_python(code)
    assert (result.stdout, result.stderr) == ("[]\n[]\n", "")


def test_the_help_starts_fast() -> None:
    """Without the core, numpy or a tokenizer behind it; measured as CPU time, which a busy machine does not change."""
    before = os.times()
    result = subprocess.run([sys.executable, "-m", "skywork_rt", "--help"], capture_output=True, text=True, check=False)
    after = os.times()
    assert result.returncode == 0
    assert "generate" in result.stdout
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    assert spent < 1.5
