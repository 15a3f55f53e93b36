"""Which form of the device-cache contract a pair of graphs is, and what its cache and its shapes are."""

from __future__ import annotations

import re
from collections.abc import Sequence

from skywork_rt.checkpoints.model import ModelConfig
from skywork_rt.errors import CheckpointError, InvalidArgumentError
from skywork_rt.export.adopt.mindir_header import MindIrHeader, TensorHeader
from skywork_rt.export.device_cache import (
    LEAST_DYNAMIC_GEARS,
    MOST_GEARS,
    PRECISIONS,
    DeviceForm,
    Form,
    Gear,
    Precision,
)

__all__ = ["recognise_form"]

_INPUTS = {
    "tokens": "int32",
    "batch_valid_length": "int32",
    "batch_index": "int64",
    "zactivate_len": "int64",
    "block_tables": "int32",
    "slot_mapping": "int32",
}
_ALIASES = {"input_ids": "tokens"}
_KEYS = re.compile(r"layers\.(\d+)\..*\.key_(past|cache)$")
_VALUES = re.compile(r"layers\.(\d+)\..*\.value_(past|cache)$")
_EMBEDDING = re.compile(r"tok_embeddings\.embedding_weight$")


def recognise_form(
    full: MindIrHeader, incremental: MindIrHeader, model: ModelConfig, gears: Sequence[Gear], step_gears: Sequence[Gear]
) -> DeviceForm:
    """Reads it off the graphs and compares it with the model of the configuration.

    `gears` and `step_gears` are the shapes of graphs whose inputs have no size of their own. Raises CheckpointError
    that lists every mismatch, InvalidArgumentError where shapes are missing or given in vain.
    """
    inputs = [_named_inputs(header) for header in (full, incremental)]
    _check_order(full, incremental, inputs[0]["tokens"], inputs[1]["tokens"])
    form = _form_of(full, incremental, inputs[0], inputs[1])
    keys = _cache_of(full)
    problems = _mismatches(full, incremental, keys, model, form)
    if problems:
        raise CheckpointError(f"the graphs and the configuration do not fit: {'; '.join(problems)}")
    shape = keys[0].shape
    batch, length = inputs[0]["tokens"].shape
    read = _checked(full, (batch, length), gears, "--gears")
    positions = None if form == "paged" else shape[2]
    steps = _step_gears_of(incremental, inputs[1], step_gears, positions)
    precision = _precision_of(keys[0])
    if positions is not None:
        return DeviceForm(form, precision, shape[0], positions, read, steps)
    blocks, tokens, table = shape[0], shape[1], _table_of(inputs[1])
    longest = min(min(table, blocks - 1) * tokens, model.max_length)
    return DeviceForm(form, precision, max(batch for batch, _ in read), longest, read, steps, tokens, blocks, table)


def _named_inputs(header: MindIrHeader) -> dict[str, TensorHeader]:
    found: dict[str, TensorHeader] = {}
    for tensor in header.inputs:
        name = _ALIASES.get(tensor.name, tensor.name)
        if name not in _INPUTS:
            raise CheckpointError(
                f"{header.path.name} has an input {tensor.name!r}; the graphs of MindFormers' Llama models have "
                f"{', '.join(_INPUTS)}"
            )
        if tensor.dtype != _INPUTS[name]:
            raise CheckpointError(f"{header.path.name}: the input {tensor.name} is {tensor.dtype}, not {_INPUTS[name]}")
        found[name] = tensor
    missing = [name for name in ("tokens", "batch_valid_length") if name not in found]
    if missing:
        raise CheckpointError(
            f"{header.path.name} has no input {missing[0]}: was it exported with use_past False? Such a graph has no "
            "cache; export again with --use_past True"
        )
    return found


