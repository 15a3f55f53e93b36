"""The JSON document of a benchmark: the machine, and one row a runtime, kind of weights and metric."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from skywork_rt.bench.stats import summarise

__all__ = ["Row", "check_document", "document", "make_row", "write_document"]


@dataclass(frozen=True)
class Row:
    """Median, least and greatest of one metric's repeats. The field names are the document's."""

    runtime: str
    """`skywork_rt:lite`, `skywork_rt:native`, `lite:predict`, `recipe:python-loop`, …"""
    weights: str
    """Stored type / type of the activations: `int4/f32`."""
    bits_per_weight: float
    """Bits of the weights' file for each parameter of the model; 0 where a row has no weights."""
    metric: str
    unit: str
    median: float
    min: float
    max: float


def make_row(
    runtime: str, weights: str, bits_per_weight: float, metric: str, unit: str, samples: Sequence[float]
) -> Row:
    """Raises ValueError when there are no samples or one is not finite."""
    summary = summarise(samples)
    return Row(runtime, weights, round(bits_per_weight, 3), metric, unit, summary.median, summary.min, summary.max)


def document(machine: Mapping[str, Any], rows: Sequence[Row]) -> dict[str, Any]:
    """`{"machine": …, "rows": […]}`."""
    return {"machine": dict(machine), "rows": [asdict(row) for row in rows]}


def write_document(path: Path, machine: Mapping[str, Any], rows: Sequence[Row]) -> None:
    """Writes the document in one go, so that a reader never sees half of it."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(document(machine, rows), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    partial.replace(path)


def check_document(loaded: Any) -> list[Row]:
    """The rows of a parsed document. Raises ValueError that names what is wrong with it."""
    if not isinstance(loaded, dict) or set(loaded) != {"machine", "rows"}:
        raise ValueError('a benchmark document is an object with exactly "machine" and "rows"')
    if not isinstance(loaded["machine"], dict) or not isinstance(loaded["rows"], list):
        raise ValueError('"machine" must be an object and "rows" a list')
    return [_check_row(index, entry) for index, entry in enumerate(loaded["rows"])]


def _check_row(index: int, entry: Any) -> Row:
    names = {field.name for field in fields(Row)}
    if not isinstance(entry, dict) or set(entry) != names:
        raise ValueError(f"row {index} must have exactly the fields {sorted(names)}")
    for name in ("runtime", "weights", "metric", "unit"):
        if not isinstance(entry[name], str) or not entry[name]:
            raise ValueError(f"row {index}: {name} is {entry[name]!r}, but must be a text that is not empty")
    for name in ("bits_per_weight", "median", "min", "max"):
        value = entry[name]
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
            raise ValueError(f"row {index}: {name} is {value!r}, but must be a finite number, at least 0")
    row = Row(**entry)
    if not row.min <= row.median <= row.max:
        raise ValueError(f"row {index}: median {row.median} is outside of [{row.min}, {row.max}]")
    return row
