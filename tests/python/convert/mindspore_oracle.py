"""MindSpore itself, which says what a checkpoint has to be."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import mindspore_child
import numpy as np
import pytest
from small_checkpoints import Arrays


class MindSpore:
    """A process that has imported MindSpore; `run` lets it do a task of `mindspore_child`."""

    def __init__(self, directory: Path) -> None:
        self._log = (directory / "log").open("w+")
        self._process = subprocess.Popen(
            [sys.executable, mindspore_child.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            cwd=directory,
        )

    def run(self, task: str, *arguments: Any) -> Any:
        """The task's result. Fails with the process's own traceback."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        plain = [str(item) if isinstance(item, Path) else item for item in arguments]
        self._process.stdin.write(json.dumps([task, plain]) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            self._log.seek(0)
            pytest.fail("MindSpore's process ended: " + self._log.read()[-2000:])
        good, answer = json.loads(line.removeprefix(mindspore_child.PREFIX))
        assert good, answer
        return answer

    def close(self) -> None:
        self._process.communicate()
        self._log.close()

    def save(self, arrays: Arrays, out: Path, **options: Any) -> None:
        """mindspore.save_checkpoint; see `mindspore_child.save`."""
        np.savez(out.with_suffix(".npz"), **arrays)
        self.run("save", out.with_suffix(".npz"), out, options)

    def load(self, path: Path, **options: Any) -> tuple[Arrays, dict[str, str]]:
        """mindspore.load_checkpoint: arrays (bfloat16 as float32) and the names of their types."""
        out = path.with_suffix(".loaded.npz")
        kinds = self.run("load", path, out, options)
        with np.load(out) as file:
            return {name: file[name] for name in file.files}, kinds
