"""What a pair of device-cache graphs is asked to be, and the form that follows from it.

Knows nothing of MindSpore.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from skywork_rt.checkpoints.model import ModelConfig
from skywork_rt.errors import InvalidArgumentError, UnsupportedError
from skywork_rt.export.device_cache import FORMS, MOST_GEARS, PRECISIONS, DeviceForm, Form, Gear

__all__ = ["AscendOptions", "check_model", "plan_form"]

_Choice = TypeVar("_Choice", bound=str)

_MOST = 1 << 20


@dataclass(frozen=True)
class AscendOptions:
    """What a caller asks of an export for Ascend.

    batch: rows of the cache, and of the largest gear. seq_length: tokens of each row, prompt and output together; None
    takes the model's. gears: shapes beside (batch, seq_length), which is always one. block_size, num_blocks: of form
    paged alone, the tokens of a block and the number of blocks, the first of which takes what is padding; None holds
    `batch` sequences of full length.
    """

    batch: int = 1
    seq_length: int | None = None
    gears: Sequence[Gear] = ()
    form: str = "assign"
    precision: str = "float16"
    block_size: int | None = None
    num_blocks: int | None = None


def plan_form(options: AscendOptions, config: ModelConfig) -> DeviceForm:
    """Raises InvalidArgumentError that names the option and its bounds, UnsupportedError for a model's part."""
    check_model(config)
    form = _choice("cache_form", options.form, FORMS)
    precision = _choice("precision", options.precision, PRECISIONS)
    rows = _number("batch", options.batch, 1, _MOST)
    positions = config.max_length if options.seq_length is None else options.seq_length
    _number("seq_length", positions, 2, config.max_length)
    full = _gears(options.gears, rows, positions)
    blocks = _blocks(options, form, rows, positions)
    return DeviceForm(form, precision, rows, positions, full, _steps(form, full, positions), *blocks)


def check_model(config: ModelConfig) -> None:
    """Raises UnsupportedError for what MindFormers' Llama of this contract has no names or parts for."""
    missing = {
        "norms of the heads of q and k (qk_norm)": config.qk_norm,
        "layers without rotary (layers_without_rope)": bool(config.layers_without_rope),
        "a bias of attention's output (output_bias)": config.output_bias,
        "biases of the feed-forward (mlp_bias)": config.mlp_bias,
    }
    found = [name for name, there in missing.items() if there]
    if found:
        raise UnsupportedError(
            f"the model has {' and '.join(found)}, which MindFormers' device-cache contract has no place for; "
            "export it for lite or native instead"
        )


def _choice(name: str, value: str, known: Sequence[_Choice]) -> _Choice:
    for choice in known:
        if value == choice:
            return choice
    raise InvalidArgumentError(f"{name} is {value!r}, but must be one of {', '.join(known)}")


def _number(name: str, value: Any, least: int, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise InvalidArgumentError(f"{name} is {value!r}, but must be a whole number from {least} to {most}")
    return value


def _gears(given: Sequence[Gear], rows: int, positions: int) -> tuple[Gear, ...]:
    """Ascending, each once, with the largest among them."""
    for gear in given:
        if not _is_gear(gear):
            raise InvalidArgumentError(f"gears has {gear!r}; each is a pair of whole numbers, as (1, 256)")
        batch, length = gear
        if not 1 <= batch <= rows or not 1 <= length <= positions:
            raise InvalidArgumentError(
                f"gear {batch}x{length} does not lie within batch {rows} and seq_length {positions}"
            )
    gears = sorted({*((batch, length) for batch, length in given), (rows, positions)})
    if len(gears) > MOST_GEARS:
        raise InvalidArgumentError(f"there are {len(gears)} gears, and CANN takes {MOST_GEARS} at most; give fewer")
    return tuple(gears)


def _is_gear(gear: Any) -> bool:
    return isinstance(gear, tuple | list) and len(gear) == 2 and all(type(size) is int for size in gear)


def _steps(form: Form, full: tuple[Gear, ...], positions: int) -> tuple[Gear, ...]:
    """The gears of the incremental graph. A batch that the form assign began goes on with the same rows to the last
    position; a step of form paged has no length of its own, and 1 stands for it."""
    if form == "paged":
        return tuple(sorted({(batch, 1) for batch, _ in full}))
    if form == "indexed":
        return full
    steps = sorted({*full, *((batch, positions) for batch, _ in full)})
    if len(steps) > MOST_GEARS:
        raise InvalidArgumentError(
            f"the incremental graph of form assign gets {len(steps)} gears, each batch at the full length too, and "
            f"CANN takes {MOST_GEARS} at most; give fewer gears, or fewer batches"
        )
    return tuple(steps)


def _blocks(options: AscendOptions, form: Form, rows: int, positions: int) -> tuple[int, int, int]:
    """Tokens of a block, the number of blocks, and the blocks of the longest sequence."""
    if form != "paged":
        for name in ("block_size", "num_blocks"):
            if getattr(options, name) is not None:
                raise InvalidArgumentError(f"{name} is for cache_form paged; cache_form is {form}")
        return 0, 0, 0
    tokens = _number("block_size", 16 if options.block_size is None else options.block_size, 1, positions)
    table = -(-positions // tokens)
    if options.num_blocks is None:
        return tokens, rows * table + 1, table
    blocks = _number("num_blocks", options.num_blocks, 2, _MOST)
    if blocks < table + 1:
        raise InvalidArgumentError(
            f"num_blocks is {blocks}, but one sequence of {positions} tokens takes {table} blocks of {tokens}, and the "
            f"first block is for padding: give at least {table + 1}"
        )
    return tokens, blocks, table
