"""Log-probabilities in the two shapes of OpenAI: the arrays of completions, and the list of chats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from skywork_rt.api.results import Logprob
from skywork_rt.server.token_texts import TokenTexts

__all__ = ["chat_logprobs", "completion_logprobs", "prompt_logprobs"]

Row = Mapping[int, Logprob]
"""The chosen token first, then the best ones."""

_LEAST = -9999.0
"""Stands for minus infinity, which JSON lacks; as in vLLM."""


def completion_logprobs(
    tokens: TokenTexts, rows: Sequence[Row | None], ids: Sequence[int], top: int, offset: int
) -> dict[str, Any]:
    """Arrays of as many items as ids. `offset`: where the first token's text begins. A row that is None is the first
    token of a prompt, of which nothing is known."""
    texts = [tokens.text(token) for token in ids]
    offsets = []
    for text in texts:
        offsets.append(offset)
        offset += len(text)
    return {
        "text_offset": offsets,
        "token_logprobs": [None if row is None else _finite(row[token]) for row, token in zip(rows, ids, strict=True)],
        "tokens": texts,
        "top_logprobs": [None if row is None else _best(tokens, row, top) for row in rows],
    }


def _best(tokens: TokenTexts, row: Row, top: int) -> dict[str, float]:
    """By text, the likelier one of two tokens with the same; the chosen one is there even if it is not among them."""
    chosen = next(iter(row))
    shown = [(token, entry) for token, entry in row.items() if entry.rank <= top or token == chosen]
    best: dict[str, float] = {}
    for token, entry in sorted(shown, key=lambda item: item[1].rank):
        best.setdefault(tokens.text(token), _finite(entry))
    return best


def chat_logprobs(tokens: TokenTexts, rows: Sequence[Row], ids: Sequence[int], top: int) -> list[dict[str, Any]]:
    """An object a token, with the `top` likeliest at its place."""
    return [
        {
            **_entry(tokens, token, row[token]),
            "top_logprobs": [
                _entry(tokens, other, entry)
                for other, entry in sorted(row.items(), key=lambda item: item[1].rank)
                if entry.rank <= top
            ][:top],
        }
        for row, token in zip(rows, ids, strict=True)
    ]


def _entry(tokens: TokenTexts, token: int, entry: Logprob) -> dict[str, Any]:
    return {"token": tokens.text(token), "logprob": _finite(entry), "bytes": list(tokens.bytes(token))}


def prompt_logprobs(tokens: TokenTexts, rows: Sequence[Row | None]) -> list[dict[str, Any] | None]:
    """vLLM's: an object a token of the prompt by ids, null for the first."""
    return [
        None
        if row is None
        else {
            str(token): {"logprob": _finite(entry), "rank": entry.rank, "decoded_token": tokens.text(token)}
            for token, entry in row.items()
        }
        for row in rows
    ]


def _finite(entry: Logprob) -> float:
    return max(entry.logprob, _LEAST)
