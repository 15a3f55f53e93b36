"""What happens once in a process happens before the clock starts, whichever metrics are chosen."""

from __future__ import annotations

from typing import Any

import pytest

from skywork_rt.bench.metrics import METRICS, workloads_of
from skywork_rt.bench.runner import _warm_up
from skywork_rt.bench.workloads import Trace, Workload

#: Tokens that the Lite backend decodes in batches before it loads the graph for them (LiteLimits::patience).
PATIENCE = 64


class Worker:
    """Counts what a real one would compute."""

    def __init__(self) -> None:
        self.runs: list[Workload] = []
        self.decoded = 0

    def run(self, workload: Workload, seed: int) -> Trace:
        del seed
        decoded = workload.batch * (workload.new_tokens - 1)
        self.runs.append(workload)
        self.decoded += decoded
        return Trace(0.1, 0.2, decoded, decoded + workload.batch)


@pytest.mark.parametrize("workload", workloads_of(METRICS), ids=lambda workload: workload.name)
def test_a_workload_alone_is_warmed_up_far_enough(workload: Workload) -> None:
    worker: Any = Worker()
    _warm_up(worker, workload)
    assert all((run.batch, run.prompt_tokens) == (workload.batch, workload.prompt_tokens) for run in worker.runs)
    assert all(run.new_tokens <= workload.new_tokens for run in worker.runs)
    if workload.batch > 1:
        assert PATIENCE < worker.decoded < 2 * PATIENCE
    else:
        assert [run.new_tokens for run in worker.runs] == [8]
