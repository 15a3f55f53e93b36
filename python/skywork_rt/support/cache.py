"""The folder of what is downloaded and prepared."""

from __future__ import annotations

from pathlib import Path

from skywork_rt.support import environment

__all__ = ["cache_root"]


def cache_root() -> Path:
    """$SKYWORK_RT_CACHE, else ~/.cache/skywork_rt."""
    configured = environment.CACHE.value()
    return Path(configured).absolute() if configured else Path.home() / ".cache" / "skywork_rt"
