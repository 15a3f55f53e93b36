"""Answers from any server with OpenAI's route /v1/completions.

A question is one request for one token with the log-probabilities of the N best, and of the four letters by their ids
where the server knows that (vLLM's `logprob_token_ids`). Where these lack a letter, the prompt
with that letter behind it is scored (`echo`); on a server that cannot, the letter stays unknown: it is less likely than
every one of the N, so the best letter is still right when any letter is among them.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from skywork_rt.errors import BackendError, InvalidArgumentError
from skywork_rt.evaluate.letters import Letters, letters_of_server
from skywork_rt.evaluate.prompts import PromptParts
from skywork_rt.evaluate.scorer import UNANSWERABLE, Scored
from skywork_rt.evaluate.server_client import Refused, ServerClient
from skywork_rt.evaluate.task import CHOICES

__all__ = ["ServerScorer"]

_ROUTE = "/completions"
_MOST_LOGPROBS = (20, 10, 5, 1)
"""How many best ones are asked for, until a server does not refuse: OpenAI's own allows 5."""
_IDS = "logprob_token_ids"
_TOO_LONG_NAME = "context_length_exceeded"  # OpenAI's
_TOO_LONG = (
    "context length",
    "context_length",
    "maximum context",
    "too long",
    "too large",
    "max_length",
    "max_model_len",
)
_ECHOED, _UNKNOWN = "echoed", "unknown"


