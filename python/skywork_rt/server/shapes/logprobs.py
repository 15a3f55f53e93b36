"""Log-probabilities in the two shapes of OpenAI: the arrays of completions, and the list of chats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from skywork_rt.api.params import SamplingParams
from skywork_rt.api.results import Logprob
from skywork_rt.server.token_texts import TokenTexts

__all__ = ["Shown", "chat_logprobs", "completion_logprobs", "prompt_logprobs"]

Row = Mapping[int, Logprob]
"""The chosen token first, then the best ones, then those that the request names."""

_LEAST = -9999.0
"""Stands for minus infinity, which JSON lacks; as in vLLM."""


@dataclass(frozen=True)
class Shown:
    """Which tokens of a row an answer shows beside the chosen one: the `top` likeliest, and those named by their ids.
    A row may have more, where the same request asks for more of its prompt or of its answers' means."""

    top: int
    named: frozenset[int] = frozenset()

    @classmethod
    def of(cls, top: int | None, params: SamplingParams) -> Self | None:
        """What a request asks for, `top` by its route's own field; None for nothing. Naming ids is asking, too."""
        named = frozenset(params.logprob_token_ids or ())
        return None if top is None and not named else cls(top or 0, named)

    def best_first(self, row: Row) -> list[tuple[int, Logprob]]:
        """Those of a row."""
        return sorted(
            ((token, entry) for token, entry in row.items() if entry.rank <= self.top or token in self.named),
            key=lambda item: item[1].rank,
        )


def completion_logprobs(
    tokens: TokenTexts, rows: Sequence[Row | None], ids: Sequence[int], shown: Shown, offset: int
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
        "top_logprobs": [None if row is None else _best(tokens, row, shown) for row in rows],
    }


def _best(tokens: TokenTexts, row: Row, shown: Shown) -> dict[str, float]:
    """By text. Of two tokens with the same a named one is there, else the likelier one; the chosen one is there even if
    it is not among the best."""
    chosen = next(iter(row))
    entries = {**dict(shown.best_first(row)), chosen: row[chosen]}
    best: dict[str, float] = {}
    for token, entry in sorted(entries.items(), key=lambda item: (item[0] not in shown.named, item[1].rank)):
        best.setdefault(tokens.text(token), _finite(entry))
    return dict(sorted(best.items(), key=lambda item: -item[1]))


def chat_logprobs(tokens: TokenTexts, rows: Sequence[Row], ids: Sequence[int], shown: Shown) -> list[dict[str, Any]]:
    """An object a token, with what is shown at its place, the likeliest first."""
    return [
        {
            **_entry(tokens, token, row[token]),
            "top_logprobs": [_entry(tokens, other, entry) for other, entry in shown.best_first(row)],
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
