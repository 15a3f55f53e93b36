"""Messages that call tools and give their results, as a model's template takes them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from skywork_rt.server.errors import ApiError, wrong
from skywork_rt.server.json_body import MOST_DEPTH, nests_deeper
from skywork_rt.server.tools.definitions import check_name
from skywork_rt.tool_calls.format import Format

__all__ = ["check_tool_messages", "has_tool_messages", "in_order_of_calls", "lost_content", "with_known_ids"]


def has_tool_messages(messages: Sequence[Any]) -> bool:
    """Whether a message calls tools, or is what one gave."""
    return any(
        isinstance(said, Mapping) and (said.get("tool_calls") or said.get("role") == "tool") for said in messages
    )


def check_tool_messages(messages: Sequence[Any], field: str) -> None:
    """Raises ApiError for calls that are malformed, and results of calls that are not there. Other mistakes are left to
    others."""
    called: set[str] = set()
    for index, said in enumerate(messages):
        if not isinstance(said, Mapping):
            continue
        where = f"{field}[{index}]"
        if said.get("tool_calls"):
            called |= _check_calls(said, where)
        if said.get("role") == "tool":
            _check_result(said, called, where)


def _check_calls(said: Mapping[str, Any], where: str) -> set[str]:
    if said.get("role") != "assistant":
        raise wrong(f"{where}.tool_calls", "is for messages of the assistant")
    calls = said["tool_calls"]
    if not isinstance(calls, list):
        raise wrong(f"{where}.tool_calls", "must be a list", "invalid_type")
    ids = set()
    for index, call in enumerate(calls):
        place = f"{where}.tool_calls[{index}]"
        if not isinstance(call, Mapping) or call.get("type", "function") != "function":
            raise wrong(place, "must be an object of id, type function, and function", "invalid_type")
        id = call.get("id")
        if id is not None and not isinstance(id, str):
            raise wrong(f"{place}.id", "must be a text", "invalid_type")
        if id in ids:
            raise wrong(f"{place}.id", f"is {id!r:.80}, as of another call of this message")
        ids.add(id)
        _check_function(call.get("function"), f"{place}.function")
    return {id for id in ids if id is not None}


def _check_function(function: Any, where: str) -> None:
    if not isinstance(function, Mapping):
        raise wrong(where, "must be an object of name and arguments", "invalid_type")
    check_name(function.get("name"), f"{where}.name")
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        arguments = _read(arguments, f"{where}.arguments")
    if not isinstance(arguments, Mapping):
        raise wrong(f"{where}.arguments", "must be the text of a JSON object", "invalid_type")


def _read(arguments: str, where: str) -> Any:
    try:
        value = json.loads(arguments or "{}")
    except RecursionError:
        raise _deep(where) from None
    except ValueError as error:  # what Python says behind a semicolon is for its programmers
        raise wrong(where, f"is no JSON: {str(error).partition(';')[0]}") from None
    if nests_deeper(value, MOST_DEPTH):
        raise _deep(where)
    return value


def _deep(where: str) -> ApiError:
    return wrong(where, f"is nested deeper than {MOST_DEPTH} levels")


def _check_result(said: Mapping[str, Any], called: set[str], where: str) -> None:
    id = said.get("tool_call_id")
    if id is None:
        return
    if not isinstance(id, str):
        raise wrong(f"{where}.tool_call_id", "must be a text", "invalid_type")
    if id not in called:
        raise wrong(f"{where}.tool_call_id", f"is {id!r:.80}, but no message before it has a tool call of that id")


def with_known_ids(messages: Sequence[dict[str, Any]], format: type[Format]) -> list[dict[str, Any]]:
    """The messages with ids as the format's templates take them, and results with the name of their function, which
    some templates write. What was checked before is relied on."""
    names: dict[str, str] = {}
    return [_with_known_ids(said, format, names) for said in messages]


def _with_known_ids(said: dict[str, Any], format: type[Format], names: dict[str, str]) -> dict[str, Any]:
    if said.get("tool_calls"):
        calls = [dict(call) for call in said["tool_calls"]]
        for call in calls:
            if call.get("id") is not None:
                names[call["id"]] = call["function"]["name"]
                call["id"] = format.known_id(call["id"])
        return {**said, "tool_calls": calls}
    id = said.get("tool_call_id")
    if said["role"] != "tool" or id is None:
        return said
    return {"name": names[id], **said, "tool_call_id": format.known_id(id)}


def in_order_of_calls(messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The messages, with results that stand one after the other in the order of their calls: a template that writes no
    ids leaves nothing else to tell them apart by."""
    places: dict[str, int] = {}
    ordered: list[dict[str, Any]] = []
    for run_of_results, run in groupby(messages, key=lambda said: said["role"] == "tool"):
        group = list(run)
        if run_of_results and all(said.get("tool_call_id") in places for said in group):
            group.sort(key=lambda said: places[said["tool_call_id"]])
        for call in (call for said in group for call in said.get("tool_calls") or ()):
            places[call.get("id")] = len(places)
        ordered += group
    return ordered


_LOOKED_FOR = 40


def lost_content(messages: Sequence[Mapping[str, Any]], text: str, field: str) -> ApiError | None:
    """Some templates leave out what a message says beside its calls; nothing is left out silently."""
    for index, said in enumerate(messages):
        content = said.get("content")
        if said.get("tool_calls") and isinstance(content, str) and content.strip()[-_LOOKED_FOR:] not in text:
            return ApiError(
                400,
                f"{field}[{index}].content: the model's chat template does not write it beside tool_calls; leave it "
                "out, or send it as a message of its own.",
                param=f"{field}[{index}].content",
                code="unsupported_parameter",
            )
    return None
