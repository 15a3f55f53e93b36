"""GET / and GET /page/…: the files of the page"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response

from skywork_rt.server.endpoint import Endpoint
from skywork_rt.server.page.assets import FIRST, Asset, assets

__all__ = ["page_endpoints"]

_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        # The page builds nodes and never parses text as HTML; where the browser knows these two, it could not.
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
_HEADERS = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    # Kept by the browser, and asked about each time: an update of the server never meets modules of an older one.
    "cache-control": "no-cache",
    "vary": "accept-encoding",
}


def page_endpoints() -> tuple[Endpoint, ...]:
    """A route a file, so that no path that a browser names is ever looked for on the disk. They need no key: they hold
    nothing but the page, and a browser has no key to show before it has asked its user for one."""
    found = assets()
    pages = [Endpoint("/", "GET", _handler(found[FIRST]), open=True)]
    pages += [
        Endpoint(f"/page/{asset.name}", "GET", _handler(asset), open=True)
        for asset in found.values()
        if asset.name != FIRST
    ]
    return tuple(pages)


def _handler(asset: Asset) -> Callable[[Request], Awaitable[Response]]:
    async def page(request: Request) -> Response:
        headers = {**_HEADERS, "etag": asset.tag}
        if _knows(request.headers.get("if-none-match", ""), asset.tag):
            return Response(status_code=304, headers=headers)
        if _takes_gzip(request.headers.get("accept-encoding", "")):
            return Response(asset.packed, headers={**headers, "content-encoding": "gzip"}, media_type=asset.kind)
        return Response(asset.plain, headers=headers, media_type=asset.kind)

    return page


def _knows(given: str, tag: str) -> bool:
    """Whether If-None-Match has the tag; weak tags count as strong ones there (RFC 9110, 13.1.2)."""
    bare = tag.removeprefix("W/")
    return any(each.strip().removeprefix("W/") in ("*", bare) for each in given.split(","))


def _takes_gzip(given: str) -> bool:
    for each in given.split(","):
        coding, _, weight = each.partition(";")
        if coding.strip().lower() in ("gzip", "*"):
            return weight.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False
