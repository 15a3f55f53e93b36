"""`affinity`: where a model computes, on every backend."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import skywork_rt
from skywork_rt.cli.text import core_list
from skywork_rt.errors import InvalidArgumentError

CORES = sorted(os.sched_getaffinity(0))
needs_two_cores = pytest.mark.skipif(len(CORES) < 2, reason="needs two cores")


def places() -> dict[int, frozenset[int]]:
    """Cores of every thread of this process, by its id."""
    found = {}
    for task in Path("/proc/self/task").iterdir():
        try:
            found[int(task.name)] = frozenset(os.sched_getaffinity(int(task.name)))
        except ProcessLookupError:
            continue
    return found


@needs_two_cores
def test_a_model_computes_on_its_cores_only_and_leaves_other_threads_alone(
    tiny_bundle: Path, endless_bundle: Path, backend: str
) -> None:
    before = places()
    with skywork_rt.Generator(tiny_bundle, backend=backend) as generator:
        expected = generator.generate([3, 4, 5], temperature=0, max_tokens=20, ignore_eos=True).token_ids
    for core in CORES[:2]:
        with skywork_rt.Generator(endless_bundle, backend=backend, affinity=[core], max_length=2000) as generator:
            assert (generator.options["affinity"], generator.options["threads"]) == ([core], 1)
            seen: set[int] = set()
            with generator.stream([3, 4, 5], temperature=0, max_tokens=1500, ignore_eos=True) as stream:
                for piece, _ in zip(stream, range(200), strict=False):
                    assert piece.token_ids
                    seen |= {thread for thread, cores in places().items() if cores == {core}}
        assert seen - set(before), "no thread of the model was seen on its core"
        assert {thread: cores for thread, cores in places().items() if thread in before} == before
    with skywork_rt.Generator(tiny_bundle, backend=backend, affinity=CORES[:2]) as generator:
        assert generator.options["threads"] == 2
        assert generator.generate([3, 4, 5], temperature=0, max_tokens=20, ignore_eos=True).token_ids == expected


@pytest.mark.parametrize(
    ("affinity", "message"),
    [
        ([CORES[0], 1023], "affinity names core 1023, but this process may run on "),
        ([-1], "affinity names core -1, but this process may run on "),
        ([CORES[0], CORES[0]], f"affinity names core {CORES[0]} twice"),
        ([], r"affinity is \[\], but must be a list of cores, or None"),
        ("0", "affinity is '0', but must be a list of cores"),
        ([0.5], r"affinity\[0\] is 0\.5 \(float\), but must be an int"),
        ([True], r"affinity\[0\] is True"),
    ],
)
def test_cores_that_cannot_be_had_are_refused_by_name(
    tiny_bundle: Path, backend: str, affinity: object, message: str
) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        skywork_rt.Generator(tiny_bundle, backend=backend, affinity=affinity)  # type: ignore[arg-type]


def test_more_threads_than_cores_are_refused(tiny_bundle: Path, backend: str) -> None:
    with pytest.raises(InvalidArgumentError, match=f"threads is 2, but affinity names 1 cores \\({CORES[0]}\\)"):
        skywork_rt.Generator(tiny_bundle, backend=backend, affinity=CORES[:1], threads=2)


def test_the_command_line_reads_cores_as_taskset_does() -> None:
    assert core_list("affinity", "0,2-5, 9") == [0, 2, 3, 4, 5, 9]
    for wrong in ("a", "3-1", "1-", "-1", "1-2-3", "99999999"):
        with pytest.raises(InvalidArgumentError, match=f"affinity is '{wrong}'"):
            core_list("affinity", wrong)
