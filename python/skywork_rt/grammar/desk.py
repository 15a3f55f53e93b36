"""Where the requests to one model have their grammars compiled."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from skywork_rt import _core
from skywork_rt.errors import UnsupportedError
from skywork_rt.grammar.grammar import Grammar
from skywork_rt.grammar.library_text import library_text
from skywork_rt.support.extras import needs_extra

__all__ = ["GrammarDesk", "GrammarOrder"]

GrammarOrder = tuple[_core.GrammarCompiler, str, str]
"""What `_core.Generator.request` takes: who compiles, and the type and the text."""

_LONGEST_SECONDS = 10.0
_KEPT = 64
_MOST_AHEAD = 4

_STATS = (
    "compiled", "failed", "reused", "compile_seconds", "masks", "mask_seconds", "mask_p50_seconds", "mask_p99_seconds",
    "waits", "guessed", "right",
)  # fmt: skip

_library_text = lru_cache(maxsize=64)(library_text)


class GrammarDesk:
    """Makes orders of grammars for the requests to one model. The first one loads llguidance and hands it the model's
    vocabulary, which takes some hundredths of a second. Any thread may use it."""

    def __init__(self, model: _core.ModelSpec, vocabulary: Callable[[], str]) -> None:
        """`vocabulary`: gives the path of the model's vocab.bin, empty when there is none."""
        self._model = model
        self._vocabulary = vocabulary
        self._compiler: _core.GrammarCompiler | None = None
        self._lock = threading.Lock()

    def order(self, grammar: Grammar | None) -> GrammarOrder | None:
        """What a request with this grammar is made with. Raises InvalidArgumentError for a grammar that is wrong at
        first sight, UnsupportedError without llguidance or without a vocabulary."""
        if grammar is None:
            return None
        return (self._made(), *_library_text(grammar))

    def compiled(self, grammar: Grammar) -> bool:
        """Begins to compile it; whether that is done. Raises as `order`, and what is wrong with the grammar."""
        return self._made().compiled(*_library_text(grammar))

    def stats(self) -> dict[str, Any]:
        """Counters of compiling and of masks; all zero before the first grammar."""
        return dict.fromkeys(_STATS, 0) if self._compiler is None else self._compiler.stats()

    def _made(self) -> _core.GrammarCompiler:
        with self._lock:
            if self._compiler is None:
                self._compiler = self._make()
            return self._compiler

    def _make(self) -> _core.GrammarCompiler:
        path = self._vocabulary()
        if not path:
            raise UnsupportedError(
                "a grammar is about text, but this bundle has no vocabulary to turn tokens into text: export the "
                "bundle with its tokenizer"
            )
        with needs_extra("grammar"):
            from llguidance import _lib
        return _core.GrammarCompiler(
            str(_lib.__file__),
            path,
            self._model,
            longest_seconds=_LONGEST_SECONDS,
            kept=_KEPT,
            most_ahead=_MOST_AHEAD,
        )
