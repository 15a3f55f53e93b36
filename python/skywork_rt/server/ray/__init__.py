"""The server on more than one machine: the same application as a Ray Serve deployment (extra `ray`).

options.py    how many replicas, and what each takes
exchange.py   one request of ASGI on its way through Ray, and its messages on their way back
replica.py    the deployment that runs the application
router.py     Ray's request router over skywork_rt.routing
ingress.py    the deployment that clients speak to
launch.py     `skywork-rt serve --ray`

`build` is what a config of `serve` names as its import_path.
"""

from __future__ import annotations

from typing import Any

from skywork_rt.support.extras import needs_extra

__all__ = ["build"]


def build(args: dict[str, Any]) -> Any:
    """The Ray Serve application of `args`: `models` (names and bundles), `generator` (how they are opened), and any
    field of ServerSettings and of RayOptions by its name. Raises InvalidArgumentError.

    For `serve run skywork_rt.server.ray:build models='{"m": "BUNDLE"}'`, and for the `import_path` and `args` of a
    config file.
    """
    with needs_extra("serve"):
        import skywork_rt.server.app  # noqa: F401
    with needs_extra("ray"):
        from skywork_rt.server.ray.application import application
    return application(args)
