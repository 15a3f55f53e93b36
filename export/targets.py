"""Which backends a bundle is made for."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from skywork_rt.checkpoints.model import ModelConfig
from skywork_rt.errors import BackendUnavailableError, CapacityError, UnsupportedError

__all__ = ["LITE_BYTES", "TARGETS", "choose_targets"]

_log = logging.getLogger("skywork_rt.export")

TARGETS = ("lite", "native", "ascend")
"""What a bundle can be for: MindSpore Lite's graphs for a CPU, the weights of our own CPU kernels, and the graphs that
keep their cache on an Ascend device."""

_UNASKED = ("lite", "native")

LITE_BYTES = 1_500_000_000
"""How much graphs for Lite may add to a bundle unasked. They are float32 whatever the checkpoint's own size: 0.65 GB
for SmolLM2-135M, 2.5 GB for a model of 0.5 billion parameters."""


def choose_targets(asked: Sequence[str] | None, config: ModelConfig) -> tuple[str, ...]:
    """What was asked for; unasked, native and, where the model is small enough and MindSpore is installed, lite.

    Logs why lite is left out. When it was asked for and cannot be had, raises what `_require_lite` raises: now, and not
    after the weights for native were written.
    """
    if asked is not None:
        if "lite" in asked:
            _require_lite(config)
        if "ascend" in asked:
            _require_ascend(config)
        return tuple(asked)
    reason = _why_not_lite(config)
    if reason is None:
        return _UNASKED
    _log.warning("exporting for native only, without graphs for MindSpore Lite: %s", reason)
    return ("native",)


def _require_lite(config: ModelConfig) -> None:
    """Raises UnsupportedError without MindSpore, BackendUnavailableError without Lite or the programs that run it,
    CapacityError when this machine cannot convert the model."""
    from skywork_rt.export.graph import check_memory, require_mindspore, require_programs

    require_mindspore()
    require_programs()
    check_memory(config)


def _require_ascend(config: ModelConfig) -> None:
    """Raises UnsupportedError without MindSpore or for a part of the model that the contract lacks, CapacityError when
    MindSpore would not find memory."""
    from skywork_rt.export.graph import ascend, require_mindspore

    ascend.check_model(config)
    require_mindspore()
    ascend.check_memory()


def _why_not_lite(config: ModelConfig) -> str | None:
    from skywork_rt.export.graph import graph_bytes

    added = graph_bytes(config)
    if added > LITE_BYTES:
        return (
            f"they would add {added / 1e9:.1f} GB to the bundle, more than the {LITE_BYTES / 1e9:.1f} GB that are "
            "added unasked (--for lite,native adds them)"
        )
    try:
        _require_lite(config)
    except (UnsupportedError, BackendUnavailableError, CapacityError) as error:
        return str(error)
    return None
