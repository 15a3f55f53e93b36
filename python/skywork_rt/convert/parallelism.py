"""How MindFormers' LlamaForCausalLM is divided among ranks, from the numbers of its parallel_config.

Read in MindFormers 1.8.0 (`LlamaModel`, `LLamaAttention.shard`, `LlamaFeedForward.shard`, `LlamaEmbedding.shard`,
`LayerSetting`, `recursive_replace_dense_cell` for LoRA); what the optimizer's shard does was established with
mindspore.transform_checkpoints on the CPU, no strategy file made on Ascend was available.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from skywork_rt.checkpoints.mindspore.names import check_known, is_training_state, moment_of
from skywork_rt.checkpoints.mindspore.strategy import ParameterLayout, Strategy
from skywork_rt.errors import InvalidArgumentError, UnsupportedError

__all__ = ["Parallelism"]

_EMBEDDINGS, _HEAD = "model.tok_embeddings.embedding_weight", "lm_head.weight"
_LAYER = re.compile(r"model\.layers\.(\d+)\.(.+)")
_BY_ROWS = re.compile(
    r"(attention\.(wq|wk|wv|w_qkv)|feed_forward\.(w1|w3|w_gate_hidden))\.(weight|bias|mindpet_delta_lora_[bB])"
)
_BY_COLUMNS = re.compile(r"(attention\.wo|feed_forward\.w2)\.(weight|mindpet_delta_lora_[aA])")
_LARGEST = 1 << 16


@dataclass(frozen=True)
class Parallelism:
    """The numbers of MindFormers' parallel_config that decide which part of a checkpoint a rank holds.

    data_parallel · model_parallel · pipeline_stages ranks; `optimizer_shard` is parallel_optimizer, and
    `vocab_emb_dp` False divides embeddings and head by model_parallel where that divides the vocabulary.
    """

    data_parallel: int = 1
    model_parallel: int = 1
    pipeline_stages: int = 1
    optimizer_shard: bool = False
    vocab_emb_dp: bool = True

    def __post_init__(self) -> None:
        for name in ("data_parallel", "model_parallel", "pipeline_stages"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _LARGEST:
                raise InvalidArgumentError(f"{name} is {value!r}; it must be a whole number from 1 to {_LARGEST}")

    @property
    def ranks(self) -> int:
        """All ranks."""
        return self.data_parallel * self.model_parallel * self.pipeline_stages

    def strategy(self, shapes: Mapping[str, tuple[int, ...]]) -> Strategy:
        """The layouts of the parameters `shapes` (MindFormers' names), moments as their weights.

        Raises InvalidArgumentError when model_parallel does not divide a matrix of a layer, or pipeline_stages the
        layers; UnsupportedError for a tied head in stages; CheckpointError for a name that MindFormers does not use.
        """
        for name in shapes:
            check_known(name, "the source", lora=True)
        weights = {name: shape for name, shape in shapes.items() if not is_training_state(name)}
        layers = 1 + max((int(match[1]) for match in map(_LAYER.fullmatch, weights) if match), default=-1)
        self._check_stages(layers, weights)
        stages: list[dict[str, ParameterLayout]] = [{} for _ in range(self.pipeline_stages)]
        for name, shape in shapes.items():
            weight = moment_of(name) or name
            if weight in weights:
                stages[self._stage(weight, layers)][name] = self._layout(weight, shape)
        return Strategy(stages, self.data_parallel * self.model_parallel, "this parallelism")

    def _check_stages(self, layers: int, weights: Mapping[str, tuple[int, ...]]) -> None:
        if self.pipeline_stages == 1:
            return
        if layers % self.pipeline_stages or not layers:
            raise InvalidArgumentError(
                f"{layers} layers do not divide into {self.pipeline_stages} pipeline stages of the same number; "
                "MindFormers needs an offset for that: give the strategy files of its run"
            )
        if _HEAD not in weights:
            raise UnsupportedError(
                "embeddings that are the head too (tie_word_embeddings) belong to the first and the last pipeline "
                "stage; give the strategy files of MindFormers' run"
            )

    def _stage(self, name: str, layers: int) -> int:
        match = _LAYER.fullmatch(name)
        if match:
            return int(match[1]) * self.pipeline_stages // layers
        return 0 if name == _EMBEDDINGS else self.pipeline_stages - 1

    def _layout(self, name: str, shape: tuple[int, ...]) -> ParameterLayout:
        axis = self._divided_axis(name, shape)
        if self.model_parallel == 1:
            axis = None
        tensor_map = tuple((0,) if index == axis else () for index in range(len(shape)))
        step, size = self._shard(axis, shape)
        return ParameterLayout((self.data_parallel, self.model_parallel), tensor_map, step, size)

    def _divided_axis(self, name: str, shape: tuple[int, ...]) -> int | None:
        match = _LAYER.fullmatch(name)
        part = match[2] if match else ""
        if _BY_ROWS.fullmatch(part):
            return self._checked_axis(name, shape, 0)
        if _BY_COLUMNS.fullmatch(part):
            return self._checked_axis(name, shape, 1)
        vocabulary = name in (_EMBEDDINGS, _HEAD) and not self.vocab_emb_dp
        return 0 if vocabulary and shape[0] % self.model_parallel == 0 else None

    def _checked_axis(self, name: str, shape: tuple[int, ...], axis: int) -> int:
        if len(shape) <= axis or shape[axis] % self.model_parallel:
            raise InvalidArgumentError(
                f"model_parallel {self.model_parallel} does not divide {name} {list(shape)}; MindFormers needs one "
                "that divides the heads, the key/value heads and the width of the feed-forward"
            )
        return axis

    def _shard(self, axis: int | None, shape: tuple[int, ...]) -> tuple[int, int]:
        """Step and size: all ranks that hold the same part share its rows out, where these divide."""
        if not self.optimizer_shard or not shape:
            return 0, 0
        if axis is None:
            step, size = 1, self.data_parallel * self.model_parallel
        else:
            step, size = self.model_parallel, self.data_parallel
        rows = shape[0] // (self.model_parallel if axis == 0 else 1)
        return (step, size) if size > 1 and rows % size == 0 else (0, 0)
