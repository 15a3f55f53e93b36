"""Small checkpoints that the tests of conversion share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from skywork_rt.checkpoints.mindspore.names import mindspore_name
from skywork_rt.checkpoints.model import ModelConfig
from skywork_rt.checkpoints.synthetic.huggingface_directory import write_random_hf
from skywork_rt.checkpoints.synthetic.presets import preset, with_changes
from skywork_rt.checkpoints.synthetic.source import SyntheticSource
from skywork_rt.checkpoints.tensors.ckpt_file import CkptFile
from skywork_rt.checkpoints.tensors.ckpt_layout import CkptLayout
from skywork_rt.checkpoints.tensors.file_layout import FileLayout, TensorSpec
from skywork_rt.checkpoints.tensors.safetensors_file import SafetensorsFile
from skywork_rt.checkpoints.tensors.safetensors_layout import SafetensorsLayout
from skywork_rt.checkpoints.tensors.torch_file import TorchFile
from skywork_rt.checkpoints.tensors.weight_file import WeightFile

SEED = 3

UNTIED = with_changes(preset("tiny"), vocab_size=1001, tied_embeddings=False, layers=4)
"""Its vocabulary is one that no even number divides, as Skywork's."""

Arrays = dict[str, NDArray[Any]]


def small(**changes: Any) -> ModelConfig:
    """The preset `tiny` with a head of its own, and with changes."""
    return with_changes(preset("tiny"), **{"tied_embeddings": False, **changes})


def hugging_face(
    directory: Path,
    config: ModelConfig,
    dtype: Literal["float32", "float16", "bfloat16"] = "bfloat16",
    tokenizer: Literal["byte-level", "sentencepiece", "none"] = "none",
    **options: Any,
) -> Path:
    """A random model in Hugging Face's layout."""
    return write_random_hf(directory, config, SEED, dtype=dtype, tokenizer=tokenizer, **options)


def opened(path: Path) -> WeightFile:
    """A file of tensors, by its name."""
    kinds: dict[str, type[Any]] = {".ckpt": CkptFile, ".bin": TorchFile, ".safetensors": SafetensorsFile}
    file: WeightFile = kinds[path.suffix](path)
    return file


def arrays_of(*paths: Path) -> Arrays:
    """The tensors of files as they are stored."""
    return {name: file.read_array(name) for file in map(opened, paths) for name in file.tensors}


def weights_of(directory: Path) -> Arrays:
    """The tensors of a Hugging Face directory as they are stored."""
    return arrays_of(*sorted([*directory.glob("*.safetensors"), *directory.glob("*.bin")]))


def assert_equal(found: Mapping[str, NDArray[Any]], expected: Mapping[str, NDArray[Any]]) -> None:
    """The same names, types and bits."""
    assert sorted(found) == sorted(expected)
    for name, values in expected.items():
        assert found[name].dtype == values.dtype, name
        np.testing.assert_array_equal(found[name], values, err_msg=name)


def write_file(path: Path, arrays: Mapping[str, NDArray[Any]], dtypes: Mapping[str, str] | None = None) -> Path:
    """A .ckpt or .safetensors; `dtypes` says which arrays of uint16 are bfloat16."""
    given = dtypes or {}
    specs = [TensorSpec(name, values.shape, given.get(name, str(values.dtype))) for name, values in arrays.items()]
    layout: FileLayout = CkptLayout(specs) if path.suffix == ".ckpt" else SafetensorsLayout(specs, {"format": "ms"})
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(layout.head)
        for index, values in enumerate(arrays.values()):
            for piece in layout.pieces(index, memoryview(np.ascontiguousarray(values).tobytes())):
                file.write(piece)
        file.write(layout.tail([0] * len(specs)))
    return path


def mindspore_arrays(config: ModelConfig, names: Sequence[str] | None = None) -> Arrays:
    """A random model's float32 weights under MindFormers' names."""
    source = SyntheticSource(config, SEED)
    return {mindspore_name(name): source.tensor(name) for name in names or source.tensor_names()}