def _check_order(full: MindIrHeader, incremental: MindIrHeader, prompts: TensorHeader, steps: TensorHeader) -> None:
    """Graphs without sizes do not tell; those with sizes do."""
    for header, tensor in ((full, prompts), (incremental, steps)):
        if len(tensor.shape) != 2:
            raise CheckpointError(f"{header.path}: tokens has the shape {list(tensor.shape)}, not [batch, length]")
    if prompts.shape[1] == 1:
        raise CheckpointError(
            f"{full.path} takes one token a row, so it reads no prompts: give FULL (mindir_full_checkpoint) before INC "
            "(mindir_inc_checkpoint)"
        )
    if steps.shape[1] > 1:
        raise CheckpointError(
            f"{incremental.path} takes {steps.shape[1]} tokens a row, so it computes no single tokens: give the graph "
            "of mindir_inc_checkpoint as the second one"
        )


def _form_of(
    full: MindIrHeader,
    incremental: MindIrHeader,
    full_inputs: dict[str, TensorHeader],
    inputs: dict[str, TensorHeader],
) -> Form:
    if ("slot_mapping" in full_inputs) != ("slot_mapping" in inputs):
        raise CheckpointError(
            f"one of {full.path.name} and {incremental.path.name} is paged (slot_mapping) and the other is not: give "
            "the two graphs of one export"
        )
    if "slot_mapping" in inputs:
        if "block_tables" not in inputs:
            raise CheckpointError(f"{incremental.path.name} has slot_mapping and no block_tables; give FULL before INC")
        return "paged"
    if _has_operator(incremental, "DecoderKVCache"):
        if "batch_index" not in full_inputs:
            raise CheckpointError(f"{full.path.name} writes its cache by PromptKVCache, but has no input batch_index")
        return "indexed"
    if _has_operator(incremental, "Assign"):
        return "assign"
    raise CheckpointError(
        f"{incremental.path.name} has neither DecoderKVCache nor Assign: nothing in it writes the cache of a "
        "token. Give the graph of mindir_inc_checkpoint as the second one"
    )


def _has_operator(header: MindIrHeader, name: str) -> bool:
    pattern = re.compile(rf"(^|[^A-Za-z]){name}($|[^A-Za-z])")
    return any(pattern.search(operator) for operator in header.operators)


def _cache_of(header: MindIrHeader) -> list[TensorHeader]:
    """The Parameters of keys, a layer each, in order."""
    found = {int(match[1]): tensor for name, tensor in header.parameters.items() if (match := _KEYS.search(name))}
    if not found:
        raise CheckpointError(
            f"{header.path.name} has no Parameters key_past (or key_cache): it was exported without a cache; export "
            "again with --use_past True"
        )
    return [found[layer] for layer in sorted(found)]


def _mismatches(
    full: MindIrHeader, incremental: MindIrHeader, keys: Sequence[TensorHeader], model: ModelConfig, form: Form
) -> list[str]:
    problems = []
    shape = keys[0].shape
    if len(shape) != 4:
        return [f"{keys[0].name} has the shape {shape}, not four dimensions"]
    if {(key.shape, key.dtype) for key in keys} != {(shape, keys[0].dtype)}:
        problems.append(f"the caches of the layers of {full.path.name} differ in shape or type")
    others = {name: tensor for name, tensor in incremental.parameters.items() if _KEYS.search(name)}
    if {tensor.shape for tensor in others.values()} != {shape} or len(others) != len(keys):
        problems.append(
            f"{full.path.name} has {len(keys)} caches of {list(shape)}, {incremental.path.name} {len(others)} of "
            f"{[list(tensor.shape) for tensor in others.values()][:1]}"
        )
    if keys[0].dtype not in PRECISIONS:
        problems.append(f"the cache is {keys[0].dtype}; known are {' and '.join(PRECISIONS)}")
    heads, width = (shape[2], shape[3]) if form == "paged" else (shape[1], shape[3])
    for what, in_graph, configured in (
        ("layers", len(keys), model.layers),
        ("key/value heads", heads, model.kv_heads),
        ("elements a head", width, model.head_dim),
        *_embedding_sizes(full, model),
    ):
        if in_graph != configured:
            problems.append(f"the graphs have {in_graph} {what}, the configuration {configured}")
    problems += [_logits_problem(header, model) for header in (full, incremental) if _logits_problem(header, model)]
    if form != "paged" and shape[2] > model.max_length:
        problems.append(f"the cache has {shape[2]} positions, the configuration {model.max_length} (seq_length)")
    return problems


