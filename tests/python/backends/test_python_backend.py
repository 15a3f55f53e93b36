"""Backends in Python: what goes wrong in them is told by name and costs only those whose step it was."""

from __future__ import annotations

import asyncio
import gc
import os
import re
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from counting import VOCABULARY, Counting
from numpy.typing import NDArray

from skywork_rt import AsyncGenerator, Generator
from skywork_rt.backends import Chunk, ModelSpec, PythonBackend, Traits, Watch
from skywork_rt.errors import (
    BackendError,
    CancelledError,
    CapacityError,
    ClosedError,
    DeadlineExceededError,
    InvalidArgumentError,
    SkyworkError,
    UnsupportedError,
)

GREEDY: dict[str, Any] = {"temperature": 0, "max_tokens": 5}


def test_the_engine_runs_on_it() -> None:
    backend = Counting()
    with Generator(None, backend=backend) as generator:
        assert generator.options["backend"] == "Counting"
        batch = generator.generate([[1, 2], [7], list(range(40))], **GREEDY)
        assert [result.token_ids for result in batch] == [[3, 4, 5, 6, 7], [8, 9, 10, 11, 12], [40, 41, 42, 43, 44]]
        beams = generator.generate([5], temperature=0, max_tokens=4, num_beams=3)
        assert beams.token_ids == [6, 7, 8, 9]
        samples = generator.generate([5], temperature=0.01, seed=1, max_tokens=3, n=3)
        assert [output.token_ids for output in samples.outputs] == [[6, 7, 8]] * 3
        assert generator.generate([96], **GREEDY).outputs[0].finish_reason == "stop"
        # Pieces that came while nobody looked are taken together.
        assert [token for piece in generator.stream([1], **GREEDY) for token in piece.token_ids] == [2, 3, 4, 5, 6]
        score = generator.score([1, 2], [3, 4])
        assert score.is_greedy
    assert backend.is_shut_down
    assert backend.tokens == {}, "every sequence was closed"


def test_it_may_come_with_a_bundles_texts(tiny_bundle: Path) -> None:
    with Generator(tiny_bundle, backend="native") as generator:
        vocab, ids = generator.model.vocab_size, generator.encode("abc")

    class Echo(Counting):
        model = ModelSpec(vocab_size=vocab, max_length=100)

        def forward(self, chunks: Sequence[Chunk], watch: Watch) -> NDArray[np.float32]:
            rows = sum(len(chunk.logit_rows) for chunk in chunks)
            return np.tile(np.eye(vocab, dtype=np.float32)[ids[-1]], (rows, 1))

    with Generator(tiny_bundle, backend=Echo()) as generator:
        assert generator.generate("abc", **GREEDY).text == "ccccc"
    with pytest.raises(InvalidArgumentError, match=rf"holds {vocab} tokens, but the backend's model has {VOCABULARY}"):
        Generator(tiny_bundle, backend=Counting())


def test_the_example_of_the_docs_runs() -> None:
    page = Path(__file__).parents[3] / "docs" / "python-backends.md"
    example = page.read_text(encoding="utf-8").partition("```python\n")[2].partition("```")[0]
    ended = subprocess.run([sys.executable, "-c", example], capture_output=True, text=True, timeout=60, check=False)
    (stated,) = re.findall(r"# (\[.*\])\n", example)
    assert (ended.returncode, ended.stdout.strip(), ended.stderr) == (0, stated, "")


def test_an_event_loop_and_it_take_turns() -> None:
    async def run() -> list[list[int]]:
        async with AsyncGenerator(None, backend=Counting(0.001)) as generator:
            results = await asyncio.gather(*(generator.generate([start], **GREEDY) for start in range(20)))
        return [result.token_ids for result in results]

    assert asyncio.run(run()) == [list(range(start + 1, start + 6)) for start in range(20)]


class Bad(Counting):
    """Fails in its own way behind the token 50."""

    def __init__(self, how: Callable[[], Any]) -> None:
        super().__init__()
        self._how = how

    def forward(self, chunks: Sequence[Chunk], watch: Watch) -> Any:
        return self._how() if any(50 in chunk.tokens for chunk in chunks) else super().forward(chunks, watch)


def raises(error: BaseException) -> Callable[[], Any]:
    def fail() -> Any:
        raise error

    return fail


