"""What a tokenizer's call does with rows of ids: special tokens, truncation, padding, arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from skywork_rt.compat.notices import notice
from skywork_rt.errors import InvalidArgumentError
from skywork_rt.support.mindspore_import import import_mindspore

__all__ = ["BatchEncoding", "make_batch"]

_OWNER = "LlamaTokenizer()"
_LARGE = int(1e20)


class BatchEncoding(dict[str, Any]):
    """A dict whose keys are attributes too: input_ids and attention_mask."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


class _Padder(Protocol):
    padding_side: str
    truncation_side: str
    model_max_length: int

    @property
    def pad_token_id(self) -> int: ...


def make_batch(
    tokenizer: _Padder,
    rows: Sequence[list[int]],
    frame: tuple[list[int], list[int]],
    *,
    single: bool,
    padding: bool | str = False,
    truncation: bool | str | None = None,
    max_length: int | None = None,
    return_tensors: str | None = None,
    return_attention_mask: bool | None = None,
    pad_to_multiple_of: int | None = None,
    return_token_type_ids: bool | None = None,
    return_length: bool = False,
    **_without_effect: Any,
) -> BatchEncoding:
    """The rows framed, cut and padded. `single`: the one row is not wrapped in a list."""
    begin, end = frame
    longest = _limit(tokenizer, truncation, max_length, padding)
    if longest is not None:
        rows = [_cut(row, longest - len(begin) - len(end), tokenizer.truncation_side) for row in rows]
    ids = [[*begin, *row, *end] for row in rows]
    target = _target(tokenizer, ids, padding, max_length, pad_to_multiple_of)
    masks = [_padded([1] * len(row), target, 0, tokenizer.padding_side) for row in ids]
    lengths = [len(row) for row in ids]
    ids = [_padded(row, target, tokenizer.pad_token_id, tokenizer.padding_side) for row in ids]
    made: dict[str, Any] = {"input_ids": ids}
    if return_token_type_ids:
        made["token_type_ids"] = [[0] * len(row) for row in ids]
    if return_attention_mask is not False:
        made["attention_mask"] = masks
    if return_length:
        made["length"] = lengths
    if single:
        made = {name: value[0] for name, value in made.items()}
    return BatchEncoding({name: _tensor(value, return_tensors) for name, value in made.items()})


def _limit(tokenizer: _Padder, truncation: Any, max_length: int | None, padding: Any) -> int | None:
    """Tokens of a row, special ones included, beyond which it is cut; None: it is not."""
    if truncation not in (None, True, False, "longest_first", "only_first", "do_not_truncate"):
        raise InvalidArgumentError(f"{_OWNER}: truncation is {truncation!r}, but must be True or False")
    _check_count("max_length", max_length)
    if truncation in (False, "do_not_truncate"):
        return None
    if truncation is None:
        if max_length is None or padding is not False:
            return None
        notice("tokenizer.truncation", f"{_OWNER}: texts are cut at max_length {max_length}; write truncation=True")
        return max_length
    longest = tokenizer.model_max_length if max_length is None else max_length
    return longest if longest < _LARGE else None


def _cut(row: list[int], longest: int, side: str) -> list[int]:
    if len(row) <= longest:
        return row
    if longest < 0:
        raise InvalidArgumentError(f"{_OWNER}: max_length leaves no room for the special tokens; set it higher")
    return row[:longest] if side == "right" else row[len(row) - longest :]


def _target(
    tokenizer: _Padder, rows: Sequence[Sequence[int]], padding: Any, max_length: int | None, multiple: int | None
) -> int:
    """The length that rows are filled up to; 0: they are not."""
    if padding in (False, None, "do_not_pad"):
        return 0
    if padding in (True, "longest"):
        length = max(map(len, rows), default=0)
    elif padding == "max_length":
        length = tokenizer.model_max_length if max_length is None else max_length
        if length >= _LARGE:
            raise InvalidArgumentError(f'{_OWNER}: padding="max_length" needs max_length, or model_max_length')
    else:
        raise InvalidArgumentError(f"{_OWNER}: padding is {padding!r}, but must be True, False, longest or max_length")
    _check_count("pad_to_multiple_of", multiple)
    return -(-length // multiple) * multiple if multiple else length


def _padded(row: list[int], target: int, fill: int, side: str) -> list[int]:
    missing = [fill] * max(0, target - len(row))
    return [*row, *missing] if side == "right" else [*missing, *row]


def _tensor(value: Any, kind: str | None) -> Any:
    if kind is None:
        return value
    if kind not in ("np", "ms"):
        raise InvalidArgumentError(f"{_OWNER}: return_tensors is {kind!r}, but must be None, np or ms")
    try:
        array = np.asarray(value, np.int32)
    except ValueError as error:
        raise InvalidArgumentError(f"{_OWNER}: rows of several lengths are no array; give padding=True") from error
    return array if kind == "np" else import_mindspore('return_tensors="ms"', "export").Tensor(array)


def _check_count(name: str, value: Any) -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise InvalidArgumentError(f"{_OWNER}: {name} is {value!r}, but must be a whole number of at least 1")
