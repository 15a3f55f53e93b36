"""Logits of every backend against transformers float32 at 1, 4, 5, 8 and 16 rows: prefill, chunk and decode.

Lite's kernels take other paths below and above four rows, so that each count is a case of its own.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from random_models import CASES

from bundles import BACKENDS, random_bundle
from golden import RandomGolden, SmolGolden
from skywork_rt._core import RawBackend

ROWS = (1, 4, 5, 8, 16)

#: What of each bundle equals the float32 model: Lite's graphs, and native float32 weights in exact mode.
EXACT = {"lite": {"backend": "lite"}, "native": {"backend": "native", "weights": "f32", "activations": "f32"}}


def all_rows(count: int) -> list[int]:
    return list(range(count))


#: Each case on each backend; the graphs of some would be another case's.
PAIRS = [(backend, name) for backend in BACKENDS for name, case in CASES.items() if backend == "native" or case.lite]


@pytest.fixture(scope="module", params=PAIRS, ids=["-".join(pair) for pair in PAIRS])
def opened(request: pytest.FixtureRequest) -> tuple[RawBackend, RandomGolden]:
    backend, name = request.param
    return RawBackend(str(random_bundle(name)), EXACT[backend] | {"max_batch": 16}), RandomGolden.load(name)


@pytest.mark.parametrize("rows", ROWS)
def test_prefill_gives_the_logits_of_transformers(opened: tuple[RawBackend, RandomGolden], rows: int) -> None:
    raw, golden = opened
    seq = raw.open(64)
    golden.check(raw.forward([(seq, golden.ids[:rows], all_rows(rows))]), range(rows))
    assert raw.length(seq) == rows
    raw.close(seq)


@pytest.mark.parametrize("rows", ROWS)
def test_a_chunk_over_a_cache_gives_them(opened: tuple[RawBackend, RandomGolden], rows: int) -> None:
    raw, golden = opened
    seq = raw.open(64)
    assert raw.forward([(seq, golden.ids[:20], [])]).shape[0] == 0
    golden.check(raw.forward([(seq, golden.ids[20 : 20 + rows], all_rows(rows))]), range(20, 20 + rows))
    raw.close(seq)


@pytest.mark.parametrize("rows", ROWS)
def test_decode_of_a_batch_gives_them(opened: tuple[RawBackend, RandomGolden], rows: int) -> None:
    """`rows` sequences of different lengths, one token each, three steps."""
    raw, golden = opened
    seqs = [raw.open(64) for _ in range(rows)]
    lengths = [1 + 2 * i for i in range(rows)]
    for seq, length in zip(seqs, lengths, strict=True):
        raw.forward([(seq, golden.ids[:length], [])])
    for step in range(3):
        positions = [length + step for length in lengths]
        chunks = [(seq, [golden.ids[p]], [0]) for seq, p in zip(seqs, positions, strict=True)]
        golden.check(raw.forward(chunks), positions)
    for seq in seqs:
        raw.close(seq)


def test_chosen_rows_are_the_rows_of_all(opened: tuple[RawBackend, RandomGolden]) -> None:
    raw, golden = opened
    seq = raw.open(64)
    golden.check(raw.forward([(seq, golden.ids[:16], [0, 3, 15])]), [0, 3, 15])
    raw.close(seq)


def test_a_mixed_step_gives_them(opened: tuple[RawBackend, RandomGolden]) -> None:
    raw, golden = opened
    if not raw.traits["mixed_steps"]:
        pytest.skip("this backend takes prefill and decode in calls of their own")
    decoding, filling = raw.open(64), raw.open(64)
    raw.forward([(decoding, golden.ids[:9], [])])
    logits = raw.forward([(decoding, golden.ids[9:10], [0]), (filling, golden.ids[:6], [2, 5])])
    golden.check(logits, [9, 2, 5])
    raw.close(decoding)
    raw.close(filling)


def test_fork_and_truncate_keep_them(opened: tuple[RawBackend, RandomGolden]) -> None:
    raw, golden = opened
    first, second = raw.open(64), raw.open(64)
    raw.forward([(first, golden.ids[:12], [])])
    raw.forward([(second, golden.ids[20:25], [])])
    raw.reorder([first, first], [first, second])
    raw.truncate(second, 7)
    assert (raw.length(first), raw.length(second)) == (12, 7)
    chunks = [(first, golden.ids[12:13], [0]), (second, golden.ids[7:8], [0])]
    golden.check(raw.forward(chunks), [12, 7])
    raw.close(first)
    raw.close(second)


def test_greedy_ids_are_those_of_transformers(opened: tuple[RawBackend, RandomGolden]) -> None:
    raw, golden = opened
    seq = raw.open(64)
    token = int(raw.forward([(seq, golden.ids, [len(golden.ids) - 1])]).argmax())
    found = [token]
    while len(found) < len(golden.greedy):
        token = int(raw.forward([(seq, [token], [0])]).argmax())
        found.append(token)
    assert found == golden.greedy
    raw.close(seq)


# SmolLM2


@pytest.fixture(scope="module")
def smollm2(smollm2_bundle: Path, backend: str) -> RawBackend:
    options = {"lite": {"backend": "lite"}, "native": {"backend": "native", "weights": "int4", "activations": "f32"}}
    return RawBackend(str(smollm2_bundle), options[backend] | {"max_batch": 16, "max_length": 1024})


@pytest.mark.slow
@pytest.mark.parametrize("rows", ROWS)
def test_smollm2_prefill(smollm2: RawBackend, rows: int) -> None:
    golden = SmolGolden.load()
    ids = golden.prompts["emoji"].ids
    seq = smollm2.open(64)
    golden.check("emoji", smollm2.forward([(seq, ids[:rows], all_rows(rows))]), range(rows))
    smollm2.close(seq)


@pytest.mark.slow
@pytest.mark.parametrize("rows", ROWS)
def test_smollm2_chunk(smollm2: RawBackend, rows: int) -> None:
    golden = SmolGolden.load()
    ids = golden.prompts["provinces"].ids
    seq = smollm2.open(64)
    smollm2.forward([(seq, ids[:20], [])])
    logits = smollm2.forward([(seq, ids[20 : 20 + rows], all_rows(rows))])
    golden.check("provinces", logits, range(20, 20 + rows))
    smollm2.close(seq)


@pytest.mark.slow
@pytest.mark.parametrize("rows", ROWS)
def test_smollm2_decode(smollm2: RawBackend, rows: int) -> None:
    """Different prompts, decoded together over three steps of their own tokens."""
    golden = SmolGolden.load()
    prompts = [prompt for prompt in golden.prompts.values() if len(prompt.ids) > 10][:rows]
    assert len(prompts) == rows
    seqs = [smollm2.open(64) for _ in prompts]
    lengths = [3 + (5 * i) % 7 for i in range(rows)]
    for seq, prompt, length in zip(seqs, prompts, lengths, strict=True):
        smollm2.forward([(seq, prompt.ids[:length], [])])
    for step in range(3):
        chunks = [(s, [p.ids[n + step]], [0]) for s, p, n in zip(seqs, prompts, lengths, strict=True)]
        logits = smollm2.forward(chunks)
        for row, (prompt, length) in enumerate(zip(prompts, lengths, strict=True)):
            golden.check(prompt.name, logits[row : row + 1], [length + step])
    for seq in seqs:
        smollm2.close(seq)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["long-english", "long-code", "long-chinese", "long-table"])
def test_smollm2_long_prefill_in_one_piece_and_in_chunks(smollm2: RawBackend, name: str) -> None:
    golden = SmolGolden.load()
    ids = golden.prompts[name].ids
    positions = golden.positions(name)
    whole = smollm2.open(512)
    golden.check(name, smollm2.forward([(whole, ids, positions)]), positions)
    smollm2.close(whole)
    parts = smollm2.open(512)
    last = np.empty((0, 0), np.float32)
    for start in range(0, len(ids), 100):
        part = ids[start : start + 100]
        last = smollm2.forward([(parts, part, [len(part) - 1])])
    golden.check(name, last, [len(ids) - 1])
    smollm2.close(parts)
