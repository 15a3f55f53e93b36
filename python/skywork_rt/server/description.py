"""The OpenAPI description, made of the routes and their schemas."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any

from pydantic.json_schema import models_json_schema

import skywork_rt
from skywork_rt.server.endpoint import Endpoint

__all__ = ["describe"]

_REFERENCE = "#/components/schemas/"
_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}


def describe(endpoints: Iterable[Endpoint], *, with_keys: bool) -> dict[str, Any]:
    """An OpenAPI 3.1 document; `with_keys`: requests must carry one."""
    listed = list(endpoints)
    bodies = dict.fromkeys(schema for endpoint in listed for schema in endpoint.body)
    names, schemas = models_json_schema(
        [(schema, "validation") for schema in bodies], ref_template=_REFERENCE + "{model}"
    )
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in listed:
        references = [names[(schema, "validation")] for schema in endpoint.body]
        paths.setdefault(endpoint.shown, {})[endpoint.method.lower()] = _operation(endpoint, references, with_keys)
    components: dict[str, Any] = {"schemas": {**schemas.get("$defs", {}), "Error": _ERROR}}
    if with_keys:
        components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "skywork-rt", "version": skywork_rt.__version__},
        "paths": paths,
        "components": components,
    }


def _operation(endpoint: Endpoint, references: list[Any], with_keys: bool) -> dict[str, Any]:
    keyed = with_keys and not endpoint.open
    refusals = sorted({*endpoint.refusals, 403, 500, *([401] if keyed else [])})
    operation: dict[str, Any] = {
        "operationId": f"{endpoint.handler.__name__}_{endpoint.method.lower()}",
        "summary": inspect.getdoc(endpoint.handler),
        "responses": {
            **({} if endpoint.never else {"200": {"description": "The answer.", "content": _content(endpoint)}}),
            **{str(status): _refusal(status) for status in refusals},
        },
    }
    if references:
        schema = references[0] if len(references) == 1 else {"anyOf": references}
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    if "{" in endpoint.path:
        operation["parameters"] = [{"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}]
    if keyed:
        operation["security"] = [{"key": []}]
    return operation


def _content(endpoint: Endpoint) -> dict[str, Any]:
    return {kind: {"schema": {"type": "object"} if kind == "application/json" else {}} for kind in endpoint.answers}


def _refusal(status: int) -> dict[str, Any]:
    said = {503: "It is loading, stopping, or has no memory for the model.", 429: "Too much runs already."}
    schema = {"$ref": _REFERENCE + "Error"}
    return {
        "description": said.get(status, "What is wrong, and how it is put right."),
        "content": {"application/json": {"schema": schema}},
    }
