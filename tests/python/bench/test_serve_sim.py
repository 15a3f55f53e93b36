from __future__ import annotations

import asyncio

import numpy as np
import pytest

from skywork_rt.bench.serve_sim import (
    LONGEST,
    SHORTEST,
    Arrival,
    Served,
    at_once,
    poisson,
    run_continuous,
    run_static,
    summarise,
)

TOKEN = 0.0005  # seconds


class SlotServer:
    """Serves `slots` requests at once, each token in the same time, however many run: decoding bound by memory."""

    def __init__(self, slots: int) -> None:
        self._slots = asyncio.Semaphore(slots)
        self.most = 0
        self._running = 0

    async def __call__(self, arrival: Arrival) -> tuple[float, float]:
        clock = asyncio.get_running_loop().time
        submitted = clock()
        async with self._slots:
            self._running += 1
            self.most = max(self.most, self._running)
            await asyncio.sleep(TOKEN)
            first = clock() - submitted
            await asyncio.sleep(TOKEN * (arrival.new_tokens - 1))
            self._running -= 1
        return first, clock() - submitted


def test_requests_are_log_uniform_and_fixed_by_their_seed() -> None:
    requests = at_once(4000, 3, 100, seed=5)
    lengths = np.array([request.new_tokens for request in requests])
    assert lengths.min() >= SHORTEST and lengths.max() <= LONGEST
    middle = np.sqrt(SHORTEST * LONGEST)
    assert abs((lengths < middle).mean() - 0.5) < 0.05
    assert all(len(r.prompt) == 3 and max(r.prompt) < 100 and r.time == 0 for r in requests)
    assert at_once(4000, 3, 100, seed=5) == requests


def test_a_poisson_stream_keeps_the_requests_and_has_its_rate() -> None:
    requests = at_once(4000, 3, 100, seed=5)
    stream = poisson(requests, rate=20, seed=1)
    times = np.array([arrival.time for arrival in stream])
    assert (np.diff(times) >= 0).all()
    assert times[-1] == pytest.approx(4000 / 20, rel=0.1)
    assert [(a.prompt, a.new_tokens) for a in stream] == [(a.prompt, a.new_tokens) for a in requests]


@pytest.mark.parametrize("shrinking", [False, True])
async def test_static_batches_wait_for_their_longest_row(shrinking: bool) -> None:
    arrivals = [Arrival(0.0, (1,), tokens) for tokens in (200, 2, 2, 2)]
    served = await run_static(arrivals, SlotServer(2), slots=2, shrinking=shrinking)
    assert [answer.tokens for answer in served] == [200, 2, 2, 2]
    assert served[2].first_token > 200 * TOKEN  # though a slot was free after two tokens


async def test_static_batches_compute_all_rows_to_the_end_and_shrinking_ones_do_not() -> None:
    arrivals = [Arrival(0.0, (1,), tokens) for tokens in (200, 2)]
    padded = await run_static(arrivals, SlotServer(2), slots=2)
    assert padded[1].end == padded[0].end and padded[1].tokens == 2
    shrinking = await run_static(arrivals, SlotServer(2), slots=2, shrinking=True)
    assert shrinking[1].end < shrinking[0].end


async def test_continuous_serving_fills_a_slot_as_soon_as_it_is_free() -> None:
    arrivals = [Arrival(0.0, (1,), tokens) for tokens in (200, 2, 2, 2)]
    server = SlotServer(2)
    served = await run_continuous(arrivals, server)
    assert server.most == 2
    assert served[3].end < served[0].end


async def test_nobody_is_served_before_arriving() -> None:
    arrivals = [Arrival(0.03 * i, (1,), 2) for i in range(4)]
    for served in (await run_continuous(arrivals, SlotServer(4)), await run_static(arrivals, SlotServer(4), 4)):
        assert len(served) == 4
        assert all(answer.first_token > answer.arrival for answer in served)


def test_a_summary_counts_waiting_from_the_arrival() -> None:
    served = [Served(0.0, 0.1, 1.1, 11), Served(0.5, 1.0, 2.0, 21)]
    summary = summarise(served)
    assert summary.throughput == pytest.approx(32 / 2.0)
    assert (summary.ttft_p50, summary.ttft_p99) == (pytest.approx(100), pytest.approx(500))
    assert (summary.tpot_p50, summary.tpot_p99) == (pytest.approx(50), pytest.approx(100))


def test_no_summary_of_nothing() -> None:
    with pytest.raises(ValueError, match="nothing was served"):
        summarise([])
