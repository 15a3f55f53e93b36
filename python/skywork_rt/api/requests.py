"""Requests between the Python API and the core: submitting, waiting, collecting."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

from skywork_rt import _core
from skywork_rt.api.params import SamplingParams
from skywork_rt.api.prompts import Prompt
from skywork_rt.api.results import Piece, RequestOutput, logprob_dicts, to_request_output
from skywork_rt.errors import ClosedError, InvalidArgumentError, SkyworkError
from skywork_rt.grammar.desk import GrammarDesk

__all__ = ["Batch", "Terms", "finish", "submit", "to_piece", "to_request"]

_REPORT_SECONDS = 0.1


@dataclass(frozen=True)
class Terms:
    """What a request asks for beside its sampling."""

    priority: int = 0
    """Higher runs first, equals in order of arrival."""
    deadline: float | None = None
    """Seconds from now, after which it fails with DeadlineExceededError."""
    cache_salt: str = ""
    """Only requests with the same one share cached tokens."""

    def __post_init__(self) -> None:
        if isinstance(self.priority, bool) or not isinstance(self.priority, int):
            raise self._wrong("priority", "an int")
        if self.deadline is not None and (
            isinstance(self.deadline, bool) or not isinstance(self.deadline, int | float)
        ):
            raise self._wrong("deadline", "seconds or None")
        if not isinstance(self.cache_salt, str):
            raise self._wrong("cache_salt", "a str")

    def _wrong(self, name: str, wanted: str) -> InvalidArgumentError:
        value = getattr(self, name)
        return InvalidArgumentError(f"{name} is {value!r} ({type(value).__name__}), but must be {wanted}")

    @classmethod
    def names(cls) -> list[str]:
        return [field.name for field in fields(cls)]

    @classmethod
    def take(cls, options: dict[str, Any]) -> Self:
        """Takes what is one of its fields out of `options`."""
        return cls(**{name: options.pop(name) for name in cls.names() if name in options})


class Batch:
    """Many prompts in flight; no more of them than the queue takes. All are checked before the first one starts."""

    def __init__(
        self,
        core: _core.Generator,
        grammars: GrammarDesk,
        prompts: Sequence[Prompt],
        params: Sequence[SamplingParams],
        terms: Terms,
    ) -> None:
        self._core = core
        self._grammars = grammars
        self._prompts = prompts
        self._params = params
        self._terms = terms
        self._handles: list[_core.RequestHandle] = []
        self._pending: deque[_core.RequestHandle] = deque()  # of _handles, those not seen finished; oldest first
        self._next_report = 0.0

    def run(self, report: Callable[[int, int], None] | None) -> list[RequestOutput]:
        requests = deque([self._checked(index) for index in range(len(self._prompts))])
        try:
            while requests:
                self._submit(requests.popleft(), report)
            return [self._collect(index, report) for index in range(len(self._prompts))]
        except BaseException:  # Ctrl-C too
            for handle in self._handles:
                handle.cancel()
            raise

    def _checked(self, index: int) -> _core.Request:
        try:
            request = to_request(self._core, self._grammars, self._prompts[index], self._params[index], self._terms)
            if len(self._prompts) > 1:  # submitting checks a single one
                self._core.check(request)
        except SkyworkError as error:
            if len(self._prompts) == 1 or isinstance(error, ClosedError):
                raise
            raise type(error)(f"prompt {index} of {len(self._prompts)}: {error}") from None
        return request

    def _submit(self, request: _core.Request, report: Callable[[int, int], None] | None) -> None:
        handle = self._core.try_submit(request)
        while handle is None:
            if self._pending:  # the queue may be full of ours: wait for the oldest
                self._wait(self._pending.popleft(), report)
                handle = self._core.try_submit(request)
            else:  # it is full of others'
                handle = self._core.submit(request)
        self._handles.append(handle)
        self._pending.append(handle)

    def _wait(self, handle: _core.RequestHandle, report: Callable[[int, int], None] | None) -> None:
        if report is None:
            handle.wait()
            return
        while not handle.wait(_REPORT_SECONDS):
            self._report(report)
        self._report(report)

    def _report(self, report: Callable[[int, int], None]) -> None:
        """Looks through all that run, and therefore not at every end of a request."""
        now = time.monotonic()
        if now < self._next_report:
            return
        self._next_report = now + _REPORT_SECONDS
        self._pending = deque(handle for handle in self._pending if not handle.wait(0.0))
        report(len(self._handles) - len(self._pending), len(self._prompts))

    def _collect(self, index: int, report: Callable[[int, int], None] | None) -> RequestOutput:
        self._wait(self._handles[index], report)
        if report is not None and index + 1 == len(self._prompts):
            report(index + 1, len(self._prompts))
        return finish(self._handles[index], self._prompts[index], self._params[index])


def to_piece(update: _core.Update, wants_logprobs: bool) -> Piece:
    """What a stream yields for one update."""
    return Piece(
        text=update.text,
        token_ids=update.token_ids,
        index=update.sample,
        finish_reason=None if update.finish_reason == "error" else update.finish_reason,
        logprobs=logprob_dicts(update.logprobs) if wants_logprobs else None,
    )


def to_request(
    core: _core.Generator, grammars: GrammarDesk, prompt: Prompt, params: SamplingParams, terms: Terms
) -> _core.Request:
    """What the core runs, not checked against model and options yet. A grammar begins to be compiled."""
    return core.request(
        prompt.ids,
        params.to_core(),
        terms.priority,
        terms.deadline,
        prompt.logprobs_from,
        prompt.begins_text,
        not params.sets("max_tokens"),
        terms.cache_salt,
        grammars.order(params.grammar),
    )


def submit(
    core: _core.Generator, grammars: GrammarDesk, prompt: Prompt, params: SamplingParams, terms: Terms
) -> _core.RequestHandle:
    """Queues one request, which the core checks in full first."""
    return core.submit(to_request(core, grammars, prompt, params, terms))


def finish(handle: _core.RequestHandle, prompt: Prompt, params: SamplingParams) -> RequestOutput:
    """Waits for the end; the result as the caller sees it."""
    return to_request_output(handle.result(), prompt.text, prompt.ids, params)
