"""What a pair of device-cache graphs is: how it writes its cache, the cache's sizes, the shapes that it runs in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import DTypeLike

from skywork_rt.checkpoints.model import ModelConfig
from skywork_rt.export.device_cache.gears import Gear

__all__ = ["FORMS", "FULL", "INCREMENTAL", "PRECISIONS", "ROLES", "DeviceForm", "Form", "Precision", "Role"]

Role = Literal["full", "incremental"]
FULL: Role = "full"
INCREMENTAL: Role = "incremental"
ROLES: tuple[Role, ...] = (FULL, INCREMENTAL)

Form = Literal["assign", "indexed", "paged"]
FORMS: tuple[Form, ...] = get_args(Form)
"""How the graphs write their cache: Assign of a sum; PromptKVCache and DecoderKVCache; ReshapeAndCache and
PagedAttention."""

Precision = Literal["float16", "float32"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
"""Of weights, cache and arithmetic. Norms and the logits that come out are float32 in both."""


@dataclass(frozen=True)
class DeviceForm:
    """A pair of graphs, planned or recognised.

    rows: of the largest batch, and of the cache but in form paged. positions: the longest sequence, prompt and output
    together. block_tokens, blocks, table: of form paged alone, else 0: the tokens of a block, the number of blocks,
    the first of which takes what is padding, and the blocks of the longest sequence.
    """

    form: Form
    precision: Precision
    rows: int
    positions: int
    full_gears: tuple[Gear, ...]
    incremental_gears: tuple[Gear, ...]
    block_tokens: int = 0
    blocks: int = 0
    table: int = 0

    @property
    def dtype(self) -> DTypeLike:
        """NumPy's name of `precision`."""
        return np.float32 if self.precision == "float32" else np.float16

    @property
    def cache_names(self) -> tuple[str, str]:
        """Names of the two Parameters below `model.layers.N.attention.kvcache_mgr.`, as MindFormers has them."""
        return ("key_cache", "value_cache") if self.form == "paged" else ("key_past", "value_past")

    def gears(self, role: Role) -> tuple[Gear, ...]:
        """The shapes of that graph."""
        return self.full_gears if role == FULL else self.incremental_gears

    def dynamic(self, role: Role) -> bool:
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
