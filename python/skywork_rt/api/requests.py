"""Requests between the Python API and the core: submitting, waiting, collecting."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from skywork_rt import _core
from skywork_rt.api.params import SamplingParams
from skywork_rt.api.prompts import Prompt
from skywork_rt.api.results import Piece, RequestOutput, logprob_dicts, to_request_output
from skywork_rt.errors import CapacityError, InvalidArgumentError

__all__ = ["Batch", "finish", "submit", "to_piece"]

_POLL_SECONDS = 0.1


class Batch:
    """Many prompts in flight; no more of them than the queue takes."""

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
        self._pending: list[_core.RequestHandle] = []

    def run(self, report: Callable[[int, int], None] | None) -> list[RequestOutput]:
        try:
            for index in range(len(self._prompts)):
                self._submit(index, report)
            return [self._collect(index, report) for index in range(len(self._prompts))]
        except BaseException:  # Ctrl-C too
            for handle in self._handles:
                handle.cancel()
            raise

    def _submit(self, index: int, report: Callable[[int, int], None] | None) -> None:
        while True:
            try:
                prompt, params = self._prompts[index], self._params[index]
                handle = submit(self._core, prompt, params, self._priority, self._deadline)
                self._handles.append(handle)
                self._pending.append(handle)
                return
            except CapacityError:
                # The queue may be full of ours: wait for one of them. With none of ours in it, it is as it is.
                if not self._pending:
                    raise
                self._wait(self._pending[0], report)
                self._drop_finished()
            except InvalidArgumentError as error:
                if len(self._prompts) == 1:
                    raise
                raise InvalidArgumentError(f"prompt {index} of {len(self._prompts)}: {error}") from None

    def _wait(self, handle: _core.RequestHandle, report: Callable[[int, int], None] | None) -> None:
        if report is None:
            handle.wait()
            return
        while not handle.wait(_POLL_SECONDS):
            self._report(report)
        self._report(report)

    def _report(self, report: Callable[[int, int], None]) -> None:
        self._drop_finished()
        report(len(self._handles) - len(self._pending), len(self._prompts))

    def _drop_finished(self) -> None:
        self._pending = [handle for handle in self._pending if not handle.wait(0.0)]

    def _collect(self, index: int, report: Callable[[int, int], None] | None) -> RequestOutput:
        self._wait(self._handles[index], report)
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


def submit(
    core: _core.Generator,
    prompt: Prompt,
    params: SamplingParams,
    priority: int,
    deadline: float | None,
    mailbox: _core.Mailbox | None = None,
) -> _core.RequestHandle:
    """Queues one request, which the core checks in full first."""
    if isinstance(priority, bool) or not isinstance(priority, int):
        raise InvalidArgumentError(f"priority is {priority!r} ({type(priority).__name__}), but must be an int")
    if deadline is not None and (isinstance(deadline, bool) or not isinstance(deadline, int | float)):
        raise InvalidArgumentError(f"deadline is {deadline!r} ({type(deadline).__name__}), but must be seconds or None")
    return core.submit(
        prompt.ids,
        params.to_core(),
        priority,
        deadline,
        prompt.logprobs_from,
        prompt.begins_text,
        not params.sets("max_tokens"),
        mailbox,
    )


def finish(handle: _core.RequestHandle, prompt: Prompt, params: SamplingParams) -> RequestOutput:
    """Waits for the end; the result as the caller sees it."""
    return to_request_output(handle.result(), prompt.text, prompt.ids, params)
