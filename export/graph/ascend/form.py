"""What a pair of device-cache graphs is asked to be, and what it becomes: form, cache, gears.

Knows nothing of MindSpore.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from skywork_rt.checkpoints.model import ModelConfig
from skywork_rt.errors import InvalidArgumentError, UnsupportedError

__all__ = ["FORMS", "PRECISIONS", "AscendOptions", "DeviceForm", "Gear", "check_model", "parse_gears", "plan_form"]

Gear = tuple[int, int]
"""A shape that a graph is compiled for: rows of the batch, and tokens of a prompt or positions that a step attends to.
"""

FORMS = ("assign", "indexed", "paged")
"""How the graphs write their cache: Assign of a sum; PromptKVCache and DecoderKVCache; ReshapeAndCache and
PagedAttention."""

PRECISIONS = ("float16", "float32")
"""Of weights, cache and arithmetic. Norms and the logits that come out are float32 in both."""

_MOST = 1 << 20
_MOST_GEARS = 100
"""CANN takes 2 to 100 gears for ge.dynamicDims."""


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


@dataclass(frozen=True)
class DeviceForm:
    """A pair of graphs, planned: `rows` and `positions` are the largest gear; `blocks` is 0 but in form paged."""

    form: str
    precision: str
    rows: int
    positions: int
    full_gears: tuple[Gear, ...]
    incremental_gears: tuple[Gear, ...]
    block_tokens: int = 0
    blocks: int = 0

    @property
    def table(self) -> int:
        """Blocks of the longest sequence; form paged."""
        return -(-self.positions // self.block_tokens)

    @property
    def dtype(self) -> DTypeLike:
        """NumPy's name of `precision`."""
        return np.float32 if self.precision == "float32" else np.float16

    @property
    def cache_names(self) -> tuple[str, str]:
        """Names of the two Parameters below `model.layers.N.attention.kvcache_mgr.`, as MindFormers has them."""
        return ("key_cache", "value_cache") if self.form == "paged" else ("key_past", "value_past")

    def gears(self, role: str) -> tuple[Gear, ...]:
        """Those of the graph "full" or "incremental"."""
        return self.full_gears if role == "full" else self.incremental_gears

    def dynamic(self, role: str) -> bool:
        """Whether that graph takes more than one shape."""
        return len(self.gears(role)) > 1

    def cache_shape(self, config: ModelConfig) -> tuple[int, int, int, int]:
        """Shape of one Parameter of the cache."""
        if self.form == "paged":
            return (self.blocks, self.block_tokens, config.kv_heads, config.head_dim)
        return (self.rows, config.kv_heads, self.positions, config.head_dim)

    def cache_section(self) -> dict[str, int]:
        """What model.json says of the cache (docs/bundle-format.md)."""
        if self.form == "paged":
            return {"blocks": self.blocks, "block_tokens": self.block_tokens, "table": self.table}
        return {"rows": self.rows, "positions": self.positions}

    def to_json(self) -> dict[str, Any]:
        """For the child process; `from_json` reads it."""
        return dict(vars(self))

    @classmethod
    def from_json(cls, body: dict[str, Any]) -> DeviceForm:
        """The inverse of `to_json` after a pass through JSON, which turns tuples into lists."""
        gears = {name: tuple((b, n) for b, n in body[name]) for name in ("full_gears", "incremental_gears")}
        return cls(**(body | gears))


def parse_gears(text: str) -> list[Gear]:
    """The gears of "1x256,4x1024". Raises InvalidArgumentError that shows the part that is none."""
    gears = []
    for part in (part.strip() for part in text.split(",") if part.strip()):
        batch, cross, length = part.partition("x")
        if not (cross and batch.isdecimal() and length.isdecimal()):
            raise InvalidArgumentError(f"gears has {part!r}; write each as rows x tokens, such as 1x256,4x1024")
        gears.append((int(batch), int(length)))
    return gears


def plan_form(options: AscendOptions, config: ModelConfig) -> DeviceForm:
    """Raises InvalidArgumentError that names the option and its bounds, UnsupportedError for a model's part."""
    check_model(config)
    form = _choice("cache_form", options.form, FORMS)
    precision = _choice("precision", options.precision, PRECISIONS)
    rows = _number("batch", options.batch, 1, _MOST)
    positions = config.max_length if options.seq_length is None else options.seq_length
    _number("seq_length", positions, 2, config.max_length)
    full = _gears(options.gears, rows, positions)
    block_tokens, blocks = _blocks(options, form, rows, positions)
    return DeviceForm(form, precision, rows, positions, full, _steps(form, full, positions), block_tokens, blocks)


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


def _choice(name: str, value: str, known: Sequence[str]) -> str:
    if value not in known:
        raise InvalidArgumentError(f"{name} is {value!r}, but must be one of {', '.join(known)}")
    return value


def _number(name: str, value: Any, least: int, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise InvalidArgumentError(f"{name} is {value!r}, but must be a whole number from {least} to {most}")
    return value


def _gears(given: Sequence[Gear], rows: int, positions: int) -> tuple[Gear, ...]:
    """Ascending, each once, with the largest among them."""
    for batch, length in given:
        if not 1 <= batch <= rows or not 1 <= length <= positions:
            raise InvalidArgumentError(
                f"gear {batch}x{length} does not lie within batch {rows} and seq_length {positions}"
            )
    gears = sorted({*given, (rows, positions)})
    if len(gears) > _MOST_GEARS:
        raise InvalidArgumentError(f"there are {len(gears)} gears, and CANN takes {_MOST_GEARS} at most; give fewer")
    return tuple(gears)


def _steps(form: str, full: tuple[Gear, ...], positions: int) -> tuple[Gear, ...]:
    """The gears of the incremental graph. A batch that the form assign began goes on with the same rows to the last
    position; a step of form paged has no length of its own, and 1 stands for it."""
    if form == "paged":
        return tuple(sorted({(batch, 1) for batch, _ in full}))
    if form == "indexed":
        return full
    steps = sorted({*full, *((batch, positions) for batch, _ in full)})
    if len(steps) > _MOST_GEARS:
        raise InvalidArgumentError(
            f"the incremental graph of form assign gets {len(steps)} gears, each batch at the full length too, and "
            f"CANN takes {_MOST_GEARS} at most; give fewer gears, or fewer batches"
        )
    return tuple(steps)


def _blocks(options: AscendOptions, form: str, rows: int, positions: int) -> tuple[int, int]:
    if form != "paged":
        for name in ("block_size", "num_blocks"):
            if getattr(options, name) is not None:
                raise InvalidArgumentError(f"{name} is for cache_form paged; cache_form is {form}")
        return 0, 0
    tokens = _number("block_size", 16 if options.block_size is None else options.block_size, 1, positions)
    table = -(-positions // tokens)
    if options.num_blocks is None:
        return tokens, rows * table + 1
    blocks = _number("num_blocks", options.num_blocks, 2, _MOST)
    if blocks < table + 1:
        raise InvalidArgumentError(
            f"num_blocks is {blocks}, but one sequence of {positions} tokens takes {table} blocks of {tokens}, and the "
            f"first block is for padding: give at least {table + 1}"
        )
    return tokens, blocks
