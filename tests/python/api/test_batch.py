"""Lists of requests: checked before they start, fed in as the queue takes them, at a cost that grows with their number
only."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from skywork_rt import BusyError, CapacityError, Generator, InvalidArgumentError, SamplingParams, _core
from skywork_rt.api.prompts import Prompt
from skywork_rt.api.requests import Batch, Terms
from skywork_rt.grammar.desk import GrammarDesk

GREEDY = SamplingParams(temperature=0, max_tokens=2, ignore_eos=True)


def test_a_list_with_one_prompt_too_many_tokens_starts_none(generator: Generator) -> None:
    before = generator.stats()["requests"]
    with pytest.raises(InvalidArgumentError, match=r"prompt 1000 of 1001: .*max_length"):
        generator.generate([*([[5]] * 1000), [5] * 10_000], GREEDY)
    assert generator.stats()["requests"] == before


def test_what_can_never_fit_is_told_apart_from_a_full_queue(tiny_bundle: Path, backend: str) -> None:
    with Generator(tiny_bundle, backend=backend, max_batch=1, max_queue=1) as generator:
        with pytest.raises(CapacityError, match="prompt 1 of 2") as never:
            generator.generate([[5], [6]], [GREEDY, GREEDY.replace(n=2)])
        assert not isinstance(never.value, BusyError)
        forever = SamplingParams(temperature=0, max_tokens=None, ignore_eos=True)
        streams = []
        with pytest.raises(BusyError, match="max_queue is 1") as busy:
            for _ in range(20):
                streams.append(generator.stream([5], forever))
        assert (busy.value.code, never.value.code) == ("busy", "capacity")
        assert isinstance(busy.value, CapacityError)
        for stream in streams:
            stream.close()


def test_waiting_for_the_queue_counts_nothing_as_refused(tiny_bundle: Path, backend: str) -> None:
    with Generator(tiny_bundle, backend=backend, max_batch=2, max_queue=2) as generator:
        assert len(generator.generate([[5 + i] for i in range(40)], GREEDY)) == 40
        assert generator.stats()["refused"] == 0
        assert generator.stats()["requests"] == 40


class FakeHandle:
    """Ends as soon as somebody waits for it, and counts how often anybody asked."""

    def __init__(self, core: FakeCore) -> None:
        self._core = core
        self._over = False

    def wait(self, timeout: float | None = None) -> bool:
        self._core.asked += 1
        if timeout is None and not self._over:
            self._over = True
            self._core.running -= 1
        return self._over

    def cancel(self) -> None:
        return None

    def result(self) -> Any:
        raise BusyError("the end of the test")


class FakeCore:
    """Takes `room` requests at once."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.running = 0
        self.asked = 0
        self.submitted = 0

    def request(self, *_arguments: object) -> object:
        return self

    def check(self, request: object) -> None:
        assert request is self

    def try_submit(self, _request: object) -> FakeHandle | None:
        if self.running == self.room:
            return None
        self.running += 1
        self.submitted += 1
        return FakeHandle(self)


def test_a_list_that_is_longer_than_the_queue_is_not_quadratic() -> None:
    count = 5000
    core = FakeCore(room=1000)
    prompt = Prompt(None, np.asarray([5], dtype=np.int64))
    no_grammars = GrammarDesk(cast(_core.ModelSpec, None), lambda: "")
    batch = Batch(cast(_core.Generator, core), no_grammars, [prompt] * count, [GREEDY] * count, Terms())
    with pytest.raises(BusyError, match="the end of the test"):
        batch.run(None)
    assert core.submitted == count
    assert core.asked < 4 * count
