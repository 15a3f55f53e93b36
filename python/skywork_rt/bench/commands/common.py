"""What the commands of `skywork-rt bench` share: options, the machine, progress."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from skywork_rt.errors import InvalidArgumentError

if TYPE_CHECKING:
    from skywork_rt.bench.runner import Report
    from skywork_rt.bench.subjects import Subject

__all__ = [
    "BundlePath",
    "JsonPath",
    "Repeat",
    "Runtime",
    "Runtimes",
    "Threads",
    "all_threads",
    "file_to_write",
    "machine_of",
    "one_subject",
    "progress",
    "terminated_like_interrupted",
]

BundlePath: TypeAlias = Annotated[Path, typer.Argument(help="Bundle directory, as 'skywork-rt export' writes it.")]


def file_to_write(path: Path | None) -> Path | None:
    """Refuses, before anything is measured, a file that could not be written after it."""
    if path is not None and path.is_dir():
        raise InvalidArgumentError(f"{path} is a folder; name a file in it")
    if path is not None and not os.access(path.parent, os.W_OK):
        reason = "cannot be written to" if path.parent.is_dir() else "does not exist"
        raise InvalidArgumentError(
            f"{path} cannot be written: the folder {path.parent} {reason}; make it, or name another"
        )
    return path


JsonPath: TypeAlias = Annotated[
    Path | None, typer.Option("--json", callback=file_to_write, help="Also write the rows to this file.")
]
Threads: TypeAlias = Annotated[int | None, typer.Option(min=1, help="Default: all cores of the process.")]
Repeat: TypeAlias = Annotated[int, typer.Option(min=1, help="Times that everything is measured.")]
Runtimes: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--runtime", help="Only these, such as skywork_rt:lite or 'skywork_rt:native int8*'; may be repeated."
    ),
]
Runtime: TypeAlias = Annotated[
    str | None, typer.Option(help="skywork_rt:lite or 'skywork_rt:native int8/f32'. Default: the bundle's first.")
]


def machine_of(threads: int, streams: Sequence[float] = ()) -> dict[str, Any]:
    """The machine, its memory stream included: measured in this run, it bounds what can be expected of it."""
    from skywork_rt.bench.machine import describe_machine
    from skywork_rt.bench.stats import summarise
    from skywork_rt.bench.stream import measure_stream

    stream = summarise(streams or [measure_stream(threads)]).median
    return {**describe_machine(threads), "memory_stream_mb_s": round(stream / 1e6)}


def one_subject(bundle: Path, runtime: str | None) -> Subject:
    """Ours that `runtime` names, or the bundle's first. Raises InvalidArgumentError for one that it does not have."""
    from skywork_rt.bench.subjects import list_subjects, select_subjects

    ours = select_subjects(list_subjects(bundle), ["skywork_rt:*"])
    return select_subjects(ours, [runtime] if runtime else [])[0]


def all_threads() -> int:
    from skywork_rt.bench.machine import usable_threads

    return usable_threads()


@contextmanager
def terminated_like_interrupted() -> Iterator[None]:
    """SIGTERM, as `timeout` sends it, also ends the run early and keeps what was measured."""
    import signal

    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


@contextmanager
def progress() -> Iterator[Report]:
    from skywork_rt.support.progress import progress_bars

    with progress_bars() as bars:
        yield bars
