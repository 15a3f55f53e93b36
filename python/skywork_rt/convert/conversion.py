"""From one layout of checkpoints to another: Hugging Face's directories and MindSpore's files, tensor by tensor."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from skywork_rt.checkpoints.open import mindspore_file_of
from skywork_rt.checkpoints.open_tokenizer import open_tokenizer_files
from skywork_rt.checkpoints.tensors.ckpt_layout import CkptLayout
from skywork_rt.checkpoints.tensors.file_layout import FileLayout, TensorSpec
from skywork_rt.checkpoints.tensors.safetensors_layout import SafetensorsLayout
from skywork_rt.checkpoints.tensors.torch_layout import TorchLayout
from skywork_rt.convert.casting import check_dtype
from skywork_rt.convert.jobs import run
from skywork_rt.convert.partial import PartialOutput
from skywork_rt.convert.plan import Plan, PlannedFile, PlannedTensor
from skywork_rt.convert.replacing import Kind, check_inputs, check_output
from skywork_rt.convert.report import Report
from skywork_rt.convert.weights import Request, Weights, read_weights
from skywork_rt.errors import CheckpointError, InvalidArgumentError, UnsupportedError
from skywork_rt.support.stages import Progress, no_progress

__all__ = ["FORMATS", "SHARD_BYTES", "convert"]

Format = Literal["safetensors", "bin"]

FORMATS = ("safetensors", "bin")
"""How a Hugging Face directory holds its weights."""

_FILES, _OTHER_FILES = (".ckpt", ".safetensors"), (".bin", ".pt", ".pth", ".gguf")

SHARD_BYTES = 5_000_000_000
"""A safetensors file of a directory holds no more, unless one tensor does; transformers' own limit."""


