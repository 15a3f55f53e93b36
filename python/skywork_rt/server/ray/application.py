"""Deployments out of options."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from ray import serve
from ray.serve.config import RequestRouterConfig

from skywork_rt.errors import InvalidArgumentError
from skywork_rt.routing.prefix import BLOCK_IDS
from skywork_rt.server.ray.ingress import Ingress
from skywork_rt.server.ray.options import RayOptions
from skywork_rt.server.ray.replica import replica_class
from skywork_rt.server.settings import ServerSettings

__all__ = ["application", "bind", "split"]


def application(args: Mapping[str, Any]) -> Any:
    """Of a config's `args`. Raises InvalidArgumentError."""
    return bind(*split(args))


def split(args: Mapping[str, Any]) -> tuple[ServerSettings, RayOptions]:
    """The options of the server, and those of Ray, which all have names of their own. Raises InvalidArgumentError."""
    if not args.get("models") or not isinstance(args["models"], Mapping):
        raise InvalidArgumentError("models is missing: it must map the names of models to their bundles")
    of_ray = {field.name for field in fields(RayOptions)}
    options = RayOptions(**{name: value for name, value in args.items() if name in of_ray})
    return ServerSettings(**{name: value for name, value in args.items() if name not in of_ray}), options


def bind(settings: ServerSettings, options: RayOptions) -> Any:
    """The ingress over the replicas."""
    ingress = serve.deployment(Ingress).options(
        name="ingress",
        num_replicas=options.ingress_replicas,
        max_ongoing_requests=options.max_queued + options.replica_requests * (options.max_replicas or options.replicas),
        ray_actor_options={"num_cpus": 0},
        graceful_shutdown_timeout_s=settings.drain_seconds,
    )
    return ingress.bind(_replicas(settings, options), settings)


def _replicas(settings: ServerSettings, options: RayOptions) -> Any:
    scale: dict[str, Any] = {"num_replicas": options.replicas}
    if options.max_replicas is not None:
        scale = {
            "autoscaling_config": {
                "min_replicas": options.replicas,
                "max_replicas": options.max_replicas,
                "target_ongoing_requests": options.target_requests,
            }
        }
    deployment = serve.deployment(replica_class(options.replica_models)).options(
        name="replicas",
        max_ongoing_requests=options.replica_requests,
        max_queued_requests=options.max_queued,
        graceful_shutdown_timeout_s=settings.drain_seconds,
        ray_actor_options={"num_cpus": options.replica_cpus},
        request_router_config=_router(options),
        **scale,
    )
    return deployment.bind(_with_threads(settings, options))


def _router(options: RayOptions) -> RequestRouterConfig:
    if options.router == "default":
        return RequestRouterConfig()
    return RequestRouterConfig(
        request_router_class="skywork_rt.server.ray.router:PrefixRouter",
        request_router_kwargs={
            "patience": options.patience,
            "blocks_per_replica": max(1, options.cached_tokens // BLOCK_IDS),
        },
    )


def _with_threads(settings: ServerSettings, options: RayOptions) -> ServerSettings:
    """A replica computes on the cores that Ray reserved for it, not on all that the machine has."""
    generator = {"threads": max(1, math.floor(options.replica_cpus)), **settings.generator}
    return ServerSettings(
        **{field.name: getattr(settings, field.name) for field in fields(settings)} | {"generator": generator}
    )
