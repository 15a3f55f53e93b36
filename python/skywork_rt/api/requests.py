"""Requests between the Python API and the core: submitting, waiting, collecting."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence

from skywork_rt import _core
from skywork_rt.api.params import SamplingParams
from skywork_rt.api.prompts import Prompt
from skywork_rt.api.results import Piece, RequestOutput, logprob_dicts, to_request_output
from skywork_rt.errors import ClosedError, InvalidArgumentError, SkyworkError

__all__ = ["Batch", "finish", "submit", "to_piece", "to_request"]

_REPORT_SECONDS = 0.1


class Batch:
    """Many prompts in flight; no more of them than the queue takes. All are checked before the first one starts."""

    def __init__(
        self,
        core: _core.Generator,
        prompts: Sequence[Prompt],
        params: Sequence[SamplingParams],
        priority: int,
        deadline: float | None,
    ) -> None:
        self._core = core
        self._prompts = prompts
        self._params = params
        self._priority = priority
        self._deadline = deadline
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
            request = to_request(self._core, self._prompts[index], self._params[index], self._priority, self._deadline)
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
    core: _core.Generator, prompt: Prompt, params: SamplingParams, priority: int, deadline: float | None
) -> _core.Request:
    """What the core runs, not checked against model and options yet."""
    if isinstance(priority, bool) or not isinstance(priority, int):
        raise InvalidArgumentError(f"priority is {priority!r} ({type(priority).__name__}), but must be an int")
    if deadline is not None and (isinstance(deadline, bool) or not isinstance(deadline, int | float)):
        raise InvalidArgumentError(f"deadline is {deadline!r} ({type(deadline).__name__}), but must be seconds or None")
    return core.request(
        prompt.ids,
        params.to_core(),
        priority,
        deadline,
        prompt.logprobs_from,
        prompt.begins_text,
        not params.sets("max_tokens"),
    )


def submit(
    core: _core.Generator, prompt: Prompt, params: SamplingParams, priority: int, deadline: float | None
) -> _core.RequestHandle:
    """Queues one request, which the core checks in full first."""
    return core.submit(to_request(core, prompt, params, priority, deadline))


def finish(handle: _core.RequestHandle, prompt: Prompt, params: SamplingParams) -> RequestOutput:
    """Waits for the end; the result as the caller sees it."""
    return to_request_output(handle.result(), prompt.text, prompt.ids, params)
