from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from skywork_rt.bench.process import BenchError, WorkerProcess
from skywork_rt.bench.workloads import Trace, Workload

OPTIONS = {"threads": 1, "max_batch": 1, "max_length": 8}


def test_a_failing_runtime_is_an_error_with_its_own_words(tmp_path: Path) -> None:
    with WorkerProcess("ours") as worker:
        with pytest.raises(BenchError, match=r"ours: BundleNotFoundError: .*model\.json"):
            worker.open("skywork_rt:lite", tmp_path, OPTIONS)
        with pytest.raises(BenchError, match="ours: InvalidArgumentError: runtime is 'nobody'"):
            worker.open("nobody", tmp_path, OPTIONS)


def test_a_run_before_opening_is_refused() -> None:
    with WorkerProcess("ours") as worker, pytest.raises(BenchError, match="'run' came before 'open'"):
        worker.run(Workload("w", 1, 1, 1), 0)


def test_a_process_that_dies_says_so_with_its_status() -> None:
    with WorkerProcess("ours") as worker:
        assert worker.peak_rss() > 1 << 20
        worker._process.kill()
        worker._process.wait()
        with pytest.raises(BenchError, match=r"ours: its process ended with status -9 during 'memory'"):
            worker.peak_rss()


def test_a_process_that_hangs_is_ended() -> None:
    with WorkerProcess("ours", timeout=0.0) as worker:
        with pytest.raises(BenchError, match="no answer to 'memory' within 0 s"):
            worker.peak_rss()
        assert worker._process.wait() == -9


def test_closing_ends_the_process() -> None:
    with WorkerProcess("ours") as worker:
        worker.peak_rss()
    assert worker._process.returncode == 0


def test_the_peak_is_this_processs_own() -> None:
    """In a new one: that of the tests may have been so large that a block beyond its peak takes seconds to fill."""
    program = "from skywork_rt.bench.worker import peak_resident_bytes as peak\n"
    program += "block = b'x' * (peak() + (64 << 20))\nassert peak() > len(block)"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_trace_survives_the_pipe() -> None:
    trace = Trace(0.5, 1.5, 10, 11, (0.1, 0.2))
    assert Trace.from_json(trace.to_json()) == trace
