"""A checkpoint of MindSpore as an export source: .ckpt or .safetensors with MindFormers' names, one file.

The configuration is a file of its own (`config.find_configuration`), and so is the tokenizer. What a training run keeps
beside the weights (the optimizer's moments, counters) is left where it is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from skywork_rt.checkpoints.checkpoint import check_tensor_names
from skywork_rt.checkpoints.file_source import FileSource, Place
from skywork_rt.checkpoints.hashing import hash_files
from skywork_rt.checkpoints.huggingface.config import read_config
from skywork_rt.checkpoints.huggingface.json_file import read_json_object
from skywork_rt.checkpoints.huggingface.tokenizer import read_tokenizer
from skywork_rt.checkpoints.mindspore.config import Configuration, find_configuration, read_configuration
from skywork_rt.checkpoints.mindspore.names import CONCATENATED, is_training_state, lora_factor, mindspore_name
from skywork_rt.checkpoints.model import ModelConfig
from skywork_rt.checkpoints.open_tokenizer import open_tokenizer_files
from skywork_rt.checkpoints.tensors.ckpt_file import CkptFile
from skywork_rt.checkpoints.tensors.safetensors_file import SafetensorsFile
from skywork_rt.checkpoints.tensors.weight_file import WeightFile
from skywork_rt.checkpoints.tokenizers.tokenizer_files import TokenizerFiles
from skywork_rt.checkpoints.wrong_file import refuse_stand_in
from skywork_rt.errors import CheckpointError
from skywork_rt.support.stages import Progress, no_progress

__all__ = ["MindSporeSource", "open_weight_file"]


def open_weight_file(path: Path) -> WeightFile:
    """A .ckpt or .safetensors file, told apart by its name. Raises CheckpointError."""
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist" if not path.exists() else f"{path} is no file")
    refuse_stand_in(path)
    return SafetensorsFile(path) if path.suffix == ".safetensors" else CkptFile(path)


class MindSporeSource(FileSource):
    """One file of a whole model. See `Source` and `Checkpoint` for the interface.

    `config`: a config.json, a directory that has one, or a MindFormers YAML; None takes the one beside the file.
    `tokenizer`: tokenizer.json, a SentencePiece model or a directory with one; None takes the one beside the file.
    `file`: what to read instead of the file itself (its weights with updates in them).
    """

    kind: Literal["mindspore"] = "mindspore"

    def __init__(
        self,
        path: Path,
        max_length: int | None = None,
        config: Path | None = None,
        tokenizer: Path | None = None,
        *,
        file: WeightFile | None = None,
    ) -> None:
        self._path = path
        self._file = file or open_weight_file(path)
        self.configuration = read_configuration(config) if config else find_configuration(path)
        self.tokenizer_path = tokenizer or path.parent
        self._tokenizer = open_tokenizer_files(tokenizer) if tokenizer else read_tokenizer(path.parent)
        self._generation = _generation(self.configuration)
        model = read_config(
            self.configuration.values,
            path.stem,
            max_length=max_length,
            generation=self._generation,
            tokenizer=self._tokenizer,
        )
        super().__init__(model, _places(self._file, model))

    @property
    def name(self) -> str:
        return self._path.name

    def left_out(self) -> list[str]:
        """Names in the file that are no weights of the model: the state of a training run."""
        return [name for name in self._file.tensors if is_training_state(name)]

    def sha256(self, progress: Progress = no_progress) -> str | None:
        return hash_files("hash source", [self._path], progress)[0]

    def tokenizer(self) -> TokenizerFiles | None:
        return self._tokenizer

    def generation_config(self) -> dict[str, Any] | None:
        return self._generation


def _generation(configuration: Configuration) -> dict[str, Any] | None:
    path = configuration.path.parent / "generation_config.json"
    return read_json_object(path) if configuration.is_json and path.exists() else None


def _places(file: WeightFile, model: ModelConfig) -> dict[str, Place]:
    """Canonical name to the place of the tensor, after the check of names."""
    concatenated = _ConcatenatedRows(model)
    places: dict[str, Place] = {}
    for stored in filter(CONCATENATED.fullmatch, file.tensors):
        places |= concatenated(file, stored)
    expected = {mindspore_name(name): name for name in model.tensor_shapes()}
    _refuse_lora(file)
    found = [name for name in file.tensors if not CONCATENATED.fullmatch(name)]
    found += [mindspore_name(name) for name in places]
    # A tied head may be stored all the same; MindFormers replaces it by the embeddings, and so do we.
    allowed = [name for name in found if is_training_state(name)] + [mindspore_name("lm_head")]
    check_tensor_names(found, expected, allowed, file.path.name)
    return {name: places.get(name) or Place(file, stored) for stored, name in expected.items()}


def _refuse_lora(file: WeightFile) -> None:
    factors = [name for name in file.tensors if lora_factor(name)]
    if factors:
        raise CheckpointError(
            f"{file.path.name} has {len(factors)} tensors of low-rank updates (LoRA), such as {factors[0]}; merge them "
            "into the weights first: skywork-rt convert SRC OUT --merge-lora SRC"
        )


class _ConcatenatedRows:
    """Rows of the matrices that MindFormers' `qkv_concat` joins.

    `w_qkv` has, for one key/value head after the other, the rows of its query heads, of its key and of its value;
    `w_gate_hidden` has the rows of w1 and w3 by turns (`LLamaAttention.construct`, `LlamaFeedForward.construct`).
    """

    def __init__(self, model: ModelConfig) -> None:
        self._model = model

    def __call__(self, file: WeightFile, stored: str) -> dict[str, Place]:
        layer, kind = stored.split(".")[2], stored.rpartition(".")[2]
        if "w_gate_hidden" in stored:
            wide = np.arange(self._model.intermediate_size, dtype=np.int64)
            parts: dict[str, NDArray[np.int64]] = {"gate_proj": 2 * wide, "up_proj": 2 * wide + 1}
        else:
            ending = "proj" if kind == "weight" else "bias"
            parts = {f"{part}_{ending}": rows for part, rows in self._attention_rows().items()}
        self._check_rows(file, stored, sum(map(len, parts.values())))
        return {f"layers.{layer}.{part}": Place(file, stored, rows) for part, rows in parts.items()}

    def _attention_rows(self) -> dict[str, NDArray[np.int64]]:
        model = self._model
        width, repeats = model.head_dim, model.heads // model.kv_heads
        rows = np.arange((model.heads + 2 * model.kv_heads) * width, dtype=np.int64)
        groups = rows.reshape(model.kv_heads, (repeats + 2) * width)
        query, key, value = np.split(groups, [repeats * width, (repeats + 1) * width], axis=1)
        return {"q": query.reshape(-1), "k": key.reshape(-1), "v": value.reshape(-1)}

    def _check_rows(self, file: WeightFile, stored: str, expected: int) -> None:
        shape = file.tensors[stored].shape
        if not shape or shape[0] != expected:
            raise CheckpointError(
                f"{file.path.name}: tensor {stored} has shape {list(shape)}; its configuration asks for {expected} rows"
            )
