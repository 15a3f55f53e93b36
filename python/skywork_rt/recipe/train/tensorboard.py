"""The same numbers for TensorBoard."""

from __future__ import annotations

import math
from pathlib import Path

from skywork_rt.recipe.train.records import StepRecord

__all__ = ["TensorBoardWriter"]

_NAMES = {
    "loss": "train/loss",
    "learning_rate": "train/learning_rate",
    "loss_scale": "train/loss_scale",
    "grad_norm": "train/grad_norm",
    "tokens_per_second": "speed/tokens_per_second_a_card",
    "eval_loss": "eval/loss",
    "eval_perplexity": "eval/perplexity",
}


class TensorBoardWriter:
    """Writes an event file into a folder; `tensorboard --logdir FOLDER` shows it."""

    def __init__(self, folder: Path, first_step: int) -> None:
        """What an earlier training wrote after `first_step` is hidden by TensorBoard."""
        from tensorboardX import SummaryWriter

        self._writer = SummaryWriter(str(folder), purge_step=first_step + 1 if first_step else None)

    def add(self, record: StepRecord) -> None:
        """All numbers of the step that are finite."""
        for field, tag in _NAMES.items():
            value = getattr(record, field)
            if value is not None and math.isfinite(value):
                self._writer.add_scalar(tag, value, record.step)

    def close(self) -> None:
        """What was added is in the file afterwards."""
        self._writer.close()
