"""One running request, piece by piece."""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import Self

from skywork_rt import _core
from skywork_rt.api.params import SamplingParams
from skywork_rt.api.prompts import Prompt
from skywork_rt.api.requests import finish, to_piece
from skywork_rt.api.results import Piece, RequestOutput

__all__ = ["Stream"]


class Stream(Iterator[Piece]):
    """One running request, piece by piece: `"".join(piece.text for piece in stream)` is the result's text.

    Leaving the loop, `close()` or the end of a `with` block cancels what is not finished. A piece's text holds whole
    characters only, and nothing of a stop text that may still be completed; it may be empty. With n > 1 the samples
    come mixed, told apart by `piece.index`.
    """

    def __init__(self, handle: _core.RequestHandle, prompt: Prompt, params: SamplingParams) -> None:
        self._handle = handle
        self._prompt = prompt
        self._params = params
        self._over = False

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Piece:
        piece = self._next_piece()
        if piece is None:
            raise StopIteration
        return piece

    @property
    def result(self) -> RequestOutput:
        """The whole result; waits for the end, and raises the request's error if it failed or was cancelled."""
        return finish(self._handle, self._prompt, self._params)

    def close(self) -> None:
        """Cancels the request unless it is over."""
        if not self._over:
            self._over = True
            self._handle.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_over"):
            self.close()

    def _next_piece(self) -> Piece | None:
        if self._over:
            return None
        try:
            update = self._handle.next()
        except BaseException:  # Ctrl-C too
            self.close()
            raise
        if update is None:
            self._over = True
            self._handle.result()  # raises if the request failed
            return None
        assert update is not False, "waiting without a timeout ends with an update or the end"
        return to_piece(update, self._params.reports_logprobs)