def _logits_problem(header: MindIrHeader, model: ModelConfig) -> str:
    """Why output 0 is not the float32 logits of each row's last token; empty when it is, or its shape is not stated."""
    if not header.outputs:
        return ""
    logits = header.outputs[0]
    shape = logits.shape
    if logits.dtype != "float32" or not shape or shape[-1] not in (-1, model.vocab_size):
        return (
            f"output 0 of {header.path.name} is {logits.dtype} {list(shape)}, not float32 logits of {model.vocab_size} "
            "tokens"
        )
    if len(shape) == 3 and shape[1] > 1:
        return f"{header.path.name} gives logits of {shape[1]} positions of each row, not of the last one alone"
    return ""


def _embedding_sizes(header: MindIrHeader, model: ModelConfig) -> list[tuple[str, int, int]]:
    for name, tensor in header.parameters.items():
        if _EMBEDDING.search(name) and len(tensor.shape) == 2:
            return [
                ("tokens in the vocabulary", tensor.shape[0], model.vocab_size),
                ("elements of a hidden state", tensor.shape[1], model.hidden_size),
            ]
    return []


def _precision_of(cache: TensorHeader) -> Precision:
    for precision in PRECISIONS:
        if cache.dtype == precision:
            return precision
    raise CheckpointError(f"{cache.name} is {cache.dtype}; known are {' and '.join(PRECISIONS)}")


def _table_of(inputs: dict[str, TensorHeader]) -> int:
    """Blocks of the longest sequence of a paged cache."""
    table = inputs["block_tables"].shape
    if len(table) != 2 or table[1] < 1:
        raise CheckpointError(f"block_tables has the shape {list(table)}; its second dimension must have a size")
    return table[1]


def _step_gears_of(
    header: MindIrHeader, inputs: dict[str, TensorHeader], gears: Sequence[Gear], positions: int | None
) -> tuple[Gear, ...]:
    """`positions` are None for a paged cache, whose steps find their length in block_tables."""
    batch = inputs["tokens"].shape[0]
    if positions is None:
        return _checked(header, (batch, 1), sorted({(gear[0], 1) for gear in gears}), "--step-gears")
    active = inputs.get("zactivate_len")
    length = active.shape[0] if active and active.shape else positions
    return _checked(header, (batch, length), gears, "--step-gears")


def _checked(header: MindIrHeader, stated: Gear, gears: Sequence[Gear], option: str) -> tuple[Gear, ...]:
    name = header.path.name
    if all(size > 0 for size in stated):
        if gears and tuple(gears) != (stated,):
            raise InvalidArgumentError(
                f"{option} is given, but {name} was exported for {stated[0]}x{stated[1]} alone: leave it out"
            )
        return (stated,)
    if not gears:
        raise InvalidArgumentError(
            f"{name} was exported without sizes ({stated[0]}x{stated[1]}): say with {option} which shapes GE compiles, "
            "such as 1x256,1x4096, as in ge.dynamicDims of its configuration"
        )
    if not LEAST_DYNAMIC_GEARS <= len(gears) <= MOST_GEARS:
        raise InvalidArgumentError(
            f"{name} would have {len(gears)} shapes ({option}); GE takes {LEAST_DYNAMIC_GEARS} to {MOST_GEARS}"
        )
    for gear in gears:
        if any(size > 0 and size != chosen for size, chosen in zip(stated, gear, strict=True)):
            raise InvalidArgumentError(f"{option} has {gear[0]}x{gear[1]}, but {name} has {stated[0]}x{stated[1]}")
    return tuple(gears)