def convert(
    source: Path | str,
    out: Path | str,
    *,
    dtype: str | None = None,
    config: Path | str | None = None,
    tokenizer: Path | str | None = None,
    merge_lora: Path | str | None = None,
    lora_alpha: float | None = None,
    file_format: str = "safetensors",
    crc: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Report:
    """Writes the checkpoint `source` as `out`, whose name says what it is.

    Args:
        source: a Hugging Face directory, or MindSpore's .ckpt or .safetensors with MindFormers' names.
        out: NAME.ckpt or NAME.safetensors, a checkpoint of MindSpore, or else the name of a Hugging Face directory.
            Until it is complete there is `out`.partial, from which the same call goes on after an interruption.
        dtype: one of float16, bfloat16, float32, rounded to nearest even; None keeps every tensor's own. Whole numbers
            and the state of a training run stay as they are.
        config: config.json or a MindFormers YAML for a source of MindSpore; None takes the one beside it.
        tokenizer: tokenizer.json, a SentencePiece model or a directory with one; None takes the one beside the source.
        merge_lora: a checkpoint of MindFormers with low-rank updates, perhaps `source` itself, which are added to the
            weights.
        lora_alpha: what the updates are multiplied by, divided by their rank; None takes pet_config of the YAML that is
            given, lies beside the updates, in the training's checkpoint/rank_N, or beside `source`.
        file_format: "safetensors" or "bin", for a Hugging Face directory.
        crc: appends the checksum of mindspore.save_checkpoint(crc_check=True) to a .ckpt.
        overwrite: replace what has the name of `out`, in one step, when all is done. A directory is replaced only when
            all that is in it is what this function writes.
        progress: called as bytes are written.

    From MindSpore to MindSpore all entries are kept; to Hugging Face the weights go alone. Beside a checkpoint of
    MindSpore config.json and the tokenizer are written where they are not there, so that it is at once a source of
    `skywork_rt.export.export`; where those of another model are there, the call is refused.

    Raises CheckpointError for a damaged source or names and shapes that do not belong to its configuration,
    UnsupportedError for what the target cannot hold, InvalidArgumentError for a wrong argument, CapacityError when the
    disk is too full.
    """
    out, progress = Path(out), progress or no_progress
    request = Request(
        Path(source), dtype, _path(config), _path(tokenizer), _path(merge_lora), _checked_alpha(lora_alpha)
    )
    target = _target(out, file_format, crc)
    check_dtype(dtype)
    if request.lora_alpha is not None and request.merge_lora is None:
        raise InvalidArgumentError("lora_alpha is for merge_lora (--merge-lora), which is not given")
    _check_tokenizer(request.tokenizer)
    kind: Kind = "huggingface" if target.directory else "file"
    inputs = [mindspore_file_of(path) for path in (request.source, request.merge_lora) if path is not None]
    check_output(out, kind, inputs, (request.config, request.tokenizer), overwrite=overwrite)
    weights = read_weights(request, "huggingface" if target.directory else "mindspore")
    check_inputs(out, weights.inputs)
    if weights.companions and not target.directory:
        weights.companions.check(out.absolute().parent)
    for file in weights.checked:
        file.check_crc(progress)
    plan = target.plan(weights, request)
    with PartialOutput(out, directory=target.directory) as partial:
        outcome = run(None, plan, partial, "convert", progress)
        beside = _publish(partial, out, target, plan, weights, overwrite=overwrite)
    return Report(
        out,
        outcome.tensors,
        outcome.bytes,
        outcome.peak_memory,
        outcome.resumed,
        sorted({tensor.spec.dtype for tensor in weights.tensors}),
        weights.left_out,
        beside,
        weights.merged,
    )


@dataclass(frozen=True)
class _Target:
    """What `out` is to be."""

    name: str
    directory: bool
    file_format: str
    crc: bool

    def plan(self, weights: Weights, request: Request) -> Plan:
        options = {name: str(value) for name, value in vars(request).items()}
        return Plan(self._files(weights.tensors), weights.inputs, options)

    def _files(self, tensors: Sequence[PlannedTensor]) -> list[PlannedFile]:
        if not self.directory:
            return [PlannedFile(self.name, self._mindspore_layout(_specs(tensors)), tensors, self.crc)]
        if self.file_format == "bin":
            return [PlannedFile("pytorch_model.bin", TorchLayout(_specs(tensors)), tensors)]
        shards = _shards(tensors)
        count = len(shards)
        names = [f"model-{number:05}-of-{count:05}.safetensors" for number in range(1, count + 1)]
        return [
            PlannedFile(
                "model.safetensors" if count == 1 else name, SafetensorsLayout(_specs(shard), {"format": "pt"}), shard
            )
            for name, shard in zip(names, shards, strict=True)
        ]

    def _mindspore_layout(self, specs: Sequence[TensorSpec]) -> FileLayout:
        if self.name.endswith(".ckpt"):
            return CkptLayout(specs)
        return SafetensorsLayout(specs, {"format": "ms"})


def _target(out: Path, file_format: str, crc: bool) -> _Target:
    if file_format not in FORMATS:
        raise InvalidArgumentError(f"format is {file_format!r}; it must be one of {', '.join(FORMATS)}")
    ending = out.suffix.lower()
    if ending != out.suffix and ending in (*_FILES, *_OTHER_FILES):
        raise InvalidArgumentError(f"{out.name} ends in {out.suffix}; write {ending}, in lower case")
    if ending in _FILES:
        if file_format != "safetensors":
            raise InvalidArgumentError(f"format is for a Hugging Face directory, and {out.name} is a MindSpore file")
        if crc and out.suffix != ".ckpt":
            raise InvalidArgumentError(f"crc is for a .ckpt; {out.name} has no place for a checksum")
        return _Target(out.name, False, file_format, crc)
    if ending in _OTHER_FILES:
        raise InvalidArgumentError(
            f"{out.name} is a file; give the name of a directory for Hugging Face's layout (--format bin writes "
            "pytorch_model.bin in it), or NAME.ckpt or NAME.safetensors for MindSpore"
        )
    if crc:
        raise InvalidArgumentError("crc is for a .ckpt; a Hugging Face directory has no place for a checksum")
    return _Target(out.name, True, file_format, False)


def _checked_alpha(alpha: float | None) -> float | None:
    if alpha is None:
        return None
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not 0 < alpha < math.inf:
        raise InvalidArgumentError(f"lora_alpha is {alpha!r}; it must be a positive number")
    return float(alpha)


def _check_tokenizer(path: Path | None) -> None:
    """Reads it: nothing else would notice that it is not there, or no tokenizer, before it is copied."""
    if path is None:
        return
    open_tokenizer_files(path)
    if path.is_file() and _is_gguf(path):
        raise UnsupportedError(f"{path.name} is a GGUF file; give tokenizer.model, tokenizer.json or their directory")


def _is_gguf(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"GGUF"


def _path(value: Path | str | None) -> Path | None:
    return None if value is None else Path(value)


def _specs(tensors: Sequence[PlannedTensor]) -> list[TensorSpec]:
    return [tensor.spec for tensor in tensors]


def _shards(tensors: Sequence[PlannedTensor]) -> list[list[PlannedTensor]]:
    """Runs of tensors in order, none larger than `SHARD_BYTES` unless it is one tensor."""
    shards: list[list[PlannedTensor]] = [[]]
    size = 0
    for tensor in tensors:
        if shards[-1] and size + tensor.spec.nbytes > SHARD_BYTES:
            shards.append([])
            size = 0
        shards[-1].append(tensor)
        size += tensor.spec.nbytes
    return shards


def _publish(
    partial: PartialOutput, out: Path, target: _Target, plan: Plan, weights: Weights, *, overwrite: bool
) -> list[str]:
    """The small files, then the name. Returns what was written beside a file."""
    companions, dtype = weights.companions, weights.dtype()
    if target.directory:
        if companions is None:
            raise CheckpointError(f"{out.name} would have no config.json")
        companions.write_all(partial.root, dtype)
        _write_index(partial.root, plan)
        partial.publish_directory(overwrite=overwrite)
        return []
    beside = companions.write_missing(out.absolute().parent, dtype) if companions else []
    partial.publish_file(out.name, overwrite=overwrite)
    return beside


def _write_index(directory: Path, plan: Plan) -> None:
    index = directory / "model.safetensors.index.json"
    if len(plan.files) == 1:
        index.unlink(missing_ok=True)
        return
    total = sum(tensor.spec.nbytes for file in plan.files for tensor in file.tensors)
    body: dict[str, Any] = {
        "metadata": {"total_size": total},
        "weight_map": {tensor.spec.name: file.path for file in plan.files for tensor in file.tensors},
    }
    index.write_text(json.dumps(body, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
