"""Ids of a text that is too long to be held: piece by piece, the same ids as of the whole.

A piece ends with a line. Its ids are taken from behind those of the line before it, so that a tokenizer that treats the
beginning of a text differently does not see one there; and a line is only an end of a piece when the ids of what stands
before it are the same with and without what follows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from skywork_rt.text.tokenizer import Tokenizer

__all__ = ["stream_ids"]

_PIECE = 1 << 19  # characters
_CONTEXT = 256
_TRIED = 64  # ends of lines, from the last one on


def stream_ids(blocks: Iterable[str], tokenizer: Tokenizer, piece: int = _PIECE) -> Iterator[list[int]]:
    """The ids of all blocks together, some at a time, with what the tokenizer puts around a text."""
    prefix, suffix = _frame(tokenizer)
    if prefix:
        yield prefix
    held, before = "", ""
    for block in blocks:
        held += block
        cut = _cut(held, before, tokenizer) if len(held) >= piece else 0
        if cut:
            yield _behind(before, held[:cut], tokenizer)
            before, held = _last_line(held[:cut]), held[cut:]
    if held:
        yield _behind(before, held, tokenizer)
    if suffix:
        yield suffix


def _frame(tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """What stands before and after a text's own ids."""
    whole, own = tokenizer.encode("a"), tokenizer.encode("a", add_special_tokens=False)
    start = next(i for i in range(len(whole)) if whole[i : i + len(own)] == own)
    return whole[:start], whole[start + len(own) :]


def _behind(before: str, text: str, tokenizer: Tokenizer) -> list[int]:
    ids = tokenizer.encode(before + text, add_special_tokens=False)
    return ids[len(tokenizer.encode(before, add_special_tokens=False)) :] if before else ids


def _cut(text: str, before: str, tokenizer: Tokenizer) -> int:
    """Where a piece may end; 0 for nowhere yet."""
    end = len(text) - _CONTEXT  # enough of what follows must be known
    for _ in range(_TRIED):
        end = text.rfind("\n", 0, end) + 1
        if end <= 0:
            return 0
        left, right = _last_line(text[:end]), text[end : end + _CONTEXT]
        ids = tokenizer.encode(left, add_special_tokens=False)
        if tokenizer.encode(left + right, add_special_tokens=False)[: len(ids)] == ids:
            return end
        end -= 1
    return 0


def _last_line(text: str) -> str:
    """The last whole line, or the end of a very long one."""
    start = text.rfind("\n", 0, len(text) - 1) + 1
    return text[max(start, len(text) - _CONTEXT) :]