@pytest.mark.parametrize(
    ("how", "said"),
    [
        (
            raises(ValueError("no\nsuch thing")),
            r"Bad.forward raised ValueError: no such thing \(test_python_backend.py, l",
        ),
        (raises(KeyboardInterrupt()), r"Bad.forward raised KeyboardInterrupt \(test_python"),
        (raises(SystemExit(3)), r"Bad.forward raised SystemExit: 3"),
        (raises(MemoryError("out")), r"\(capacity\): Bad.forward raised MemoryError: out"),
        (raises(CapacityError("the card is full")), r"\(capacity\): the card is full"),
        (lambda: None, r"Bad.forward returned a NoneType, but must return float32 \[1, 100\]"),
        (lambda: [[0.0] * VOCABULARY], r"Bad.forward returned a list, but must return float32"),
        (lambda: np.zeros((1, VOCABULARY)), r"Bad.forward returned float64 \[1, 100\], but must"),
        (lambda: np.zeros((VOCABULARY,), np.float32), r"Bad.forward returned float32 \[100\], but must"),
        (lambda: np.zeros((2, VOCABULARY), np.float32), r"Bad.forward returned float32 \[2, 100\], but must"),
        (lambda: np.full((1, VOCABULARY), np.nan, np.float32), r"the logit of token 0 of 100 is nan"),
        (lambda: np.full((1, VOCABULARY), np.inf, np.float32), r"the logit of token 0 of 100 is inf"),
    ],
)
def test_a_step_that_fails_ends_its_requests_and_no_others(how: Callable[[], Any], said: str) -> None:
    with Generator(None, backend=Bad(how)) as generator:
        with pytest.raises(BackendError, match=said):
            generator.generate([48], **GREEDY)
        assert generator.generate([1], **GREEDY).token_ids == [2, 3, 4, 5, 6]
        assert generator.stats()["running"] == 0


def test_logits_may_be_strided_and_minus_infinity() -> None:
    class Strided(Counting):
        def rows(self, last: list[int]) -> list[NDArray[np.float32]]:
            return [np.where(row > 0, row, np.float32(-np.inf)) for row in super().rows(last)]

        def forward(self, chunks: Sequence[Chunk], watch: Watch) -> NDArray[np.float32]:
            logits = super().forward(chunks, watch)
            assert logits is not None
            return np.repeat(logits, 2, axis=1)[:, ::2]

    with Generator(None, backend=Strided()) as generator:
        assert generator.generate([1], temperature=1.0, max_tokens=5, seed=3).token_ids == [2, 3, 4, 5, 6]


def test_what_fails_beside_forward_is_told_too() -> None:
    class NoRoom(Counting):
        def open(self, seq: int, max_tokens: int) -> None:
            raise OSError("no card")

    with (
        Generator(None, backend=NoRoom()) as generator,
        pytest.raises(BackendError, match=r"NoRoom.open raised OSError: no card"),
    ):
        generator.generate([1], **GREEDY)

    class NoCopy(Counting):
        copy = PythonBackend.copy

    with Generator(None, backend=NoCopy()) as generator:
        with pytest.raises(SkyworkError, match=r"NoCopy has no copy\(\)"):
            generator.generate([1], temperature=1.0, seed=0, max_tokens=3, n=2)
        assert generator.generate([1], **GREEDY).token_ids == [2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("attributes", "said"),
    [
        ({"model": 3}, "model is a int, but must be a skywork_rt.backends.ModelSpec"),
        ({"model": ModelSpec(vocab_size=0, max_length=10)}, "model has vocab_size 0 and max_length 10"),
        ({"traits": Traits(max_batch=0)}, "traits.max_batch is 0, but must be a whole number of at least 1"),
        ({"traits": Traits(max_chunk=2.5)}, "traits.max_chunk is 2.5"),  # type: ignore[arg-type]
    ],
)
def test_a_backend_that_cannot_be_is_refused_by_name(attributes: dict[str, Any], said: str) -> None:
    kind = type("Odd", (Counting,), attributes)
    with pytest.raises(InvalidArgumentError, match=f"Odd: {re.escape(said)}"):
        Generator(None, backend=kind())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"weights": "int4"}, 'backend "Counting" does not know weights "int4"'),
        ({"kv_cache": "f16"}, 'does not know kv_cache "f16"'),
        ({"activations": "int8"}, 'does not know activations "int8"'),
        ({"device": "ascend"}, 'does not know device "ascend"'),
        ({"mmap": True}, "has no use for the option mmap"),
        ({"verify": True}, "has no use for the option verify"),
        ({"admission": "optimistic"}, 'admission is "optimistic"'),
    ],
)
def test_options_that_mean_nothing_to_it_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UnsupportedError, match=said):
        Generator(None, backend=Counting(), **options)


def test_what_it_cannot_do_is_refused_when_the_request_comes() -> None:
    class Plain(Counting):
        traits = Traits(max_batch=2, can_fork=False, can_truncate=False)

    with Generator(None, backend=Plain()) as generator:
        with pytest.raises(UnsupportedError, match="this backend cannot fork a sequence"):
            generator.generate([1], temperature=1.0, max_tokens=3, n=2)
        assert [r.token_ids for r in generator.generate([[1], [2], [3]], **GREEDY)][2] == [4, 5, 6, 7, 8]
    with pytest.raises(InvalidArgumentError, match="backend is 3, but must be a backend's name, or an object"):
        Generator("no bundle", backend=3)  # type: ignore[typeddict-item]
    with pytest.raises(InvalidArgumentError, match=r'backend is "mindspor", but must be auto, .*, mindspore, or a Py'):
        Generator("no bundle", backend="mindspor")
    with pytest.raises(InvalidArgumentError, match="no bundle is given"):
        Generator(None, backend="native")


