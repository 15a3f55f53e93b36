"""Whether written graphs compute what the checkpoint says: the interpreter's prompts and steps, and numpy's Llama.

The interpreter is slow and pads as the device does, so a large model at its full length would take days: beyond
`MOST_WORK` an export is not verified, and says so. A small gear is what makes it possible.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from skywork_rt.checkpoints.model import Float32Array, ModelConfig, Source
from skywork_rt.errors import BackendError
from skywork_rt.export.device_cache import FULL, INCREMENTAL, DeviceForm, Gear, Role
from skywork_rt.export.graph.ascend.feeds import prompt_feeds, step_feeds
from skywork_rt.export.graph.ascend.interpreter import DeviceGraph
from skywork_rt.export.graph.ascend.weights import cache_parameters
from skywork_rt.export.graph.reference import ReferenceLlama
from skywork_rt.support.host import available_memory
from skywork_rt.support.stages import Progress, no_progress

__all__ = ["MOST_WORK", "TOLERANCES", "relative_difference", "verify_graphs"]

_log = logging.getLogger("skywork_rt.export")

TOLERANCES: Mapping[str, float] = {"float32": 2e-4, "float16": 2e-2}
"""Largest allowed difference, as a share of the range of the expected logits."""

MOST_WORK = 4e12
"""Multiplications and additions: some minutes of two cores."""

_LENGTHS = (9, 4, 2)
_STEPS = 3
_SEED = 20231030


def verify_graphs(
    source: Source, form: DeviceForm, graphs: Mapping[Role, Path], progress: Progress = no_progress
) -> None:
    """Raises BackendError with the numbers when logits differ by more than `TOLERANCES`."""
    reason = _why_not(source.config, form)
    if reason is not None:
        _log.warning("the graphs were not verified: %s (docs/ascend-export.md)", reason)
        return
    gear, rows = _first_call(source.config, form)
    _compare(source, form, graphs, gear, _lengths(form)[:rows], progress)


def _lengths(form: DeviceForm) -> list[int]:
    return [min(length, form.positions - _STEPS) for length in _LENGTHS[: form.rows]]


def _first_call(config: ModelConfig, form: DeviceForm) -> tuple[Gear, int]:
    """The gear of the prompts and how many there are: fewer where a gear of more rows would be too much work."""
    for rows in range(len(_lengths(form)), 0, -1):
        gear = _smallest(form.full_gears, rows, max(_lengths(form)) + _STEPS)
        if _work(config, gear) <= MOST_WORK:
            break
    return gear, rows


def _work(config: ModelConfig, gear: Gear) -> float:
    return 2.0 * config.parameter_count() * gear[0] * gear[1]


def _why_not(config: ModelConfig, form: DeviceForm) -> str | None:
    """What stands against a verification, with numbers."""
    if form.positions <= _STEPS:
        return f"seq_length {form.positions} leaves no room for a prompt and {_STEPS} steps"
    gear, _ = _first_call(config, form)
    if _work(config, gear) > MOST_WORK:
        return (
            f"the gear {gear[0]}x{gear[1]} takes {_work(config, gear):.2g} operations in numpy, and {MOST_WORK:.2g} "
            "are tried; a small gear such as 1x16 is verified"
        )
    cache = len(cache_parameters(config, form)) * math.prod(form.cache_shape(config)) * np.dtype(form.dtype).itemsize
    free = available_memory()
    if cache > free / 2:
        return f"the cache takes {cache / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB are available"
    return None


def _compare(
    source: Source,
    form: DeviceForm,
    graphs: Mapping[Role, Path],
    gear: Gear,
    lengths: Sequence[int],
    progress: Progress,
) -> None:
    stage, config = "verifying graphs", source.config
    progress(stage, 0, _STEPS + 2)
    rng = np.random.default_rng(_SEED)
    rows = [rng.integers(0, config.vocab_size, length + _STEPS).tolist() for length in lengths]
    reference = ReferenceLlama(source, keep=False)
    expected = reference.forward_many([(row, reference.new_cache()) for row in rows])
    progress(stage, 1, _STEPS + 2)
    caches: dict[str, Any] = {}
    full, incremental = DeviceGraph(graphs[FULL], caches), DeviceGraph(graphs[INCREMENTAL], caches)
    prompts = [row[:length] for row, length in zip(rows, lengths, strict=True)]
    logits = full.run(prompt_feeds(form, prompts, gear, config.pad_id or 0))[0]
    _check(form, "the full graph", logits, [e[n - 1] for e, n in zip(expected, lengths, strict=True)])
    progress(stage, 2, _STEPS + 2)
    step = _step_gear(form, gear, len(rows), max(lengths) + _STEPS)
    for done in range(_STEPS):
        tokens = [row[n + done] for row, n in zip(rows, lengths, strict=True)]
        feeds = step_feeds(form, tokens, [n + done + 1 for n in lengths], step, config.pad_id or 0)
        logits = incremental.run(feeds)[0][:, 0]
        _check(form, "the incremental graph", logits, [e[n + done] for e, n in zip(expected, lengths, strict=True)])
        progress(stage, done + 3, _STEPS + 2)


def _step_gear(form: DeviceForm, prompts: Gear, rows: int, length: int) -> Gear:
    if form.form == "paged":
        return _smallest(form.incremental_gears, rows, 1)
    same_rows = [gear for gear in form.incremental_gears if form.form != "assign" or gear[0] == prompts[0]]
    return _smallest(same_rows, rows, length)


def _smallest(gears: Sequence[Gear], rows: int, length: int) -> Gear:
    """The cheapest that fits; the largest gear of all fits everything."""
    return min((g for g in gears if g[0] >= rows and g[1] >= length), key=lambda gear: gear[0] * gear[1])


def relative_difference(logits: Float32Array, expected: Float32Array) -> float:
    """Of two rows of logits: the largest difference as a share of the range of the expected."""
    worst = float(np.max(np.abs(logits - expected)) / np.ptp(expected))
    return worst if np.isfinite(worst) else float("inf")


def _check(form: DeviceForm, what: str, logits: Float32Array, expected: Sequence[Float32Array]) -> None:
    worst = max(relative_difference(row, wanted) for row, wanted in zip(logits, expected, strict=False))
    if worst > TOLERANCES[form.precision]:
        raise BackendError(
            f"{what} of form {form.form} does not compute what the checkpoint says: logits differ by {worst:.3g} of "
            f"their range; {TOLERANCES[form.precision]} is allowed for {form.precision}"
        )
