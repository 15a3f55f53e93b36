"""Memory is bounded by what there is: by a bound that is set, and by a control group where one may be used."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import skywork_rt
from bundles import bundle_of, tiny_source
from skywork_rt import CapacityError, Generator, InvalidArgumentError
from skywork_rt.support import host

MIB = 2**20
BOUND = 48 * MIB
CHATS = 500
LONGEST = 512

#: Resident memory after every tenth of the chats, each of them different from its first token on.
CHAT_ON = """
import gc, os, sys, skywork_rt
bundle, bound, chats = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
options = {"max_cache_bytes": bound} if bound else {}
def resident():
    gc.collect()
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
with skywork_rt.Generator(bundle, backend="native", weights="f32", **options) as generator:
    before = resident()
    for chat in range(chats):
        prompt = [3 + (chat * 7 + i * (chat % 13 + 1)) % 500 for i in range(300 + chat % 100)]
        result = generator.generate(prompt, temperature=0, max_tokens=4, ignore_eos=True)
        assert len(result.token_ids) == 4
        if chat % (chats // 10) == chats // 10 - 1:
            print(resident() - before)
    stats = generator.stats()
    assert stats["refused"] == stats["failed"] == 0
    assert stats["cached_tokens"] > 0, "what was computed is kept"
    print(generator.options["max_cached_tokens"])
"""


@pytest.fixture(scope="module")
def roomy_bundle() -> Path:
    """A small model whose cached tokens are large: 16 KiB each, 8 MiB a chat of full length."""
    shape = {"layers": 4, "kv_heads": 8, "heads": 8, "head_dim": 64, "max_length": LONGEST}
    return bundle_of("tiny-roomy", tiny_source, ("f32",), kind="none", **shape)


def _bytes_per_token(generator: Generator) -> int:
    model = generator.model
    return 2 * model.layers * model.kv_heads * model.head_dim * 4


def _chat_on(command: list[str], bundle: Path, bound: int) -> list[int]:
    ended = subprocess.run(
        [*command, sys.executable, "-c", CHAT_ON, str(bundle), str(bound), str(CHATS)],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    return [int(line) for line in ended.stdout.split()]


@pytest.mark.slow
@pytest.mark.skipif("native" not in os.environ.get("SKYWORK_RT_TEST_BACKENDS", "native"), reason="native backend only")
def test_five_hundred_chats_stay_below_the_bound(roomy_bundle: Path) -> None:
    *resident, tokens = _chat_on([], roomy_bundle, BOUND)
    assert tokens == BOUND // (2 * 4 * 8 * 64 * 4)
    buffers = 24 * MIB  # of steps, threads and the allocator
    assert max(resident) < BOUND + buffers
    assert max(resident) - min(resident[2:]) < 8 * MIB, "flat after the warm-up"
    assert min(resident[2:]) > BOUND // 2, "and the room that there is is used"


@pytest.mark.skipif(
    "SKYWORK_RT_TEST_CONTROL_GROUP" not in os.environ,
    reason="SKYWORK_RT_TEST_CONTROL_GROUP names no memory group that was delegated to this test, with a limit set",
)
def test_under_a_real_limit_nothing_is_killed(roomy_bundle: Path) -> None:
    """The group has a limit of some 256 MiB, and processes may be moved into it: made by whoever runs the tests."""
    group = os.environ["SKYWORK_RT_TEST_CONTROL_GROUP"]
    enter = ["sh", "-c", f'echo $$ > "{group}/cgroup.procs" && exec "$@"', "sh"]
    *resident, _ = _chat_on(enter, roomy_bundle, 0)
    assert len(resident) == 10


def test_without_options_the_cache_fits_into_what_is_available(tiny_bundle: Path, backend: str) -> None:
    before = host.available_memory()
    with Generator(tiny_bundle, backend=backend) as generator:
        options = generator.options
        assert 0 < options["max_cache_bytes"] < before
        assert options["max_cached_tokens"] * _bytes_per_token(generator) <= options["max_cache_bytes"]
        assert options["max_cached_tokens"] <= options["max_length"] * options["max_batch"]


def test_of_two_bounds_the_lesser_counts(tiny_bundle: Path, backend: str) -> None:
    with Generator(tiny_bundle, backend=backend, max_cached_tokens=100) as generator:
        size = _bytes_per_token(generator)
        assert generator.options["max_cache_bytes"] >= 100 * size
        assert generator.options["max_length"] == 100, "nobody set it, and one sequence must fit"
    for tokens, count in ((100, 64), (50, 50)):
        with Generator(tiny_bundle, backend=backend, max_cached_tokens=tokens, max_cache_bytes=64 * size) as generator:
            assert generator.options["max_cached_tokens"] == count
            assert generator.stats()["cache_capacity"] == count


def test_more_than_is_available_is_refused_with_numbers(endless_bundle: Path, backend: str) -> None:
    with Generator(endless_bundle, backend=backend, max_cached_tokens=64) as generator:
        size = _bytes_per_token(generator)
    if 65536 * 4096 * size < host.available_memory():
        pytest.skip("this machine has memory for 4096 sequences of 65536 tokens")
    for option, value in (("max_cached_tokens", 65536 * 4096), ("max_cache_bytes", 65536 * 4096 * size)):
        with pytest.raises(CapacityError, match=rf"{option} is {value}, .* \(\d+ bytes\) .* available.*lower {option}"):
            Generator(endless_bundle, backend=backend, max_batch=4096, **{option: value})


def test_a_raw_backend_is_bounded_by_the_same_rule(tiny_bundle: Path, backend: str) -> None:
    raw = skywork_rt._core.RawBackend(str(tiny_bundle), {"backend": backend, "max_cache_bytes": 10**6})
    traits = raw.traits
    assert traits["max_cached_tokens"] == 10**6 // traits["bytes_per_token"]


def test_logprobs_are_bounded_by_the_generators_option(tiny_bundle: Path, backend: str) -> None:
    with Generator(tiny_bundle, backend=backend) as generator:
        for field in ("logprobs", "prompt_logprobs"):
            with pytest.raises(InvalidArgumentError, match=re.escape(f"{field} is 21, but max_logprobs is 20")):
                generator.generate([5, 6], max_tokens=1, **{field: 21})
    with Generator(tiny_bundle, backend=backend, max_logprobs=0) as generator:
        assert generator.score([5, 6], [7]).token_logprobs
    with Generator(tiny_bundle, backend=backend, max_logprobs=-1) as generator:
        rows = generator.generate([5, 6], max_tokens=1, prompt_logprobs=generator.model.vocab_size).prompt_logprobs
        assert rows is not None and rows[1] is not None and len(rows[1]) == generator.model.vocab_size
