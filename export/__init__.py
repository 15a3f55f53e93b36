"""From a checkpoint that others made to a bundle that the runtime opens: `export`, and `open_source` to look at one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from skywork_rt.checkpoints.open import Checkpoint, open_source
    from skywork_rt.export.exporter import TARGETS, WEIGHTS, export
    from skywork_rt.export.graph.ascend.options import AscendOptions

__all__ = ["TARGETS", "WEIGHTS", "AscendOptions", "Checkpoint", "export", "open_source"]


def __getattr__(name: str) -> Any:
    """Resolves the names above when they are first used: the parts of this package need different libraries."""
    if name in ("TARGETS", "WEIGHTS", "export"):
        import skywork_rt.export.exporter as module
    elif name in ("Checkpoint", "open_source"):
        import skywork_rt.checkpoints.open as module  # type: ignore[no-redef]
    elif name == "AscendOptions":
        import skywork_rt.export.graph.ascend.options as module  # type: ignore[no-redef]
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(module, name)
