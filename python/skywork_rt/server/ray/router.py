"""Ray Serve's request router over `skywork_rt.routing`: it runs in the ingress, which knows the prompts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from ray.serve.request_router import MultiplexMixin, PendingRequest, ReplicaID, RequestRouter, RunningReplica

from skywork_rt.routing.policy import PrefixPolicy
from skywork_rt.routing.prefix import Prefix
from skywork_rt.server.ray.exchange import Exchange

__all__ = ["PrefixRouter"]

_BEST = 3
"""Replicas that are tried one after the other before all others."""


class PrefixRouter(MultiplexMixin, RequestRouter):  # type: ignore[misc]
    """Prefers the replica that has most of the prompt cached, and is not much busier than others.

    Where several models are served, replicas that have the request's model open come first.
    """

    def initialize_state(self, **options: Any) -> None:
        """Called by Ray with `request_router_kwargs`: those of `PrefixPolicy`."""
        self._policy: PrefixPolicy[ReplicaID] = PrefixPolicy(**options)
        self._sent: Counter[ReplicaID] = Counter()

    async def choose_replicas(
        self, candidate_replicas: list[RunningReplica], pending_request: PendingRequest | None = None
    ) -> list[list[RunningReplica]]:
        free = self.select_available_replicas(candidate_replicas) or candidate_replicas
        prefix = _prefix_of(pending_request)
        if not prefix:
            model = _model_of(pending_request)
            return self.rank_replicas_via_multiplex(free, model) if model else [self._least_busy(free)]
        open_here = self._with_model(free, _model_of(pending_request))
        by_id = {replica.replica_id: replica for replica in open_here}
        ranked = self._policy.rank(prefix, list(by_id), by_id, self._busy)[:_BEST]
        return [*([by_id[replica]] for replica in ranked), free]

    def on_request_routed(self, pending_request: PendingRequest, replica_id: ReplicaID, result: Any) -> None:
        self._sent[replica_id] += 1
        prefix = _prefix_of(pending_request)
        if prefix:
            self._policy.routed(prefix, replica_id)

    def on_request_completed(self, replica_id: ReplicaID, internal_request_id: str) -> None:
        self._sent[replica_id] -= 1
        if self._sent[replica_id] <= 0:
            del self._sent[replica_id]

    def on_replica_actor_died(self, replica_id: ReplicaID) -> None:
        super().on_replica_actor_died(replica_id)
        self._forget({replica_id})

    def update_replicas(self, replicas: list[RunningReplica]) -> None:
        super().update_replicas(replicas)
        if hasattr(self, "_policy"):
            self._policy.index.keep_only({replica.replica_id for replica in replicas})

    def _forget(self, replicas: set[ReplicaID]) -> None:
        for replica in replicas:
            self._policy.index.remove(replica)
            del self._sent[replica]

    def _busy(self, replica: ReplicaID) -> float:
        """Requests that this router sent, or more when the replica told so: other ingresses send some, too."""
        return max(self._sent[replica], self.replica_queue_len_cache.get(replica) or 0)

    def _least_busy(self, replicas: Sequence[RunningReplica]) -> list[RunningReplica]:
        least = min((self._busy(replica.replica_id) for replica in replicas), default=0)
        return [replica for replica in replicas if self._busy(replica.replica_id) == least]

    def _with_model(self, replicas: list[RunningReplica], model: str) -> list[RunningReplica]:
        if not model:
            return replicas
        return next((rank for rank in self.rank_replicas_via_multiplex(replicas, model) if rank), replicas)


def _prefix_of(request: PendingRequest | None) -> Prefix:
    exchange = request.args[0] if request is not None and request.args else None
    return exchange.prefix if isinstance(exchange, Exchange) else ()


def _model_of(request: PendingRequest | None) -> str:
    return str(request.metadata.multiplexed_model_id) if request is not None else ""
