"""What one step says, and the file that keeps it: a JSON object a line."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skywork_rt.errors import InvalidArgumentError

__all__ = ["LossLog", "StepRecord", "read_log"]


@dataclass(frozen=True)
class StepRecord:
    """One step of the optimizer, or several under sink mode, after it was done.

    `loss` is the mean over all ranks of data parallel training; `loss_scale` is that of the next step, halved already
    after an overflow.
    `tokens_per_second` is of one card, None in the first step, which compiles the graph. `eval_loss` and
    `eval_perplexity` are there after steps that evaluated.
    """

    step: int
    epoch: int
    loss: float
    learning_rate: float | None = None
    loss_scale: float | None = None
    grad_norm: float | None = None
    overflow: bool = False
    tokens_per_second: float | None = None
    eval_loss: float | None = None
    eval_perplexity: float | None = None

    def to_json(self) -> str:
        """A line; numbers that JSON does not have are texts ("nan")."""
        values = {name: _json_number(value) for name, value in dataclasses.asdict(self).items() if value is not None}
        return json.dumps(values)

    @classmethod
    def from_json(cls, line: str) -> StepRecord:
        """The inverse of `to_json`. Raises ValueError or TypeError for a line that is none."""
        values = json.loads(line)
        for name in ("loss", "loss_scale", "grad_norm", "eval_loss", "eval_perplexity"):
            if isinstance(values.get(name), str):
                values[name] = float(values[name])
        return cls(**values)


def _json_number(value: Any) -> Any:
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


class LossLog:
    """The log of a training, `loss.jsonl` in its output folder; what a resumed training computes again is replaced."""

    def __init__(self, path: Path, first_step: int) -> None:
        """Keeps the records up to `first_step`, the last step that was done before."""
        self._path = path
        self.records = [record for record in _read(path) if record.step <= first_step]
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_suffix(".tmp")
        beside.write_text("".join(record.to_json() + "\n" for record in self.records), encoding="utf-8")
        beside.replace(path)
        self._file = path.open("a", encoding="utf-8")

    def add(self, record: StepRecord) -> None:
        """Writes a line, whole, before the next step begins."""
        self.records.append(record)
        self._file.write(record.to_json() + "\n")
        self._file.flush()

    def close(self) -> None:
        """What was written is on the disk afterwards."""
        if not self._file.closed:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()


def _read(path: Path) -> Iterable[StepRecord]:
    """The records of a log; a line that a killed process left half written ends it."""
    if not path.is_file():
        return
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            yield StepRecord.from_json(line)
        except (ValueError, TypeError):
            return


def read_log(path: Path) -> list[StepRecord]:
    """All records of a loss.jsonl. Raises InvalidArgumentError when there is no such file."""
    if not path.is_file():
        raise InvalidArgumentError(f"{path} does not exist; training writes it into its output folder")
    return list(_read(path))
