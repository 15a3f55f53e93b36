"""The class that a backend written in Python derives from. csrc/backend/backend.h is what the core makes of it."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from skywork_rt._core import ModelSpec

__all__ = ["Chunk", "Move", "PythonBackend", "Traits", "Watch"]


@dataclass(frozen=True)
class Traits:
    """What a backend can do. What it cannot, the engine refuses when a request comes, by name, or does without."""

    max_batch: int = 16
    """Most sequences that are open at once."""

    max_cached_tokens: int = 1 << 20
    """Most tokens that all open sequences may have reserved together."""

    max_chunk: int = 512
    """Most tokens of one sequence in one `forward`."""

    can_fork: bool = False
    """`copy` works. Several samples or beams of one request, and reuse of prompts that begin alike, need it."""

    can_truncate: bool = True
    """A sequence may forget its last tokens: `forward` then comes with a smaller `start`. Reuse of prompts needs it."""

    mixed_steps: bool = True
    """One `forward` may carry long chunks (prompts) and single tokens (decoding)."""

    bytes_per_token: int = 0
    """Of keys and values, as they are stored; 0: unknown, and `max_cache_bytes` then bounds nothing."""

    bitwise: bool = False
    """A sequence's logits do not depend, to the bit, on what else is computed and on how its tokens are cut."""


class Chunk(NamedTuple):
    """New tokens of one sequence."""

    seq: int
    """The sequence."""

    start: int
    """How many tokens of it are cached; the position of the first new one. What a `forward` that failed or was given up
    computed behind it does not count, and nor does what was cut off."""

    tokens: NDArray[np.int32]
    """The new tokens, at least one: int32 [new]."""

    logit_rows: NDArray[np.int32]
    """Ascending indices into `tokens` whose logits are wanted: int32 [wanted], often only the last, or none."""


class Move(NamedTuple):
    """The first `length` cached tokens of `source` are to be those of `target`, instead of its own."""

    source: int
    target: int
    length: int


class Watch(Protocol):
    """Says whether a running step is still wanted."""

    def give_up(self, done: int, total: int) -> bool:
        """Asked between two parts of a step, when `done` of its `total` are computed: True, and `forward` should return
        None. Requests that were cancelled or ran out of time hear of it here. On the thread of `forward` only."""
        ...


class PythonBackend(abc.ABC):
    """Computes logits for the engine: `Generator(bundle, backend=MyBackend())`, or None instead of a bundle.

    A subclass has `model` and `forward`, and what of the rest it needs. The core counts sequences and tokens, and has
    checked what it hands in: ids are in the vocabulary, chunks fit into what was reserved, no sequence occurs twice.

    One thread at a time calls the methods, with the GIL: the engine's, which is none of `threading`'s. An object serves
    one `Generator`. What a method raises ends the requests of that step with an error that names it, and leaves the
    others as they were; of this package's errors the class is kept (`BusyError` in `open` makes the request wait). The
    process waits for a step that runs when it ends.
    """

    model: ModelSpec
    """The vocabulary's size, the longest sequence and where it ends. Read once, as is `traits`."""

    traits: Traits = Traits()

    name: str = ""
    """What `Generator.options["backend"]` says; empty: the name of the class."""

    choices: Mapping[str, str] = {}
    """What this backend chose of `device`, `weights`, `activations` and `kv_cache`. A caller who asks for another value
    is refused, as is one who asks for anything that is not here."""

    @abc.abstractmethod
    def forward(self, chunks: Sequence[Chunk], watch: Watch) -> NDArray[np.float32] | None:
        """Computes and caches the chunks' tokens, and returns the wanted logits.

        Returns float32 [sum of the chunks' logit_rows, vocab_size], rows in the order of the chunks; None when
        `watch.give_up` said so. A logit may be -inf, which is never drawn; one that is NaN or +inf ends its request.
        """

    def open(self, seq: int, max_tokens: int) -> None:  # noqa: B027 - who needs it, has it
        """A new, empty sequence that will hold at most `max_tokens`."""

    def copy(self, moves: Sequence[Move]) -> None:
        """Carries out all moves at once, as if every source was read before any target is written.

        No target occurs twice. With `can_fork` only; else the sources and targets are the same sequences, in another
        order, and this is called for those of one request.
        """
        raise NotImplementedError(f"{type(self).__name__} has no copy()")

    def truncate(self, seq: int, length: int) -> None:  # noqa: B027 - who needs it, has it
        """All but the first `length` tokens are forgotten. The next chunk's `start` says so too."""

    def close(self, seq: int) -> None:  # noqa: B027 - who needs it, has it
        """The sequence is over; its number does not come again."""

    def shutdown(self) -> None:  # noqa: B027 - who needs it, has it
        """The generator is closed: give back what the model takes. The last call."""

    def get_name(self) -> str:
        """The name for messages."""
        return self.name or type(self).__name__

    def get_choices(self) -> dict[str, str]:
        """`choices`, for the core."""
        return dict(self.choices)
