"""What a request wants of its tools: `tools`, `tool_choice` and `parallel_tool_calls` together."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from skywork_rt.api.params import SamplingParams
from skywork_rt.grammar.grammar import Grammar
from skywork_rt.server.errors import ApiError, wrong
from skywork_rt.server.tools.definitions import MOST_TOOLS, function_of, nested, template_tool
from skywork_rt.tool_calls.function import Function, Wanted
from skywork_rt.tool_calls.lark import Lark
from skywork_rt.tool_calls.parser import ToolCallParser
from skywork_rt.tool_calls.style import ToolStyle

__all__ = ["ToolUse", "tool_use"]

_PLACE = re.compile(r"\bat (?P<line>\d+)\(\d+\): (?:failed to compile JSON schema: )?(?P<reason>[^\n]+)")
"""In llguidance's messages."""
_ARGUMENTS = re.compile(r"f_(\d+)_arguments:")
"""The rules in which formats put the functions' schemas."""
_CHOICES = ("none", "auto", "required")


@dataclass(frozen=True)
class ToolUse:
    """The tools that the model is told of, and the calls that it may make."""

    definitions: Sequence[dict[str, Any]]
    """All of them, as chat templates read them."""
    functions: Sequence[Function]
    """Those that may be called."""
    mode: Literal["auto", "required"]
    named: bool
    """Whether one function was named, and is called once."""
    parallel: bool

    @property
    def _one(self) -> bool:
        """Whether the request allows one call alone."""
        return self.named or not self.parallel

    def params(self, params: SamplingParams, style: ToolStyle) -> SamplingParams:
        """With the grammar that the calls need, and the special tokens that mark them in the text. Raises ApiError."""
        if style.special and params.skip_special_tokens:
            shown = {*(params.shown_special_token_ids or ()), *style.special.values()}
            params = params.replace(shown_special_token_ids=sorted(shown))
        if self.mode == "auto" and not self._one and not any(function.strict for function in self.functions):
            return params
        if params.grammar is not None:
            raise ApiError(
                400,
                "tool_choice, strict functions and parallel_tool_calls need a grammar of their own, but the request "
                "has another one for the answer; leave one of them out",
                param="tool_choice",
            )
        return params.replace(grammar=Grammar.lark(self._grammar(style)))

    def _grammar(self, style: ToolStyle) -> str:
        wanted = Wanted(self.functions, self.mode == "auto", 1 if self._one or style.one_only else None)
        return style.format.grammar(wanted, Lark(style.special))

    def fault(self, style: ToolStyle, message: str) -> tuple[str, str]:
        """Which field a message about the grammar is about, and the message for it: nobody has seen the grammar, but
        the line in it that is wrong is that of a function."""
        found = _PLACE.search(message)
        lines = self._grammar(style).splitlines()
        if found is None or not 1 <= int(found["line"]) <= len(lines):
            return "tools", message
        rule = _ARGUMENTS.match(lines[int(found["line"]) - 1])
        if rule is None:
            return "tools", message
        names = [definition["function"]["name"] for definition in self.definitions]
        field = f"tools[{names.index(self.functions[int(rule[1])].name)}].function.parameters"
        return field, f"{field} is wrong, or more than calls can be held to: {found['reason']}"

    def parser(self, params: SamplingParams, style: ToolStyle) -> ToolCallParser:
        """For one answer."""
        hidden = style.special if params.skip_special_tokens else ()
        return ToolCallParser(style.format, {function.name for function in self.functions}, hidden=hidden)


def tool_use(tools: Any, choice: Any, parallel: bool | None) -> ToolUse | None:
    """From the fields of a chat or a response; None where no tools are in use. Raises ApiError."""
    if tools is not None and not isinstance(tools, list):
        raise wrong("tools", "must be a list", "invalid_type")
    if not tools:
        _check_without_tools(choice)
        return None
    if len(tools) > MOST_TOOLS:
        raise wrong("tools", f"has {len(tools)} tools, but may have {MOST_TOOLS}")
    listed = [nested(tool, f"tools[{index}]") for index, tool in enumerate(tools)]
    functions = [function_of(tool, f"tools[{index}]") for index, tool in enumerate(listed)]
    _check_twice(functions)
    use = ToolUse([template_tool(tool) for tool in listed], functions, "auto", False, parallel is not False)
    return _chosen(use, choice)


def _check_without_tools(choice: Any) -> None:
    if choice not in (None, "none", "auto"):
        raise wrong("tool_choice", "needs tools, but there are none")


def _check_twice(functions: Sequence[Function]) -> None:
    seen: set[str] = set()
    for index, function in enumerate(functions):
        if function.name in seen:
            raise wrong(f"tools[{index}].function.name", f"is {function.name!r}, as of another tool")
        seen.add(function.name)


def _chosen(use: ToolUse, choice: Any) -> ToolUse | None:
    if choice is None or choice == "auto":
        return use
    if choice == "none":
        return None
    if choice == "required":
        return replace(use, mode="required")
    if not isinstance(choice, Mapping):
        raise wrong("tool_choice", f"is {choice!r:.60}, but must be one of {', '.join(_CHOICES)}, or an object")
    if choice.get("type") == "allowed_tools":
        return _allowed(use, choice)
    if choice.get("type") == "function":
        function = _named(use, choice, "tool_choice")
        return replace(use, mode="required", named=True, functions=[function])
    raise wrong("tool_choice.type", f"is {choice.get('type')!r:.60}; only function and allowed_tools are there")


def _allowed(use: ToolUse, choice: Mapping[str, Any]) -> ToolUse:
    """Chats have mode and tools in an object of their own, responses beside `type`."""
    inner, where = choice.get("allowed_tools", choice), "tool_choice.allowed_tools"
    where = where if "allowed_tools" in choice else "tool_choice"
    if not isinstance(inner, Mapping):
        raise wrong(where, "must be an object of mode and tools", "invalid_type")
    mode, tools = inner.get("mode"), inner.get("tools")
    if mode not in ("auto", "required"):
        raise wrong(f"{where}.mode", f"is {mode!r:.60}, but must be auto or required")
    if not isinstance(tools, list) or not tools:
        raise wrong(f"{where}.tools", "must be a list of at least one tool", "invalid_type")
    allowed = [_named(use, tool, f"{where}.tools[{index}]") for index, tool in enumerate(tools)]
    return replace(use, mode=mode, functions=_once(allowed))


def _once(functions: Sequence[Function]) -> list[Function]:
    return list({function.name: function for function in functions}.values())


def _named(use: ToolUse, choice: Any, where: str) -> Function:
    if not isinstance(choice, Mapping) or choice.get("type") != "function":
        raise wrong(where, 'must be an object such as {"type": "function", "function": {"name": "…"}}')
    function = choice.get("function", choice)
    name = function.get("name") if isinstance(function, Mapping) else None
    for known in use.functions:
        if known.name == name:
            return known
    names = ", ".join(known.name for known in use.functions)
    raise wrong(where, f"names the function {name!r:.80}, but tools has {names:.300}")
