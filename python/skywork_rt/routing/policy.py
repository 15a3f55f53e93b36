"""The choice of a replica: a cached prefix against a shorter queue.

A replica is worth `patience` times the share of the prompt that it has cached, less the number of requests that it has
more than the others. So with a patience of 4 the replica that has the whole prompt is chosen until it is 4 requests
busier than one that has nothing, and one that has half of it until it is 2 busier. A hot prefix thereby spreads over as
many replicas as its load needs, and each of these has it cached from then on.

Only a few replicas are looked at, however many there are: some holders of the longest match, some of shorter ones, and
some drawn at random, of which the least busy stands for "the others" (the power of a few choices, Mitzenmacher 2001).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Hashable, Sequence
from itertools import islice
from typing import Generic, TypeVar

from skywork_rt.errors import InvalidArgumentError
from skywork_rt.routing.index import PrefixIndex
from skywork_rt.routing.prefix import Prefix

__all__ = ["PrefixPolicy"]

Replica = TypeVar("Replica", bound=Hashable)

_HOLDERS = 8
"""Holders of one depth that are looked at."""
_DEPTHS = 3
"""Depths that are."""


class PrefixPolicy(Generic[Replica]):
    """Ranks replicas for a prompt, and learns where it went. Belongs to one thread."""

    def __init__(
        self,
        *,
        patience: float = 4.0,
        samples: int = 4,
        blocks_per_replica: int = 4096,
        chooser: random.Random | None = None,
    ) -> None:
        """`blocks_per_replica`: blocks of 16 tokens that a replica's cache holds. Raises InvalidArgumentError."""
        for name, value, least in (
            ("patience", patience, 0),
            ("samples", samples, 1),
            ("blocks_per_replica", blocks_per_replica, 1),
        ):
            if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value < 1e9:
                raise InvalidArgumentError(
                    f"{name} of the router is {value!r}, but must be a number of at least {least}"
                )
        self._patience = float(patience)
        self._samples = int(samples)
        self._random = chooser or random.Random()
        self.index: PrefixIndex[Replica] = PrefixIndex(int(blocks_per_replica))

    def rank(
        self, prefix: Prefix, replicas: Sequence[Replica], usable: Collection[Replica], busy: Callable[[Replica], float]
    ) -> list[Replica]:
        """The best replicas, the best one first; empty only if there is none.

        `replicas` are those to draw from, `usable` the same for looking up (a set or a dict), `busy` says how many
        requests one has.
        """
        if not replicas:
            return []
        cached = self._cached(prefix, usable)
        drawn = self._draw(replicas)
        worth = {
            replica: self._patience * cached.get(replica, 0) / max(1, len(prefix)) - busy(replica)
            for replica in [*cached, *drawn]
        }
        return sorted(worth, key=lambda replica: (-worth[replica], self._random.random()))

    def routed(self, prefix: Prefix, replica: Replica) -> None:
        """The replica got the prompt, and has it cached soon."""
        self.index.add(prefix, replica)

    def _cached(self, prefix: Prefix, usable: Collection[Replica]) -> dict[Replica, int]:
        """Blocks that some replicas have, among these the one that has most."""
        cached: dict[Replica, int] = {}
        for depth, holders in islice(self.index.matches(prefix), _DEPTHS):
            for replica in self._some(holders):
                if replica in usable:
                    cached.setdefault(replica, depth)
        return cached

    def _some(self, holders: Collection[Replica]) -> Sequence[Replica]:
        listed = list(holders)
        return listed if len(listed) <= _HOLDERS else self._random.sample(listed, _HOLDERS)

    def _draw(self, replicas: Sequence[Replica]) -> Sequence[Replica]:
        return replicas if len(replicas) <= self._samples else self._random.sample(replicas, self._samples)
