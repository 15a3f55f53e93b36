"""`skywork-rt serve --ray`: the application on a Ray cluster, until a signal ends it."""

from __future__ import annotations

import signal
import sys
import threading
from types import FrameType

import ray
from ray import serve as ray_serve

from skywork_rt.errors import BackendError, InvalidArgumentError
from skywork_rt.server.ray.application import bind
from skywork_rt.server.ray.options import RayOptions
from skywork_rt.server.settings import ServerSettings
from skywork_rt.support import environment

__all__ = ["serve"]

_NAME = "skywork_rt"
_POLL = 0.2


def serve(settings: ServerSettings, options: RayOptions) -> None:
    """Joins the cluster of RAY_ADDRESS, or starts one on this machine; serves until SIGTERM or Ctrl-C, after which
    running requests may end. Raises InvalidArgumentError, and BackendError when Ray cannot start the replicas."""
    if settings.port == 0:
        raise InvalidArgumentError("port is 0, but with --ray it must be a port of its own, such as 8000")
    signals = _Signals()

    joined = environment.RAY_ADDRESS.value()
    ray.init(joined or "local", include_dashboard=None if joined else False, log_to_driver=False, logging_level="ERROR")
    try:
        try:
            ray_serve.start(http_options={"host": settings.host, "port": settings.port})
        except RuntimeError as error:
            lines = [line for line in str(error).splitlines() if line.strip()] or ["no reason given"]
            raise BackendError(
                f"Ray cannot serve on {settings.host}:{settings.port} ({lines[-1].strip()}); choose another port"
            ) from error
        try:
            ray_serve.run(bind(settings, options), name=_NAME, route_prefix="/")
        except RuntimeError as error:
            raise BackendError(f"Ray could not start the application: {_reason(error)}") from error
        signals.listen()
        print(f"serving on http://{settings.host}:{settings.port} with {options.replicas} replicas", file=sys.stderr)
        signals.first.wait()
        ray_serve.delete(_NAME, _blocking=False)  # what runs may end, at most for drain_seconds
        while not signals.second.wait(_POLL) and _NAME in ray_serve.status().applications:
            pass
    finally:
        _leave(bool(joined), at_once=signals.second.is_set())


def _leave(joined: bool, at_once: bool) -> None:
    """Takes the application from a cluster of others, whose own applications stay, and ends a cluster of ours."""
    if joined:
        ray_serve.delete(_NAME, _blocking=False)
    elif not at_once:
        ray_serve.shutdown()
    ray.shutdown()


class _Signals:
    """SIGTERM and Ctrl-C: the first begins the end, the second has nobody waited for any longer."""

    def __init__(self) -> None:
        self.first = threading.Event()
        self.second = threading.Event()

    def listen(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._come)

    def _come(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        (self.second if self.first.is_set() else self.first).set()


def _reason(error: RuntimeError) -> str:
    """What the deployments say of themselves; Ray's own error names only which of them failed."""
    application = ray_serve.status().applications.get(_NAME)
    told = [d.message for d in application.deployments.values() if d.message] if application else []
    lines = [line.strip() for message in told for line in message.splitlines() if line.strip()]
    return next((line for line in reversed(lines) if "Error" in line), str(error))
