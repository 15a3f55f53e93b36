"""Memory stays flat: over opening and closing, and over thousands of requests. Each in a process of its own, which
warms up first: what is asked is that the same work again needs no more."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cores import ONE_CORE

#: Of the allocator, between two rounds of the same work.
ROOM_TO_BREATHE_MB = 8

PROLOGUE = """
import gc, os, sys, skywork_rt
def resident():
    gc.collect()
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
def generate(generator, count):
    prompts = [[3 + i % 500, 4 + i % 7, 5] for i in range(count)]
    results = generator.generate(prompts, temperature=0, max_tokens=4, ignore_eos=True)
    assert all(len(result.token_ids) == 4 for result in results)
"""
OPEN_AND_CLOSE = """
def work(times):
    for _ in range(times):
        with skywork_rt.Generator(sys.argv[1], backend=sys.argv[2], threads=int(sys.argv[3])) as generator:
            generate(generator, 2)
"""
REQUESTS = """
generator = skywork_rt.Generator(sys.argv[1], backend=sys.argv[2], threads=int(sys.argv[3]))
def work(times):
    for _ in range(times // 250):
        generate(generator, 250)
"""


def _growth(code: str, bundle: Path, backend: str, warm: int, times: int) -> float:
    """By how many MB a process grows over `times` rounds of work behind `warm` others."""
    program = f"{PROLOGUE}{code}\nwork({warm})\nbefore = resident()\nwork({times})\nprint(resident() - before)\n"
    command = [sys.executable, "-c", program, str(bundle), backend, str(ONE_CORE.get("threads", 0))]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert (ended.returncode, ended.stderr) == (0, "")
    return float(ended.stdout)


@pytest.mark.slow
def test_opening_and_closing_gives_all_memory_back(tiny_bundle: Path, backend: str) -> None:
    times = {"native": 300, "lite": 60}[backend]
    assert _growth(OPEN_AND_CLOSE, tiny_bundle, backend, times // 3, times) < ROOM_TO_BREATHE_MB


@pytest.mark.slow
def test_ten_thousand_requests_leave_nothing_behind(tiny_bundle: Path, backend: str) -> None:
    assert _growth(REQUESTS, tiny_bundle, backend, 2500, 10_000) < ROOM_TO_BREATHE_MB
