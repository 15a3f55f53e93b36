"""Having MindSpore Lite in place before the core looks for it."""

from __future__ import annotations

from skywork_rt.bundle import BundleInfo
from skywork_rt.errors import SkyworkError

__all__ = ["prepare_lite"]


def prepare_lite(directory: str, backend: str, device: str) -> None:
    """Installs Lite in the cache, with a progress bar, if this bundle is going to run on it and it is missing.

    Says nothing about a damaged bundle: the core does, which opens it next.
    """
    try:
        bundle = BundleInfo.open(directory)
    except SkyworkError:
        return
    if not bundle.manifest.get("graphs") or (backend == "auto" and bundle.manifest.get("weights") and device == "cpu"):
        return
    from skywork_rt.lite import ensure

    if is_ready():
        return
    from skywork_rt._progress import progress_bars

    with progress_bars() as progress:
        ensure(progress)


def is_ready() -> bool:
    """Whether Lite can be loaded without preparing anything."""
    from skywork_rt.lite import locate

    try:
        locate()
    except SkyworkError:
        return False
    return True
