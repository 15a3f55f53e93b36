"""The output folder of a training: what is where in it, and that an earlier training's results stay."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from skywork_rt.errors import InvalidArgumentError

__all__ = ["Output"]

_CHECKPOINT_FOLDERS = ("checkpoint", "checkpoint_network", "checkpoint_trainable")


@dataclass(frozen=True)
class Output:
    """`folder` is absolute."""

    folder: Path

    @property
    def checkpoints(self) -> Path:
        """rank_N folders with checkpoints."""
        return self.folder / "checkpoint"

    @property
    def loss_log(self) -> Path:
        """A JSON object a step."""
        return self.folder / "loss.jsonl"

    @property
    def curve(self) -> Path:
        """The loss curve."""
        return self.folder / "loss.png"

    @property
    def tensorboard(self) -> Path:
        """Event files."""
        return self.folder / "tensorboard"

    @property
    def logs(self) -> Path:
        """What MindFormers prints, and with several ranks what msrun's workers print."""
        return self.folder / "log"

    @property
    def prepared(self) -> Path:
        """Checkpoints that were converted, split or merged for this training."""
        return self.folder / "prepared_checkpoint"

    def run_file(self, rank: int) -> Path:
        """The configuration as MindFormers gets it."""
        return self.folder / "config" / f"rank_{rank}.yaml"

    def check(self, *, resume: bool, overwrite: bool, rank: int) -> None:
        """Raises InvalidArgumentError when the folder has checkpoints of an earlier training that are not to go on."""
        if self.folder.exists() and not self.folder.is_dir():
            raise InvalidArgumentError(f"output_dir {self.folder} is a file; give a directory")
        if resume or overwrite:
            return
        mine = self.checkpoints / f"rank_{rank}"
        count = sum(1 for path in mine.glob("*") if path.suffix in (".ckpt", ".safetensors")) if mine.is_dir() else 0
        if count:
            raise InvalidArgumentError(
                f"output_dir {self.folder} has {count} checkpoints of an earlier training; go on with it by "
                "--resume-training, give another --output-dir, or remove them by --overwrite"
            )

    def clear(self, rank: int) -> None:
        """Removes this rank's checkpoints of an earlier training, and with rank 0 its log, curve and event files."""
        for name in _CHECKPOINT_FOLDERS:
            shutil.rmtree(self.folder / name / f"rank_{rank}", ignore_errors=True)
        if rank == 0:
            shutil.rmtree(self.tensorboard, ignore_errors=True)
            shutil.rmtree(self.prepared, ignore_errors=True)
            for path in (self.loss_log, self.curve):
                path.unlink(missing_ok=True)
