"""All scripts by name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from skywork_rt.compat.scripts.conversion import CONVERSION
from skywork_rt.compat.scripts.evaluation import EVALUATION
from skywork_rt.compat.scripts.infer_lite import INFER_LITE
from skywork_rt.compat.scripts.preparation import PREPARATION
from skywork_rt.compat.scripts.script import Call, Script, Word, read_flags
from skywork_rt.errors import InvalidArgumentError
from skywork_rt.support.suggest import nearest

__all__ = ["SCRIPTS", "command_of", "find_script"]

SCRIPTS: dict[str, Script] = {script.name: script for script in (*CONVERSION, *PREPARATION, INFER_LITE, *EVALUATION)}


def find_script(name: str) -> Script:
    """By its name or its path, with or without .py or .sh. Raises InvalidArgumentError with the nearest one."""
    plain = Path(name).name.removesuffix(".py").removesuffix(".sh").replace("-", "_")
    if plain not in SCRIPTS:
        near = nearest(plain, SCRIPTS)
        raise InvalidArgumentError(
            f"the recipe has no script {name!r}; "
            + (f"did you mean {near!r}?" if near else f"there are: {', '.join(sorted(SCRIPTS))}")
        )
    return SCRIPTS[plain]


def command_of(name: str, words: Sequence[str]) -> list[Word] | Call:
    """What `name WORDS…` is here: words of a command line of skywork-rt, or a function. Raises InvalidArgumentError."""
    script = find_script(name)
    if script.passes_on:
        return script.translate({}, words)
    values, rest = read_flags(script, words)
    return script.translate(values, rest)
