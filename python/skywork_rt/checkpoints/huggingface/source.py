"""A Hugging Face directory as a checkpoint: config.json, weights in safetensors or .bin shards, tokenizer files."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from skywork_rt.checkpoints.checkpoint import check_shape, check_tensor_names
from skywork_rt.checkpoints.huggingface.config import read_config
from skywork_rt.checkpoints.huggingface.json_file import read_json_object
from skywork_rt.checkpoints.huggingface.names import hugging_face_name
from skywork_rt.checkpoints.huggingface.tokenizer import read_tokenizer
from skywork_rt.checkpoints.model import Float32Array, ModelConfig, RawTensor
from skywork_rt.checkpoints.tensors.safetensors_file import SafetensorsFile
from skywork_rt.checkpoints.tensors.torch_file import TorchFile
from skywork_rt.checkpoints.tensors.weight_file import FLOAT_TYPES, WeightFile
from skywork_rt.checkpoints.tokenizers.tokenizer_files import TokenizerFiles
from skywork_rt.checkpoints.wrong_file import refuse_stand_in
from skywork_rt.errors import CheckpointError, UnsupportedError
from skywork_rt.support.stages import Progress, no_progress

__all__ = ["HuggingFaceSource"]

# Old checkpoints keep the frequencies, which the configuration determines.
_INV_FREQ = re.compile(r"(model\.)?layers\.\d+\.self_attn\.rotary_emb\.inv_freq|model\.rotary_emb\.inv_freq")


class HuggingFaceSource:
    """A directory with config.json. See `Source` and `Checkpoint` for the interface.

    Opening it reads the configuration and the tables of all weight files and checks every tensor's name, shape and
    dtype; no weights are read before they are asked for.
    """

    kind: Literal["huggingface"] = "huggingface"

    def __init__(self, directory: Path, max_length: int | None = None) -> None:
        self._directory = directory
        self._generation = _optional_json(directory / "generation_config.json")
        self._tokenizer = read_tokenizer(directory)
        self._config = read_config(
            read_json_object(directory / "config.json"),
            self.name,
            max_length=max_length,
            generation=self._generation,
            tokenizer=self._tokenizer,
        )
        self._shapes = self._config.tensor_shapes()
        self._names = {hugging_face_name(name): name for name in self._shapes}
        self._file_of = self._locate(_open_weight_files(directory))

    def _locate(self, files: Sequence[WeightFile]) -> dict[str, WeightFile]:
        """Canonical name to the file that holds the tensor, after all checks."""
        holder: dict[str, WeightFile] = {}
        for file in files:
            for name in file.tensors:
                if name in holder:
                    raise CheckpointError(f"tensor {name} is in both {holder[name].path.name} and {file.path.name}")
                holder[name] = file
        # A tied head may be stored all the same; transformers replaces it by the embeddings, and so do we.
        allowed = {name for name in holder if _INV_FREQ.fullmatch(name)} | {hugging_face_name("lm_head")}
        check_tensor_names(holder, self._names, allowed, f"checkpoint {self.name}")
        for stored, name in self._names.items():
            info, where = holder[stored].tensors[stored], holder[stored].path.name
            check_shape(stored, info.shape, self._shapes[name], where)
            if info.dtype not in FLOAT_TYPES:
                raise UnsupportedError(
                    f"{where}: tensor {stored} has dtype {info.dtype}; supported are {', '.join(FLOAT_TYPES)}"
                )
        return {name: holder[stored] for stored, name in self._names.items()}

    @property
    def config(self) -> ModelConfig:
        return self._config

    @property
    def name(self) -> str:
        return self._directory.resolve().name

    @property
    def in_floats(self) -> bool:
        return True

    def sha256(self, progress: Progress = no_progress) -> str | None:
        del progress
        return None

    def tensor_names(self) -> Sequence[str]:
        return list(self._shapes)

    def tensor(self, name: str) -> Float32Array:
        return self._file_of[name].read(hugging_face_name(name))

    def rows(self, name: str, start: int, stop: int) -> Float32Array:
        return self._file_of[name].read(hugging_face_name(name), start, stop)

    def raw(self, name: str) -> RawTensor | None:
        del name
        return None

    def tokenizer(self) -> TokenizerFiles | None:
        return self._tokenizer

    def generation_config(self) -> dict[str, Any] | None:
        return self._generation


def _optional_json(path: Path) -> dict[str, Any] | None:
    return read_json_object(path) if path.exists() else None


def _opened(open_file: Callable[[Path], WeightFile], path: Path) -> WeightFile:
    refuse_stand_in(path)
    return open_file(path)


def _open_weight_files(directory: Path) -> list[WeightFile]:
    """safetensors before .bin, as transformers prefers; an index, else one file, else numbered shards."""
    layouts: list[tuple[str, str, Callable[[Path], WeightFile]]] = [
        ("model.safetensors", "model-*-of-*.safetensors", SafetensorsFile),
        ("pytorch_model.bin", "pytorch_model-*.bin", TorchFile),
    ]
    for single, pattern, open_file in layouts:
        index = directory / f"{single}.index.json"
        if index.exists():
            return _open_indexed(directory, index, open_file)
        if (directory / single).exists():
            return [_opened(open_file, directory / single)]
        shards = sorted(directory.glob(pattern))
        if shards:
            _check_numbering(shards)
            return [_opened(open_file, shard) for shard in shards]
    raise CheckpointError(
        f"{directory.name} has no weights: none of model.safetensors, model.safetensors.index.json, pytorch_model.bin, "
        "pytorch_model.bin.index.json or numbered shards of them is there"
    )


def _open_indexed(directory: Path, index: Path, open_file: Callable[[Path], WeightFile]) -> list[WeightFile]:
    weight_map = read_json_object(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(f"{index.name} has no weight_map")
    opened: dict[str, WeightFile] = {}
    for tensor, shard in weight_map.items():
        if not isinstance(shard, str) or Path(shard).name != shard or shard in ("", ".", "..") or "\\" in shard:
            raise CheckpointError(f"{index.name} puts tensor {tensor} into {shard!r}, which is no plain file name")
        if shard not in opened:
            if not (directory / shard).is_file():
                raise CheckpointError(f"{index.name} names the shard {shard}, which is not in the directory")
            opened[shard] = _opened(open_file, directory / shard)
        if tensor not in opened[shard].tensors:
            raise CheckpointError(f"{index.name} says that {shard} holds tensor {tensor}, but it does not")
    return list(opened.values())


def _check_numbering(shards: Sequence[Path]) -> None:
    """Numbered shards without an index: all of 1 to N must be there."""
    numbered = [re.search(r"-(\d+)-of-(\d+)\.", shard.name) for shard in shards]
    totals = {int(match.group(2)) for match in numbered if match}
    present = {int(match.group(1)) for match in numbered if match}
    if len(totals) == 1:
        missing = sorted(set(range(1, totals.pop() + 1)) - present)
        if missing:
            raise CheckpointError(f"shards {', '.join(map(str, missing[:8]))} are missing beside {shards[0].name}")
