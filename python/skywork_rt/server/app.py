"""The ASGI application: routes inside middleware, over models that open when it starts."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ExceptionHandler

from skywork_rt.errors import SkyworkError
from skywork_rt.server.answers import error_response
from skywork_rt.server.description import describe
from skywork_rt.server.endpoint import Endpoint
from skywork_rt.server.errors import ApiError, ClientGone
from skywork_rt.server.keys import all_keys
from skywork_rt.server.log import log_event, note_failure
from skywork_rt.server.metrics import Metrics
from skywork_rt.server.middleware import Keys, Origins, Tickets
from skywork_rt.server.models import Models
from skywork_rt.server.places import Places
from skywork_rt.server.routes.table import ENDPOINTS, PAGE_ENDPOINTS
from skywork_rt.server.settings import ServerSettings
from skywork_rt.server.state import Server
from skywork_rt.server.ticket import ticket_of

__all__ = ["create_app"]


def create_app(settings: ServerSettings) -> Starlette:
    """The application of these settings; `app.state.server` is what its requests share.

    Bundles are checked here, and the first one is opened once the application starts (ASGI's lifespan), in the process
    that runs it: make the application there too. Until it is warm, /health and requests for text answer 503. Raises
    InvalidArgumentError, BundleNotFoundError, CorruptBundleError, CapacityError.
    """
    keys = all_keys(settings)
    server = Server(settings, Models(settings), Metrics())
    endpoints = [*ENDPOINTS, *(PAGE_ENDPOINTS if settings.page else ())]
    server.metrics.watch(lambda: [(model.name, model.stats()) for model in server.models])
    app = Starlette(
        routes=[Route(each.path, each.handler, methods=[each.method]) for each in endpoints],
        middleware=_middleware(server, keys, endpoints),
        exception_handlers=_HANDLERS,
        lifespan=_lifespan,
    )
    app.state.server = server
    app.state.description = describe(ENDPOINTS, with_keys=bool(keys))
    return app


def _middleware(server: Server, keys: list[str], endpoints: Sequence[Endpoint]) -> list[Middleware]:
    settings = server.settings
    chain = [Middleware(Tickets, server=server, paths=[each.path for each in endpoints])]
    if settings.origins:
        chain.append(
            Middleware(
                CORSMiddleware,
                allow_origins=settings.origins,
                allow_methods=["GET", "POST"],
                allow_headers=["*"],
                expose_headers=["x-request-id", "retry-after"],
            )
        )
    chain.append(Middleware(Origins, origins=settings.origins))
    if keys:
        chain.append(Middleware(Keys, keys=keys, open_paths=[each.path for each in endpoints if each.open]))
    chain.append(Middleware(Places, server=server, paths=[each.path for each in ENDPOINTS if each.works]))
    return chain


@contextlib.asynccontextmanager
async def _lifespan(app: Starlette) -> AsyncIterator[None]:
    server: Server = app.state.server
    loading = asyncio.create_task(_load(server))
    try:
        yield
    finally:
        loading.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await loading
        server.draining = True
        await server.models.close()


async def _load(server: Server) -> None:
    """Opens the first model; the server is ready then."""
    model = server.models.first
    try:
        async with server.models.use(model):
            pass
    except Exception as error:
        cause = error.__cause__
        server.failure = cause if isinstance(error, ApiError) and isinstance(cause, SkyworkError) else error
        log_event("the model cannot be opened", model=model.name, reason=str(error))
        if server.on_failure is not None:
            server.on_failure()
        return
    server.ready = True
    log_event("ready", model=model.name)


async def _tell(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    ticket_of(request).code = error.code
    note_failure(request.scope, error)
    return error_response(error)


async def _tell_http(request: Request, error: Exception) -> Response:
    """What the router refuses: an unknown path, a wrong method."""
    assert isinstance(error, HTTPException)
    path = request.url.path
    if error.status_code == 404:
        told = ApiError(404, f"There is no {request.method} {path:.200}; see /openapi.json.", code="not_found")
    elif error.status_code == 405:
        told = ApiError(405, f"{path:.200} does not take {request.method}; see /openapi.json.", code="wrong_method")
    else:
        told = ApiError(error.status_code, str(error.detail))
    ticket_of(request).code = told.code
    response = error_response(told)
    for name, value in (error.headers or {}).items():
        response.headers[name] = value
    return response


async def _tell_nobody(request: Request, error: Exception) -> Response:
    """The client has left; whatever is answered, nobody reads it."""
    del error
    ticket_of(request).gone = True
    return Response(status_code=400)


_HANDLERS: Mapping[type[Exception] | int, ExceptionHandler] = {
    ApiError: _tell,
    ClientGone: _tell_nobody,
    HTTPException: _tell_http,
}