def test_a_cancelled_request_is_heard_of_between_two_parts() -> None:
    parts = 200

    class Slow(Counting):
        gave_up = 0

        def forward(self, chunks: Sequence[Chunk], watch: Watch) -> NDArray[np.float32] | None:
            for done in range(1, parts if len(chunks[0].tokens) > 1 else 1):
                time.sleep(0.02)
                if watch.give_up(done, parts):
                    self.gave_up += 1
                    return None
            return super().forward(chunks, watch)

    backend = Slow()
    with Generator(None, backend=backend) as generator:
        began = time.monotonic()
        with pytest.raises(DeadlineExceededError):
            generator.generate([1, 2, 3], deadline=0.3, **GREEDY)
        assert time.monotonic() - began < 2
        end = time.monotonic() + 10
        while backend.gave_up == 0 and time.monotonic() < end:
            time.sleep(0.01)
        assert backend.gave_up == 1
        assert generator.generate([1], **GREEDY).token_ids == [2, 3, 4, 5, 6]


def test_a_watch_is_for_its_step_and_its_thread_alone() -> None:
    kept: list[Watch] = []
    refused: list[str] = []

    class Keeping(Counting):
        def forward(self, chunks: Sequence[Chunk], watch: Watch) -> NDArray[np.float32] | None:
            def ask() -> None:
                try:
                    watch.give_up(1, 2)
                except InvalidArgumentError as error:
                    refused.append(str(error))

            other = threading.Thread(target=ask)
            other.start()
            other.join()
            kept.append(watch)
            return super().forward(chunks, watch)

    with Generator(None, backend=Keeping()) as generator:
        generator.generate([1], temperature=0, max_tokens=2)
    assert "on the thread that forward() runs on" in refused[0]
    with pytest.raises(InvalidArgumentError):
        kept[0].give_up(1, 2)


def test_closing_waits_for_the_step_and_ends_the_rest() -> None:
    backend = Counting(0.05)
    generator = Generator(None, backend=backend)
    stream = generator.stream([1], temperature=0, max_tokens=5000, ignore_eos=True)
    next(stream)
    threads = [threading.Thread(target=generator.close) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(50):
        generator.stats()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
    with pytest.raises(CancelledError):
        list(stream)
    with pytest.raises(ClosedError):
        generator.generate([1], **GREEDY)
    assert backend.is_shut_down


def test_the_object_goes_with_its_generator() -> None:
    backend = Counting()
    gone = weakref.ref(backend)
    generator = Generator(None, backend=backend)
    generator.generate([1], **GREEDY)
    del backend
    generator.close()
    gc.collect()
    assert gone() is None, "the closed generator holds no model"


def test_one_thread_calls_it_and_keeps_what_belongs_to_it() -> None:
    local = threading.local()
    seen: list[tuple[int, int]] = []

    class Remembering(Counting):
        def forward(self, chunks: Sequence[Chunk], watch: Watch) -> NDArray[np.float32] | None:
            local.steps = getattr(local, "steps", 0) + 1
            seen.append((threading.get_ident(), local.steps))
            return super().forward(chunks, watch)

    with Generator(None, backend=Remembering()) as generator:
        generator.generate([1], **GREEDY)
    assert len({thread for thread, _ in seen}) == 1
    assert [steps for _, steps in seen] == [1, 2, 3, 4, 5]
    assert seen[0][0] != threading.get_ident()


FOREVER = "temperature=0, max_tokens=None, ignore_eos=True"

ENDS = {
    "with a stream that runs": f"stream = generator.stream([5], {FOREVER}); print(next(stream).token_ids)",
    "with sys.exit": f"stream = generator.stream([5], {FOREVER}); print(next(stream).token_ids); sys.exit(0)",
    "closed before": "print(generator.generate([5], temperature=0, max_tokens=1).token_ids); generator.close()",
    "in a child of fork": (
        "print(generator.generate([5], temperature=0, max_tokens=1).token_ids, flush=True)\n"
        f"stream = generator.stream([5], {FOREVER}); next(stream)\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    try: generator.generate([5], max_tokens=1)\n"
        "    except skywork_rt.errors.ClosedError: sys.exit(7)\n"
        "assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7"
    ),
}


@pytest.mark.parametrize("ending", ENDS)
def test_a_process_ends_well(ending: str) -> None:
    program = "import os, sys, skywork_rt, counting\n"
    program += "generator = skywork_rt.Generator(None, backend=counting.Counting(0.01))\n"
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    ended = subprocess.run(
        [sys.executable, "-c", program + ENDS[ending]],
        env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "[6]\n", "")


def test_ctrl_c_reaches_who_waits_and_not_the_step() -> None:
    program = (
        "import os, signal, threading, skywork_rt, counting\n"
        "generator = skywork_rt.Generator(None, backend=counting.Counting(0.01))\n"
        "threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()\n"
        f"try: generator.generate([5], {FOREVER})\n"
        "except KeyboardInterrupt: print('interrupted')\n"
        "print(generator.generate([5], temperature=0, max_tokens=1).token_ids)\n"
    )
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    ended = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "interrupted\n[6]\n", "")
