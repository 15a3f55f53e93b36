"""Checkpoints during training: their names, what is in them, and how many are kept."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mindspore as ms

from skywork_rt.recipe.train.settings import dump_settings

__all__ = ["Saver", "SaverSettings"]

# Parameters of a step that are no state: MindFormers' CheckpointMonitor leaves the same ones out.
_LEFT_OUT = (
    "accu_grads",
    "fi_parameter",
    "zeros_k_pe",
    "zeros_k_nope",
    "zeros_value_states",
    "_cache",
    "_device_local_norm",
    "_device_local_loss",
    "expert_load",
    "max_logits_val",
)


@dataclass(frozen=True)
class SaverSettings:
    """What `CheckpointMonitor` of a YAML says. `format` is ckpt or safetensors."""

    prefix: str = "CKP"
    every_steps: int = 1
    every_seconds: int = 0
    keep: int = 5
    integrated: bool = True
    format: str = "ckpt"
    network_too: bool = False
    trainable_too: bool = False


@dataclass
class Saver:
    """Saves the state of one rank below `folder` (the output folder), as MindFormers names it.

    `checkpoint/rank_R/PREFIX_rank_R-EPOCH_STEP.ckpt` with the step within its epoch, `meta.json` beside naming the
    last one. Parameters, optimizer state and loss scale are in it, and step_num, epoch_num, loss_scale and
    global_batch_size as MindFormers' resume reads them.
    """

    settings: SaverSettings
    folder: Path
    rank: int
    steps_per_epoch: int
    global_batch_size: int
    model_config: Mapping[str, Any]
    last_step: int = 0
    _last_time: float = field(default_factory=time.monotonic)

    def due(self, step: int) -> bool:
        """Whether `step` or one before it that sink mode passed is a multiple of the interval."""
        if self.settings.every_seconds:
            return time.monotonic() - self._last_time >= self.settings.every_seconds
        return step // self.settings.every_steps > self.last_step // self.settings.every_steps

    def save(self, network: Any, step: int, loss_scale: float) -> Path:
        """Writes the state after `step`, whole, and removes what is more than `keep` files."""
        epoch = (step - 1) // self.steps_per_epoch + 1
        name = f"{self.settings.prefix}_rank_{self.rank}-{epoch}_{(step - 1) % self.steps_per_epoch + 1}"
        state = {
            "epoch_num": epoch,
            "step_num": step,
            "loss_scale": loss_scale,
            "global_batch_size": self.global_batch_size,
        }
        path = self._write(network, "checkpoint", name, state, lambda name: not any(part in name for part in _LEFT_OUT))
        meta = {"last_epoch": epoch, "last_step": (step - 1) % self.steps_per_epoch + 1, "last_ckpt_file": path.name}
        _write_json(path.parent / "meta.json", meta)
        self._write_parts(network, name)
        # With it beside, the checkpoint describes itself to 'skywork-rt export' and 'skywork-rt convert'.
        dump_settings({"model": {"model_config": dict(self.model_config)}}, path.parent / "model.yaml")
        self.last_step, self._last_time = step, time.monotonic()
        return path

    def _write_parts(self, network: Any, name: str) -> None:
        cell = network.network
        if self.settings.network_too:
            names = {parameter.name for parameter in cell.get_parameters()}
            self._write(network, "checkpoint_network", name, None, names.__contains__)
        if self.settings.trainable_too:
            names = {parameter.name for parameter in cell.trainable_params()}
            self._write(network, "checkpoint_trainable", name, None, names.__contains__)

    def _write(
        self, network: Any, kind: str, name: str, state: dict[str, Any] | None, chosen: Callable[[str], bool]
    ) -> Path:
        folder = self.folder / kind / f"rank_{self.rank}"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{name}.{self.settings.format}"
        ms.save_checkpoint(
            network,
            str(path),
            integrated_save=self.settings.integrated,
            async_save=False,
            append_dict=state,
            choice_func=chosen,
            format=self.settings.format,
        )
        self._remove_old(folder)
        return path

    def _remove_old(self, folder: Path) -> None:
        """Only files that this training's name stands on; others' are left alone."""
        ours = re.compile(
            rf"{re.escape(self.settings.prefix)}_rank_{self.rank}-\d+_\d+\.{re.escape(self.settings.format)}"
        )
        files = [path for path in folder.iterdir() if ours.fullmatch(path.name)]
        for path in sorted(files, key=lambda path: path.stat().st_mtime_ns)[: -self.settings.keep]:
            path.unlink()


def _write_json(path: Path, value: dict[str, Any]) -> None:
    beside = path.with_suffix(".tmp")
    beside.write_text(json.dumps(value), encoding="utf-8")
    beside.replace(path)
