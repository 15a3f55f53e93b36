"""What a conversion did, for people."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Report"]


@dataclass(frozen=True)
class Report:
    """The result of `convert`, `split` or `merge`.

    `tensors` were written, `resumed` of them by an earlier run that was interrupted; `bytes` is their size in all
    files. `left_out` are names of the source that the output does not have, `written_beside` small files that were
    made beside it. `peak_memory` is the most that one process had in memory, in bytes.
    """

    out: Path
    tensors: int
    bytes: int
    peak_memory: int
    resumed: int = 0
    dtypes: Sequence[str] = ()
    left_out: Sequence[str] = ()
    written_beside: Sequence[str] = ()
    merged: int = 0
    ranks: int = 0

    def lines(self) -> list[str]:
        """One sentence a line."""
        ranks = f" for {self.ranks} ranks" if self.ranks else ""
        lines = [f"{self.out}  {self.tensors} tensors{ranks}, {_size(self.bytes)}, {', '.join(self.dtypes)}"]
        if self.resumed:
            lines.append(f"{self.resumed} of them were there from an interrupted run and are verified")
        if self.merged:
            lines.append(f"{self.merged} weights have their low-rank update (LoRA) in them now")
        if self.left_out:
            shown = ", ".join(self.left_out[:3]) + (", …" if len(self.left_out) > 3 else "")
            lines.append(f"left out {len(self.left_out)} entries of the training run: {shown}")
        if self.written_beside:
            lines.append(f"beside it: {', '.join(self.written_beside)}")
        lines.append(f"peak memory {math.ceil(self.peak_memory / 1e6)} MB")
        return lines


def _size(count: int) -> str:
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