class ServerScorer:
    """At most `concurrency` requests at once. `model`: None for a server that has one alone."""

    def __init__(
        self, client: ServerClient, model: str | None, concurrency: int = 8, letters: Letters | None = None
    ) -> None:
        """`letters`: None asks the server how it writes them."""
        self._client = client
        self._concurrency = concurrency
        self._free = asyncio.Semaphore(concurrency)
        self._model = model or client.run(_only_model(client))
        self._letters = letters or client.run(letters_of_server(client, self._model))
        self._asked_for = list(_MOST_LOGPROBS)
        self._echoes = True
        self._names_ids = self._letters.ids is not None

    @property
    def name(self) -> str:
        return self._model

    def identity(self) -> Mapping[str, Any]:
        return {"url": self._client.base, "model": self._model, "letters_with_space": self._letters.space}

    def notes(self, results: Sequence[Scored]) -> list[str]:
        how = "with" if self._letters.space else "without"
        notes = [f"Letters are the server's tokens {how} a space before them, as known by {self._letters.known_by}."]
        echoed = sum(scored.detour == _ECHOED for scored in results)
        unknown = sum(scored.detour == _UNKNOWN for scored in results)
        if echoed or unknown:
            notes.append(
                f"For {echoed + unknown} questions the server's best tokens lacked a letter, which was scored by "
                f"itself (echo) for {echoed}. For {unknown} it stays unknown, and counts as less likely than "
                "the known ones."
            )
        return notes

    def score(self, prompts: Iterable[PromptParts]) -> Iterator[Scored]:
        waiting: deque[asyncio.Task[Scored]] = deque()
        try:
            for parts in prompts:
                waiting.append(self._client.start(self._answer(parts)))
                if len(waiting) >= 2 * self._concurrency:
                    yield self._client.run(waiting.popleft())
            while waiting:
                yield self._client.run(waiting.popleft())
        finally:
            for task in waiting:
                task.cancel()
                task.add_done_callback(_forget)

    async def _answer(self, parts: PromptParts) -> Scored:
        async with self._free:
            return await self._fitting(parts)

    async def _fitting(self, parts: PromptParts) -> Scored:
        for shots in range(len(parts.examples), -1, -1):
            text = parts.text(shots)
            try:
                return await self._scored(text, shots)
            except Refused as refused:
                if not _is_too_long(refused):
                    raise
        return Scored(UNANSWERABLE, 0)

    async def _scored(self, text: str, shots: int) -> Scored:
        best = await self._best(text)
        found = {letter: self._letters.find(best, letter) for letter in CHOICES}
        missing = [letter for letter in CHOICES if found[letter] is None]
        for letter in missing:
            found[letter] = await self._echoed(text, letter)
        a, b, c, d = (found[letter] for letter in CHOICES)
        unknown = any(found[letter] is None for letter in missing)
        return Scored((a, b, c, d), shots, _UNKNOWN if unknown else _ECHOED if missing else "")

    async def _best(self, text: str) -> Mapping[str, float]:
        """The N best tokens behind `text`, by their texts."""
        while True:
            count = self._asked_for[0]
            named = {_IDS: self._letters.ids} if self._names_ids else {}
            try:
                answer = await self._complete(text, logprobs=count, **named)
            except Refused as refused:
                if not self._ask_for_less(refused, count, named=bool(named)):
                    raise
                continue
            best = _first(_logprobs_of(answer).get("top_logprobs"))
            if not isinstance(best, dict):
                raise BackendError(
                    f"{self._client.base}{_ROUTE} gave no top_logprobs: it cannot be evaluated through that route"
                )
            return {str(token): float(value) for token, value in best.items() if value is not None}

    def _ask_for_less(self, refused: Refused, count: int, *, named: bool) -> bool:
        """Whether to ask again, without what the server refuses: ids that it names or, when it names nothing that we
        know, may not know; or so many best ones. Another request may have found out before."""
        if _is_too_long(refused):
            return False
        about_ids = _IDS in refused.said
        if not about_ids and "logprobs" in refused.said and self._ask_for_fewer(count):
            return True
        if named and (about_ids or refused.status in (400, 422)):
            self._names_ids = False
            return True
        return False

    def _ask_for_fewer(self, refused: int) -> bool:
        """Whether there is another number to try; another request may have found out before."""
        if self._asked_for[0] == refused and len(self._asked_for) > 1:
            self._asked_for.pop(0)
        return self._asked_for[0] != refused

    async def _echoed(self, text: str, letter: str) -> float | None:
        """The letter's own log-probability behind `text`; None where the server cannot say."""
        if not self._echoes:
            return None
        try:
            found = _logprobs_of(await self._complete(text + self._letters.text(letter), logprobs=1, echo=True))
        except Refused as refused:
            if _is_too_long(refused):
                return None
            found = {}
        offsets, values = found.get("text_offset"), found.get("token_logprobs")
        if isinstance(offsets, list) and isinstance(values, list) and offsets and offsets[0] == 0:
            places = [place for place, offset in enumerate(offsets) if offset == len(text)]
            return float(values[places[0]]) if places and values[places[0]] is not None else None
        self._echoes = False
        return None

    async def _complete(self, text: str, **options: Any) -> Any:
        body = {"model": self._model, "prompt": text, "max_tokens": 1, "temperature": 0, **options}
        return await self._client.post(_ROUTE, body)


def _forget(task: asyncio.Task[Scored]) -> None:
    """Nobody waits for it any more: what it failed of is the same as what ended the others."""
    if not task.cancelled():
        task.exception()


async def _only_model(client: ServerClient) -> str:
    listed = await client.get("/models")
    try:
        names = [str(entry["id"]) for entry in listed["data"]]
    except (KeyError, TypeError) as error:
        raise InvalidArgumentError(f"{client.base}/models lists no models: name one with --model") from error
    if len(names) != 1:
        raise InvalidArgumentError(f"{client.base} has {len(names)} models: name one with --model: {', '.join(names)}")
    return names[0]


def _is_too_long(refused: Refused) -> bool:
    if refused.status not in (400, 413, 422):
        return False
    return refused.name == _TOO_LONG_NAME or any(words in refused.said.lower() for words in _TOO_LONG)


def _logprobs_of(answer: Any) -> Mapping[str, Any]:
    """choices[0].logprobs; empty when it is not there."""
    try:
        found = answer["choices"][0]["logprobs"]
    except (KeyError, IndexError, TypeError):
        return {}
    return found if isinstance(found, dict) else {}


def _first(values: object) -> object:
    return values[0] if isinstance(values, list) and values else None
