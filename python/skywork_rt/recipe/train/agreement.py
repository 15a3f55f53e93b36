"""Compares what no tensor's shape tells of a checkpoint's model, such as its rotary theta, with `model.model_config`.

MindFormers would train a model of 8 heads with 4 without a word: every tensor fits.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skywork_rt.checkpoints.huggingface.config import read_config
from skywork_rt.checkpoints.mindspore.config import (
    Configuration,
    find_configuration,
    read_configuration,
    values_of_section,
)
from skywork_rt.checkpoints.model import ModelConfig, RopeConfig
from skywork_rt.errors import CheckpointError, InvalidArgumentError, UnsupportedError
from skywork_rt.recipe.train.checkpoint_files import Start

__all__ = ["COMPARED", "check_agreement"]

_PREFIX = "model.model_config."
COMPARED = frozenset(
    _PREFIX + key for key in ("num_heads", "n_kv_heads", "rms_norm_eps", "theta", "extend_method", "scaling_factor")
)
"""The keys that are compared."""

_METHODS = {"llama3": "LLAMA3", "yarn": "YARN"}


@dataclass(frozen=True)
class _Difference:
    """A key of `model_config`, both values, and what to set so that they agree."""

    key: str
    ours: object
    theirs: object
    fix: tuple[str, ...]


def check_agreement(
    start: Start, model: Mapping[str, Any], intended: Collection[str], warn: Callable[[str], None]
) -> None:
    """Raises InvalidArgumentError for each number of `model` that is not the checkpoint's own, with what to set.

    Keys in `intended` (set on the command line: a theta for longer texts, say) are told by `warn` alone, and so is a
    checkpoint that nothing describes.
    """
    try:
        description = _description(start)
        theirs = read_config(description.values, start.path.name)
        ours = read_config(values_of_section({key: value for key, value in model.items() if value is not None}), "")
    except (CheckpointError, UnsupportedError, InvalidArgumentError) as error:
        warn(
            "rotary theta and scaling, heads and rms_norm_eps of model.model_config could not be compared with "
            f"load_checkpoint {start.path.name}, and must be its own: {error}"
        )
        return
    found = [*_differences(ours, theirs), *_rope_differences(ours.rope, theirs.rope, description.values)]
    meant = [one for one in found if _PREFIX + one.key in intended]
    for one in meant:
        warn(f"{_PREFIX}{one.key} is {one.ours} as asked, and {description.path} says {one.theirs}")
    wrong = [one for one in found if one not in meant]
    if wrong:
        listed = ", ".join(f"{one.key} {one.ours} instead of {one.theirs}" for one in wrong)
        fixes = " ".join(f"--set {fix}" for one in wrong for fix in one.fix)
        raise InvalidArgumentError(
            f"model.model_config is not the model of load_checkpoint {start.path.name}: {listed} (in "
            f"{description.path}); add {fixes}, or set the value that you mean in the same way"
        )


def _description(start: Start) -> Configuration:
    path: Path = start.path
    return read_configuration(path) if start.kind == "huggingface" else find_configuration(path)


def _differences(ours: ModelConfig, theirs: ModelConfig) -> list[_Difference]:
    found = []
    for key, mine, other in (
        ("num_heads", ours.heads, theirs.heads),
        ("n_kv_heads", ours.kv_heads, theirs.kv_heads),
        ("rms_norm_eps", ours.rms_norm_eps, theirs.rms_norm_eps),
    ):
        if not math.isclose(mine, other, rel_tol=1e-6):
            found.append(_Difference(key, mine, other, (f"{_PREFIX}{key}={other}",)))
    return found


def _rope_differences(ours: RopeConfig, theirs: RopeConfig, values: Mapping[str, Any]) -> list[_Difference]:
    """By their effect, the frequencies: theta is told where neither side scales, else the method."""
    pairs = zip(ours.inverse_frequencies, theirs.inverse_frequencies, strict=False)
    if len(ours.inverse_frequencies) != len(theirs.inverse_frequencies):  # of other heads, which are told already
        same = (ours.type, ours.theta) == (theirs.type, theirs.theta)
    else:
        same = all(math.isclose(mine, other, rel_tol=1e-5) for mine, other in pairs)
    if same and ours.attention_factor == theirs.attention_factor:
        return []
    found = []
    if not math.isclose(ours.theta, theirs.theta, rel_tol=1e-6):
        found.append(_Difference("theta", ours.theta, theirs.theta, (f"{_PREFIX}theta={theirs.theta}",)))
    if ours.type != theirs.type or not found:
        found.append(_Difference("extend_method", ours.type, theirs.type, _scaling_fix(theirs.type, values)))
    return found


def _scaling_fix(kind: str, values: Mapping[str, Any]) -> tuple[str, ...]:
    if kind == "default":
        return (f"{_PREFIX}extend_method=None",)
    scaling = values.get("rope_parameters") or values.get("rope_scaling") or {}
    if kind == "linear":
        return (f"{_PREFIX}extend_method=PI", f"{_PREFIX}scaling_factor={scaling.get('factor')}")
    factors = {key: value for key, value in scaling.items() if key not in ("rope_type", "type", "rope_theta")}
    return (
        f"{_PREFIX}extend_method={_METHODS.get(kind, kind)}",
        f"'{_PREFIX}scaling_factor={json.dumps(factors)}'",
    )
