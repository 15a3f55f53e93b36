"""A prompt as a chain of blocks: two prompts that begin alike have the same first blocks.

Each block's number is made of the block and of the number before it, as vLLM does for its cache, so that one number
stands for everything up to its block. Python's own hash is keyed at random in each process: nobody outside can find two
prompts that collide, and the numbers mean nothing in another process.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

__all__ = [
    "BLOCK_CHARACTERS",
    "BLOCK_IDS",
    "MAX_BLOCKS",
    "Prefix",
    "prefix_of_ids",
    "prefix_of_request",
    "prefix_of_text",
]

BLOCK_IDS = 16
"""Tokens that the engine shares at a time."""
BLOCK_CHARACTERS = 64
"""About as many characters as such a block has."""
MAX_BLOCKS = 512
"""What comes after so many blocks does not decide anything."""

Prefix = tuple[int, ...]
"""The numbers of a prompt's blocks, in order. An unfinished block at the end has none."""


def prefix_of_text(text: str, model: str = "") -> Prefix:
    return _chain(model, (text[at : at + BLOCK_CHARACTERS] for at in _starts(len(text), BLOCK_CHARACTERS)))


def prefix_of_ids(ids: Sequence[int], model: str = "") -> Prefix:
    return _chain(model, (tuple(ids[at : at + BLOCK_IDS]) for at in _starts(len(ids), BLOCK_IDS)))


def prefix_of_request(body: Any) -> Prefix:
    """Of the parsed body of /v1/completions, /v1/chat/completions or /v1/responses.

    Never raises: what has no prompt that we can read has no prefix, and goes to any replica, which says what is wrong.
    """
    if not isinstance(body, Mapping):
        return ()
    model = body.get("model")
    prompt = body.get("prompt")
    if isinstance(prompt, list) and prompt and not isinstance(prompt[0], int):
        prompt = prompt[0]  # several prompts are one request: the first decides
    text = _text_of(body) if prompt is None else prompt
    name = model if isinstance(model, str) else ""
    if isinstance(text, str):
        return prefix_of_text(text, name)
    if isinstance(text, list) and all(type(i) is int for i in text):
        return prefix_of_ids(text, name)
    return ()


def _text_of(body: Mapping[str, Any]) -> str | None:
    """The messages of a chat, one after the other, as they will be in its prompt in this order."""
    messages = body.get("messages", body.get("input"))
    instructions = body.get("instructions")
    parts = [str(instructions)] if instructions else []
    if isinstance(messages, str):
        return "\n".join([*parts, messages])
    if not isinstance(messages, list):
        return None
    parts += [f"{m.get('role')}\n{_content(m.get('content'))}" for m in messages if isinstance(m, Mapping)]
    return "\n".join(parts)


def _content(content: Any) -> str:
    if isinstance(content, list):
        return "\n".join(str(part.get("text", "")) for part in content if isinstance(part, Mapping))
    return str(content)


def _starts(length: int, block: int) -> range:
    return range(0, min(length // block, MAX_BLOCKS) * block, block)


def _chain(model: str, blocks: Iterable[object]) -> Prefix:
    numbers, number = [], hash(model)
    for block in blocks:
        number = hash((number, block))
        numbers.append(number)
    return tuple(numbers)
