"""Who this process is among the ranks of a training, and numbers that all ranks share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from skywork_rt.support.environment import MSRUN_RANK, MSRUN_RANKS, MSRUN_ROLE

__all__ = ["Ranks", "role", "this_rank"]


def role() -> Literal["alone", "worker", "scheduler"]:
    """What msrun started this process as; `alone` without msrun."""
    names: dict[str, Literal["worker", "scheduler"]] = {"MS_WORKER": "worker", "MS_SCHED": "scheduler"}
    return names.get(MSRUN_ROLE.value() or "", "alone")


def this_rank() -> tuple[int, int]:
    """Rank and number of ranks, from what msrun sets; (0, 1) without it."""
    if role() == "alone":
        return 0, 1
    return int(MSRUN_RANK.value() or 0), int(MSRUN_RANKS.value() or 1)


@dataclass(frozen=True)
class Ranks:
    """All ranks of this training. `loss_rank` is whose loss is the whole one, None when the mean over all is."""

    rank: int = 0
    size: int = 1
    loss_rank: int | None = 0

    def gather(self, values: Sequence[float]) -> NDArray[np.float64]:
        """[size, len(values)]: the values of every rank, each exactly as float32 has it. All ranks must call it."""
        mine = np.zeros((self.size, len(values)), np.float32)
        mine[self.rank] = values
        if self.size == 1:
            return mine.astype(np.float64)
        import mindspore as ms
        from mindspore import ops

        mode = ms.get_auto_parallel_context("parallel_mode")
        full_batch = ms.get_auto_parallel_context("full_batch")
        auto = mode in ("semi_auto_parallel", "auto_parallel")
        if auto:  # an operation on its own, outside of the sharded graph
            ms.set_auto_parallel_context(parallel_mode="data_parallel", full_batch=False)
        try:
            # Infinite or no number times zero is no number: such values travel as flags.
            finite = np.isfinite(mine)
            marks = np.where(np.isnan(mine), 1.0, np.where(mine == np.inf, 2.0, np.where(mine == -np.inf, 3.0, 0.0)))
            packed = np.stack([np.where(finite, mine, 0.0), marks]).astype(np.float32)
            summed = ops.AllReduce()(ms.Tensor(packed)).asnumpy().astype(np.float64)
        finally:
            if auto:
                ms.set_auto_parallel_context(parallel_mode=mode, full_batch=full_batch)
        special = np.choose(summed[1].astype(np.int64), [0.0, np.nan, np.inf, -np.inf])
        result: NDArray[np.float64] = np.where(summed[1] > 0, special, summed[0])
        return result

    def loss(self, losses: NDArray[np.float64]) -> float:
        """The loss of the step of what every rank computed."""
        return float(losses.mean() if self.loss_rank is None else losses[self.loss_rank])
