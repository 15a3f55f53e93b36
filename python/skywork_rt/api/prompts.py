"""What callers may give as a prompt, as arrays of token ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from skywork_rt.errors import InvalidArgumentError, UnsupportedError
from skywork_rt.text.tokenizer import Tokenizer

__all__ = ["Prompt", "PromptInput", "check_single", "parse_ids", "parse_prompts"]

PromptInput: TypeAlias = str | Sequence[int] | NDArray[np.integer[Any]]
"""One prompt: text, or token ids as a list or a one-dimensional numpy array of an integer type."""


@dataclass(frozen=True)
class Prompt:
    """One prompt: its ids, and its text when it was given as text."""

    text: str | None
    ids: NDArray[np.int64]
    logprobs_from: int = 1
    """With prompt_logprobs: the first token to report."""
    begins_text: bool = False
    """What comes out is a text of its own, as a chat's answer is, and does not continue the prompt's."""


def parse_prompts(prompts: object, tokenizer: Tokenizer | None) -> tuple[list[Prompt], bool]:
    """All prompts, and whether a single one was given. Raises InvalidArgumentError, naming the prompt by its index."""
    if _is_single(prompts):
        return [_parse_one(prompts, tokenizer, "the prompt")], True
    assert isinstance(prompts, list | tuple | np.ndarray)
    if len(prompts) == 0:
        raise InvalidArgumentError("the list is empty: it is neither a prompt of token ids nor a list of prompts")
    return [_parse_one(p, tokenizer, f"prompt {i} of {len(prompts)}") for i, p in enumerate(prompts)], False


def check_single(prompt: object) -> None:
    """Refuses a list of prompts, where there can be one alone."""
    if not _is_single(prompt) and len(prompt) > 0:  # type: ignore[arg-type]  # it is a list, a tuple or an array
        raise InvalidArgumentError(f"a stream takes one prompt, but this is a list of {len(prompt)}")  # type: ignore[arg-type]


def _is_single(prompts: object) -> bool:
    if isinstance(prompts, str):
        return True
    if isinstance(prompts, np.ndarray):
        if prompts.ndim not in (1, 2):
            raise InvalidArgumentError(f"an array of prompts has shape {prompts.shape}; give one or two dimensions")
        return prompts.ndim == 1 and prompts.dtype != object
    if isinstance(prompts, list | tuple):
        return len(prompts) > 0 and not isinstance(prompts[0], str | list | tuple | np.ndarray)
    raise InvalidArgumentError(
        f"a prompt is a {type(prompts).__name__}; give text, a list of token ids, a numpy array, or a list of those"
    )


def _parse_one(prompt: object, tokenizer: Tokenizer | None, what: str) -> Prompt:
    if isinstance(prompt, str):
        if tokenizer is None:
            raise UnsupportedError(f"{what} is text, but this bundle has no tokenizer; give token ids")
        # An empty text is refused even where a bos id would be added: whoever means that says so with [bos_id].
        ids = np.asarray(tokenizer.encode(prompt) if prompt else [], dtype=np.int64)
        text: str | None = prompt
    else:
        ids, text = parse_ids(prompt, what), None
    if len(ids) == 0:
        raise InvalidArgumentError(f"{what} is empty (0 tokens); give at least 1")
    return Prompt(text, ids)


def parse_ids(ids: object, what: str) -> NDArray[np.int64]:
    """A list or array of ids as int64 [n]; bools, floats and nested lists are refused. The core checks the range."""
    if not isinstance(ids, list | tuple | np.ndarray):
        raise InvalidArgumentError(f"{what} is a {type(ids).__name__}; give text, a list of token ids or a numpy array")
    if isinstance(ids, list | tuple):
        for index, item in enumerate(ids):
            if isinstance(item, bool | np.bool_) or not isinstance(item, int | np.integer):
                raise InvalidArgumentError(
                    f"{what} has {item!r} ({type(item).__name__}) at index {index}; token ids are ints"
                )
            if not -(2**63) <= item < 2**63:
                raise InvalidArgumentError(f"{what} has token id {item} at index {index}, which no vocabulary has")
        return np.asarray(ids, dtype=np.int64)
    if ids.ndim != 1:
        raise InvalidArgumentError(f"{what} is an array of shape {ids.shape}; give one dimension")
    if ids.dtype.kind not in "iu":
        raise InvalidArgumentError(f"{what} is an array of {ids.dtype}; token ids need an integer type")
    if ids.dtype == np.uint64 and ids.size and int(ids.max()) >= 2**63:
        raise InvalidArgumentError(f"{what} has token id {int(ids.max())}, which no vocabulary has")
    return np.ascontiguousarray(ids, dtype=np.int64)
