"""Which replica has seen which blocks: what the router believes of the replicas' caches.

It is a belief: a replica forgets on its own. Each replica is believed to keep the blocks that it used last, as many as
its bound, which is what its cache does; so the index is bounded, too.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Hashable, Iterator
from typing import Generic, TypeVar

from skywork_rt.routing.prefix import Prefix

__all__ = ["PrefixIndex"]

Replica = TypeVar("Replica", bound=Hashable)


class PrefixIndex(Generic[Replica]):
    """Blocks by replica, the longest unused first, and replicas by block."""

    def __init__(self, blocks_per_replica: int) -> None:
        self._bound = blocks_per_replica
        self._blocks: dict[Replica, OrderedDict[int, None]] = {}
        self._holders: dict[int, dict[Replica, None]] = {}

    def __len__(self) -> int:
        """How many blocks are known, those of each replica counted by themselves."""
        return sum(len(blocks) for blocks in self._blocks.values())

    def add(self, prefix: Prefix, replica: Replica) -> None:
        """The replica computes a prompt with this prefix now."""
        blocks = self._blocks.setdefault(replica, OrderedDict())
        for block in reversed(prefix):  # the end is older than the start, and goes first: a chain has no holes
            if block in blocks:
                blocks.move_to_end(block)
            else:
                blocks[block] = None
                self._holders.setdefault(block, {})[replica] = None
        while len(blocks) > self._bound:
            self._forget(blocks.popitem(last=False)[0], replica)

    def remove(self, replica: Replica) -> None:
        """The replica is gone, and its cache with it."""
        for block in self._blocks.pop(replica, ()):
            self._forget(block, replica)

    def keep_only(self, replicas: Collection[Replica]) -> None:
        for replica in [known for known in self._blocks if known not in replicas]:
            self.remove(replica)

    def matches(self, prefix: Prefix) -> Iterator[tuple[int, Collection[Replica]]]:
        """(blocks that match, the replicas that have as many at least), the longest first.

        A chain has no holes, so whoever has its nth block has those before it, and halving finds the longest.
        """
        low, high = 0, len(prefix)
        while low < high:
            middle = (low + high + 1) // 2
            if prefix[middle - 1] in self._holders:
                low = middle
            else:
                high = middle - 1
        while low > 0:
            holders = self._holders[prefix[low - 1]]
            yield low, holders.keys()
            low = self._next_wider(prefix, low, len(holders))

    def _next_wider(self, prefix: Prefix, depth: int, count: int) -> int:
        """The greatest smaller depth that more replicas have; 0 when there is none."""
        low, high = 0, depth - 1
        while low < high:
            middle = (low + high + 1) // 2
            if len(self._holders[prefix[middle - 1]]) > count:
                low = middle
            else:
                high = middle - 1
        return low if low > 0 and len(self._holders[prefix[low - 1]]) > count else 0

    def _forget(self, block: int, replica: Replica) -> None:
        holders = self._holders[block]
        del holders[replica]
        if not holders:
            del self._holders[block]
