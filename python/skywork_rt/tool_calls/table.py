"""All formats, and which one a chat template has."""

from __future__ import annotations

from skywork_rt.errors import InvalidArgumentError
from skywork_rt.tool_calls.format import Format
from skywork_rt.tool_calls.formats.hermes import Hermes
from skywork_rt.tool_calls.formats.llama3 import Llama3
from skywork_rt.tool_calls.formats.mistral import Mistral
from skywork_rt.tool_calls.formats.mistral_args import MistralArgs
from skywork_rt.tool_calls.formats.smollm2 import SmolLM2

__all__ = ["FORMATS", "format_named", "format_of"]

FORMATS: tuple[type[Format], ...] = (SmolLM2, Hermes, Llama3, MistralArgs, Mistral)
"""The first one that recognises a template has it."""


def format_named(name: str) -> type[Format]:
    """A format by its name. Raises InvalidArgumentError."""
    for each in FORMATS:
        if each.name == name:
            return each
    names = ", ".join(each.name for each in FORMATS)
    raise InvalidArgumentError(f"there is no format of tool calls named {name!r:.60}; choose one of {names}")


def format_of(template: str) -> type[Format] | None:
    """The format in which a chat template has the model write calls; None for one that is not known."""
    return next((each for each in FORMATS if each.recognises(template)), None)
