"""The output folder of a training: what is where in it, and that an earlier training's results stay."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from skywork_rt.errors import InvalidArgumentError

__all__ = ["Output"]

_CHECKPOINT_FOLDERS = ("checkpoint", "checkpoint_network", "checkpoint_trainable")
_RANK = re.compile(r"rank_\d+")


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

    @property
    def lock(self) -> Path:
        """Held by the training that writes here."""
        return self.folder / "training.lock"

    def check(self, *, resume: bool, overwrite: bool, load: Path | None = None) -> None:
        """Raises InvalidArgumentError when the folder has checkpoints of an earlier training that are not to go on, or
        when `load`, which the training begins from, is among those that `overwrite` removes."""
        if self.folder.exists() and not self.folder.is_dir():
            raise InvalidArgumentError(f"output_dir {self.folder} is a file; give a directory")
        if resume:
            return
        if overwrite:
            self._refuse_to_remove(load)
            return
        kept = [path for folder in self._rank_folders("checkpoint") for path in folder.glob("*")]
        count = sum(1 for path in kept if path.suffix in (".ckpt", ".safetensors"))
        if count:
            raise InvalidArgumentError(
                f"output_dir {self.folder} has {count} checkpoints of an earlier training; go on with it by "
                "--resume-training, give another --output-dir, or remove them by --overwrite"
            )

    def _refuse_to_remove(self, load: Path | None) -> None:
        if load is None:
            return
        loaded = load.resolve()
        for folder in self._rank_folders(*_CHECKPOINT_FOLDERS):
            removed = folder.resolve()
            if removed.is_relative_to(loaded) or loaded.is_relative_to(removed):
                raise InvalidArgumentError(
                    f"load_checkpoint {load} is among the checkpoints in output_dir {self.folder} that --overwrite "
                    "removes; give another --output-dir, or move the checkpoint first"
                )

    def check_writable(self) -> None:
        """Makes the folder. Raises InvalidArgumentError that names the cause when that is impossible."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InvalidArgumentError(
                f"output_dir {self.folder} cannot be made: {error.strerror}; give another --output-dir"
            ) from error
        if not os.access(self.folder, os.W_OK | os.X_OK):
            raise InvalidArgumentError(f"output_dir {self.folder} cannot be written to; give another --output-dir")

    def _rank_folders(self, *kinds: str) -> Iterator[Path]:
        """Those of every rank that ever wrote here, whatever number of ranks there is now."""
        for kind in kinds:
            folder = self.folder / kind
            children = sorted(folder.iterdir()) if folder.is_dir() else []
            yield from (child for child in children if child.is_dir() and _RANK.fullmatch(child.name))

    def clear(self, keep: Path | None = None) -> None:
        """Removes all ranks' checkpoints of an earlier training, its log, curve and event files, and what was prepared
        for it but for what `keep`, which is loaded now, is in."""
        for folder in list(self._rank_folders(*_CHECKPOINT_FOLDERS)):
            shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(self.tensorboard, ignore_errors=True)
        for path in self.prepared.iterdir() if self.prepared.is_dir() else ():
            if keep is None or not keep.is_relative_to(path):
                shutil.rmtree(path, ignore_errors=True)
        for path in (self.loss_log, self.curve):
            path.unlink(missing_ok=True)
