"""MindSpore itself, which says what a checkpoint has to be."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mindspore_child
import pytest


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


@pytest.fixture(scope="session")
def mindspore(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MindSpore]:
    """Skips where MindSpore is not installed."""
    if importlib.util.find_spec("mindspore") is None:
        pytest.skip("MindSpore is not installed (pip install 'skywork_rt[export]')")
    child = MindSpore(tmp_path_factory.mktemp("mindspore"))
    yield child
    child.close()
