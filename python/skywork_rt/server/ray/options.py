"""The options of the server on Ray, as a table: the command line, the config file and the reference are made of it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from skywork_rt.errors import InvalidArgumentError
from skywork_rt.support.suggest import refuses_unknown_fields

__all__ = ["RayOptions"]


@refuses_unknown_fields
@dataclass(frozen=True, kw_only=True)
class RayOptions:
    """How many replicas of the model there are, and how requests come to them."""

    replicas: int = 1
    """Copies of the model; with max_replicas, those at the start and the fewest there are."""
    max_replicas: int | None = None
    """Most copies; Ray adds and ends them by the number of requests. None: always `replicas`."""
    target_requests: float = 16.0
    """With max_replicas: requests a replica has on average when their number is right."""
    replica_requests: int = 64
    """Most requests of one replica at once; others wait before the router."""
    max_queued: int = 4096
    """Most requests that wait so; one more is told to come again (429)."""
    replica_cpus: float = 1.0
    """Cores that Ray reserves for a replica; it computes on as many threads, unless `threads` says otherwise."""
    replica_models: int = 1
    """Most models that are open in one replica; the longest unused one is closed for another."""
    ingress_replicas: int = 1
    """Processes that read requests and choose replicas; each learns by itself where prompts are cached."""
    router: str = "prefix"
    """prefix: to a replica that has the prompt's start cached, unless it is too busy; default: Ray Serve's own."""
    patience: float = 4.0
    """With router prefix: so many requests busier may a replica be that has the whole prompt cached."""
    cached_tokens: int = 65536
    """With router prefix: tokens that a replica's cache is believed to keep."""

    def __post_init__(self) -> None:
        for name, least, most in _RANGES:
            _check(name, getattr(self, name), least, most)
        if self.max_replicas is not None:
            _check("max_replicas", self.max_replicas, self.replicas, 100_000)
        if self.router not in ("prefix", "default"):
            raise InvalidArgumentError(f"router is {self.router!r}, but must be prefix or default")


_RANGES: tuple[tuple[str, float, float], ...] = (
    ("replicas", 1, 100_000),
    ("target_requests", 0.1, 100_000),
    ("replica_requests", 1, 100_000),
    ("max_queued", 1, 10_000_000),
    ("replica_cpus", 0.01, 10_000),
    ("replica_models", 1, 1000),
    ("ingress_replicas", 1, 1000),
    ("patience", 0, 100_000),
    ("cached_tokens", 16, 10**9),
)
_FRACTIONS = ("target_requests", "replica_cpus", "patience")


def _check(name: str, value: object, least: float, most: float) -> None:
    kinds = (int, float) if name in _FRACTIONS else (int,)
    if isinstance(value, bool) or not isinstance(value, kinds) or not math.isfinite(value):
        kind = "number" if name in _FRACTIONS else "whole number"
        raise InvalidArgumentError(f"{name} is {value!r}, but must be a {kind}")
    if not least <= value <= most:
        raise InvalidArgumentError(f"{name} is {value}, but must be from {least:g} to {most:g}")
