"""<tool_call>[{"name": …, "arguments": {…}}, …]</tool_call>, a list of all calls: SmolLM2.

The models' template knows nothing of tools. smollm2.txt, which tells them, is what they were trained with, word for
word from the model card of HuggingFaceTB/SmolLM2-1.7B-Instruct (Apache-2.0).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from skywork_rt.tool_calls.formats.hermes import BEGIN, END, Hermes
from skywork_rt.tool_calls.function import Wanted
from skywork_rt.tool_calls.lark import Lark, listed_calls
from skywork_rt.tool_calls.prompt import told_in_words

__all__ = ["SmolLM2"]


class SmolLM2(Hermes):
    """Read as hermes is."""

    name = "smollm2"

    @classmethod
    def recognises(cls, template: str) -> bool:
        """Their own template says who they are."""
        return f"{BEGIN}[" in template or "named SmolLM, trained by Hugging Face<|im_end|>" in template

    @classmethod
    def grammar(cls, wanted: Wanted, lark: Lark) -> str:
        return listed_calls(lark, wanted, BEGIN, "", lark.text(END))

    @classmethod
    def messages(
        cls, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]]
    ) -> list[dict[str, Any]]:
        asking = _asking().replace("{{ tools }}", json.dumps(list(tools))) if tools else ""
        return told_in_words(messages, asking, _written)


def _asking() -> str:
    return files("skywork_rt.tool_calls.formats").joinpath("smollm2.txt").read_text(encoding="utf-8").rstrip("\n")


def _written(calls: Sequence[Mapping[str, Any]]) -> str:
    return f"{BEGIN}{json.dumps(list(calls), ensure_ascii=False)}{END}"
