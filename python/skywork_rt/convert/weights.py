"""The tensors that a conversion writes, under the names of its target, and what belongs beside them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from numpy.typing import NDArray

from skywork_rt.checkpoints.checkpoint import Checkpoint
from skywork_rt.checkpoints.file_source import FileSource
from skywork_rt.checkpoints.huggingface import names as huggingface_names
from skywork_rt.checkpoints.huggingface.json_file import read_json_object
from skywork_rt.checkpoints.huggingface.names import hugging_face_name
from skywork_rt.checkpoints.huggingface.source import HuggingFaceSource
from skywork_rt.checkpoints.mindspore.config import (
    Configuration,
    LoraSettings,
    find_configuration,
    find_lora_settings,
    read_configuration,
)
from skywork_rt.checkpoints.mindspore.names import check_known, is_training_state, mindspore_name
from skywork_rt.checkpoints.mindspore.source import MindSporeSource, open_weight_file
from skywork_rt.checkpoints.open import mindspore_file_of, open_source
from skywork_rt.checkpoints.tensors.ckpt_file import CkptFile
from skywork_rt.checkpoints.tensors.file_layout import TensorSpec
from skywork_rt.checkpoints.tensors.weight_file import WeightFile
from skywork_rt.convert.casting import in_dtype, wanted_dtype
from skywork_rt.convert.companions import Companions
from skywork_rt.convert.lora import LoraFactors, MergedFile, check_all_used, read_lora
from skywork_rt.convert.plan import PlannedTensor
from skywork_rt.errors import CheckpointError, InvalidArgumentError, UnsupportedError

__all__ = ["Names", "Request", "Weights", "read_weights"]

Names = Literal["huggingface", "mindspore"]


@dataclass(frozen=True)
class Request:
    """What a caller of `convert` asks for, the output aside."""

    source: Path
    dtype: str | None = None
    config: Path | None = None
    tokenizer: Path | None = None
    merge_lora: Path | None = None
    lora_alpha: float | None = None


@dataclass
class Weights:
    """The tensors in the order in which they are written. `companions` is None when no configuration is known."""

    tensors: list[PlannedTensor]
    inputs: list[Path]
    companions: Companions | None
    left_out: Sequence[str] = ()
    merged: int = 0
    checked: Sequence[CkptFile] = field(default_factory=list)
    """Files with a checksum of their own."""

    def dtype(self) -> str | None:
        """The type that all tensors have; None when there are several."""
        dtypes = {tensor.spec.dtype for tensor in self.tensors}
        return dtypes.pop() if len(dtypes) == 1 else None


def read_weights(request: Request, names: Names) -> Weights:
    """Opens the source, checks its names and shapes, and lists what is written under `names`."""
    request = dataclasses.replace(request, source=mindspore_file_of(request.source))
    if request.merge_lora is not None:
        request = dataclasses.replace(request, merge_lora=mindspore_file_of(request.merge_lora))
    if _is_mindspore_file(request.source):
        return _from_mindspore(request, names)
    return _from_checkpoint(request, names)


def _is_mindspore_file(path: Path) -> bool:
    if path.suffix not in (".ckpt", ".safetensors") or path.is_dir():
        return False
    file = open_weight_file(path)
    if path.suffix == ".safetensors" and hugging_face_name("embed_tokens") in file.tensors:
        raise CheckpointError(f"{path.name} has Hugging Face's names: give its directory, with config.json beside it")
    return True


def _from_mindspore(request: Request, names: Names) -> Weights:
    file = open_weight_file(request.source)
    checked = [file] if isinstance(file, CkptFile) else []
    merged, updates, inputs = 0, {}, [request.source]
    if request.merge_lora is not None:
        updates = _updates(request)
        joined = MergedFile(file, updates, request.dtype)
        check_all_used(updates, joined.updated, request.source.name)
        file, merged = joined, len(joined.updated)
        inputs.append(request.merge_lora)
    if names == "huggingface":
        weights = _from_source(request, names, _mindspore_source(request, file))
    else:
        weights = _same_names(request, file, bool(updates))
    weights.inputs, weights.merged, weights.checked = inputs, merged, checked
    return weights


def _mindspore_source(request: Request, file: WeightFile) -> MindSporeSource:
    return MindSporeSource(request.source, None, request.config, request.tokenizer, file=file)


def _same_names(request: Request, file: WeightFile, merged: bool) -> Weights:
    """From MindSpore to MindSpore: every entry under its own name; what was merged is no state of a training run."""
    left_out: list[str] = []
    tensors = []
    for name, info in file.tensors.items():
        check_known(name, file.path.name)
        state = is_training_state(name)
        if state and merged:
            left_out.append(name)
            continue
        wanted = info.dtype if state else wanted_dtype(info.dtype, request.dtype)
        load = _loader(name, info.dtype, wanted, _reader(file, name))
        tensors.append(PlannedTensor(TensorSpec(name, info.shape, wanted), load))
    if isinstance(file, CkptFile):
        left_out += file.texts
    configuration = _configuration(request)
    return Weights(tensors, [], _companions(request, configuration) if configuration else None, left_out)


def _from_checkpoint(request: Request, names: Names) -> Weights:
    source = _open_stored(request)
    merged = 0
    if request.merge_lora is not None:
        updates = _updates(request)
        used = source.wrap_files(lambda file: MergedFile(file, updates, request.dtype, _mindspore_of_hugging_face))
        found = {mindspore for file in used for mindspore in map(_mindspore_of_hugging_face, file.updated) if mindspore}
        check_all_used(updates, found, request.source.name)
        merged = len(found)
    weights = _from_source(request, names, source)
    weights.inputs = [*source.files(), *([request.merge_lora] if request.merge_lora else [])]
    weights.merged = merged
    return weights


def _open_stored(request: Request) -> FileSource:
    opened: Checkpoint = open_source(request.source, None)
    if not isinstance(opened, FileSource):
        raise UnsupportedError(
            f"{request.source.name} is a {opened.kind} checkpoint, which is not converted (its types of weights are "
            "its own); 'skywork-rt export' reads it as it is"
        )
    if isinstance(opened, HuggingFaceSource) and request.config is not None and request.merge_lora is None:
        raise InvalidArgumentError(f"{request.source.name} has its own config.json; config is for MindSpore's files")
    return opened


def _mindspore_of_hugging_face(name: str) -> str | None:
    ours = huggingface_names.canonical_name(name)
    try:
        return mindspore_name(ours) if ours else None
    except UnsupportedError:
        return None  # no update can be of a part that MindFormers does not have


def _from_source(request: Request, names: Names, source: FileSource) -> Weights:
    name_of: Callable[[str], str] = hugging_face_name if names == "huggingface" else mindspore_name
    if names != "huggingface" and source.config.layers_without_rope:
        raise UnsupportedError(
            f"{request.source.name} has layers without rotary embedding, and MindFormers' Llama turns every layer; "
            "'skywork-rt export' reads the model as it is"
        )
    tensors = []
    for name, shape in source.config.tensor_shapes().items():
        stored = source.dtype(name)
        wanted = wanted_dtype(stored, request.dtype)
        load = _loader(name_of(name), stored, wanted, _stored_reader(source, name))
        tensors.append(PlannedTensor(TensorSpec(name_of(name), shape, wanted), load))
    left_out = source.left_out() if isinstance(source, MindSporeSource) else []
    return Weights(tensors, [], _source_companions(request, source), left_out)


def _reader(file: WeightFile, name: str) -> Callable[[], NDArray[Any]]:
    return lambda: file.read_array(name)


def _stored_reader(source: FileSource, name: str) -> Callable[[], NDArray[Any]]:
    return lambda: source.stored(name)


def _loader(name: str, stored: str, wanted: str, read: Callable[[], NDArray[Any]]) -> Callable[[], NDArray[Any]]:
    return lambda: in_dtype(name, read(), stored, wanted)


def _configuration(request: Request) -> Configuration | None:
    """The given one, else the one beside the checkpoint when there is exactly one."""
    if request.config is not None:
        return read_configuration(request.config)
    try:
        return find_configuration(request.source)
    except CheckpointError:
        return None


def _updates(request: Request) -> dict[str, LoraFactors]:
    assert request.merge_lora is not None
    settings = _lora_settings(request, request.merge_lora)
    file = open_weight_file(request.merge_lora)
    return read_lora(file, settings.alpha if settings else None, settings.rank if settings else None)


def _lora_settings(request: Request, lora: Path) -> LoraSettings | None:
    """What the caller says, else the YAML that lies with the updates, else the one with the weights."""
    if request.lora_alpha is not None:
        return LoraSettings(request.lora_alpha)
    if request.config is not None:
        given = read_configuration(request.config).lora
        if given is not None:
            return given
    return find_lora_settings(lora) or find_lora_settings(request.source)


def _source_companions(request: Request, source: FileSource) -> Companions:
    if isinstance(source, MindSporeSource):
        return _companions(request, source.configuration)
    directory = request.source
    return Companions(read_json_object(directory / "config.json"), directory, request.tokenizer or directory)


def _companions(request: Request, configuration: Configuration) -> Companions:
    directory = configuration.path.parent if configuration.is_json else None
    return Companions(configuration.values, directory, request.tokenizer or request.source.parent)
