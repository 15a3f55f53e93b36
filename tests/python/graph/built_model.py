"""What the fixture `built` gives: the graphs of a random model by its name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from skywork_rt.checkpoints.synthetic.source import SyntheticSource

BuiltModel = Callable[[str], tuple[SyntheticSource, Path]]
