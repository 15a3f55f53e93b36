"""Which runtimes a bundle can be measured on, and what their weights cost."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from skywork_rt._core import weight_types
from skywork_rt.bundle.info import BundleInfo
from skywork_rt.bundle.weights_header import WeightsHeader
from skywork_rt.errors import CorruptBundleError, InvalidArgumentError

__all__ = [
    "ASCEND",
    "IK_LLAMA",
    "LARGE_BYTES",
    "LITE",
    "NATIVE",
    "PREDICT",
    "RECIPE",
    "Subject",
    "count_parameters",
    "list_subjects",
    "peer_subject",
    "select_subjects",
]

ASCEND = "skywork_rt:ascend"
LITE = "skywork_rt:lite"
NATIVE = "skywork_rt:native"
PREDICT = "lite:predict"
RECIPE = "recipe:python-loop"
IK_LLAMA = "peer:ik_llama.cpp"

LARGE_BYTES = 2e9
"""A model that reads more weights than this a token is large: nothing but the memory matters to its speed, and a whole
run would take hours."""

_GGUF = "gguf"  # weights of several types
_LITE_RUNTIMES = (LITE, PREDICT, RECIPE)
_FULL_CONTRACT = "host-cache/full"
_INCREMENTAL_CONTRACT = "host-cache/incremental"
_DEVICE_CONTRACT = "device-cache/"


@dataclass(frozen=True)
class Subject:
    """One runtime on one kind of weights."""

    runtime: str
    weights: str
    """Stored type / type of the activations."""
    bits_per_weight: float
    weight_bytes: int
    """What one token must read of the weights, from memory, in a batch of one."""
    files: tuple[str, ...]
    """What the runtime opens."""
    options: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Of the generator."""
    file_bytes: int = 0
    """Size of what it opens, where it holds that much memory and no more: packed weights."""
    cache_bytes: int = 0
    """Of keys and values, float32, a token."""

    @property
    def label(self) -> str:
        return f"{self.runtime} {self.weights}"

    def read_bytes(self, cached: float) -> float:
        """What decoding one token, in a batch of one, must read from memory: weights, and a cache of so many tokens."""
        return self.weight_bytes + cached * self.cache_bytes


def count_parameters(model: Mapping[str, Any]) -> int:
    """Trained numbers of the model that `model` (model.json's section) describes, a tied head counted once."""
    hidden, inner, vocabulary = model["hidden_size"], model["intermediate_size"], model["vocab_size"]
    queries, keys = model["heads"] * model["head_dim"], model["kv_heads"] * model["head_dim"]
    attention = 2 * hidden * queries + 2 * hidden * keys + (queries + 2 * keys if model["qkv_bias"] else 0)
    attention += (hidden if model.get("output_bias") else 0) + (2 * model["head_dim"] if model.get("qk_norm") else 0)
    layer = attention + 3 * hidden * inner + 2 * hidden + (2 * inner + hidden if model.get("mlp_bias") else 0)
    embeddings = vocabulary * hidden * (1 if model["tied_embeddings"] else 2)
    return int(model["layers"] * layer + embeddings + hidden)


def list_subjects(directory: Path) -> list[Subject]:
    """Every runtime that this bundle has the parts for, ours first."""
    bundle = BundleInfo.open(directory)
    parameters = count_parameters(bundle.section("model"))
    return [
        *_lite_subjects(bundle, parameters),
        *_native_subjects(bundle, parameters),
        *_ascend_subjects(bundle, parameters),
    ]


def peer_subject(directory: Path, gguf: Path) -> Subject:
    """ik_llama.cpp on the GGUF file that the bundle was made of. Raises InvalidArgumentError when it is another."""
    bundle = BundleInfo.open(directory)
    if not gguf.is_file():
        raise InvalidArgumentError(f"{gguf} is no file; --peer takes the GGUF file that the bundle was made of")
    source = bundle.section("source")
    if source.get("name") not in (None, gguf.name):
        raise InvalidArgumentError(f"the bundle was made of {source['name']}, not of {gguf.name}")
    model, size = bundle.section("model"), gguf.stat().st_size
    options = {"gguf": str(gguf.absolute())}
    bits = 8 * size / count_parameters(model)
    return Subject(IK_LLAMA, "gguf/int8", bits, size, (), options, size, _cache_bytes(model) // 2)


def select_subjects(subjects: Sequence[Subject], patterns: Sequence[str]) -> list[Subject]:
    """Those whose runtime, or `runtime weights`, matches any of the shell patterns; all for none.

    Raises InvalidArgumentError for a pattern that matches nothing.
    """
    for pattern in patterns:
        if not any(_matches(subject, pattern) for subject in subjects):
            known = ", ".join(repr(subject.label) for subject in subjects) or "none"
            raise InvalidArgumentError(f"no runtime of this bundle matches {pattern!r}; there are {known}")
    return [s for s in subjects if not patterns or any(_matches(s, pattern) for pattern in patterns)]


def _matches(subject: Subject, pattern: str) -> bool:
    return fnmatch.fnmatchcase(subject.runtime, pattern) or fnmatch.fnmatchcase(subject.label, pattern)


def _lite_subjects(bundle: BundleInfo, parameters: int) -> list[Subject]:
    graphs = {graph["contract"]: graph for graph in bundle.manifest.get("graphs") or []}
    files = {contract: graph["file"] for contract, graph in graphs.items()}
    if _FULL_CONTRACT not in files or _INCREMENTAL_CONTRACT not in files:
        return []
    full = graphs[_FULL_CONTRACT]
    graph_bytes = sum(_size(bundle, full[key]) for key in ("file", "weights") if key in full)
    bits = 8 * graph_bytes / parameters
    model = bundle.section("model")
    read = 4 * (parameters - (0 if model["tied_embeddings"] else model["vocab_size"] * model["hidden_size"]))
    opened = (files[_FULL_CONTRACT], files[_INCREMENTAL_CONTRACT])
    options = {"backend": "lite"}
    return [Subject(name, "f32/f32", bits, read, opened, options, 0, _cache_bytes(model)) for name in _LITE_RUNTIMES]


def _ascend_subjects(bundle: BundleInfo, parameters: int) -> list[Subject]:
    """Last, as it can be measured on a card alone. How its graphs' files divide weights and cache nobody says, so
    weights count as what they are in the cache's precision."""
    graphs = [g for g in bundle.manifest.get("graphs") or [] if str(g["contract"]).startswith(_DEVICE_CONTRACT)]
    if not graphs:
        return []
    model = bundle.section("model")
    width = 2 if graphs[0].get("precision") == "float16" else 4
    read = width * (parameters - (0 if model["tied_embeddings"] else model["vocab_size"] * model["hidden_size"]))
    label, files = f"f{8 * width}/f{8 * width}", tuple(graph["file"] for graph in graphs)
    cache = _cache_bytes(model) * width // 4
    return [Subject(ASCEND, label, 8.0 * width, read, files, {"backend": "ascend"}, 0, cache)]


def _native_subjects(bundle: BundleInfo, parameters: int) -> list[Subject]:
    subjects = []
    model = bundle.section("model")
    cache = _cache_bytes(model)
    integers = {kind["name"] for kind in weight_types() if kind["integers"]}
    for weights, file in bundle.section("weights").items():
        size = _size(bundle, file)
        path = bundle.directory / Path(file).name
        # An embedding table of its own is looked up a row a token; a tied one is read whole, as the head.
        read = size if model["tied_embeddings"] else size - WeightsHeader.read(path).embedding_bytes()
        kinds = {weights} if weights != _GGUF else WeightsHeader.read(path).types().keys()
        for activations in ("f32", "int8") if integers & kinds else ("f32",):
            options = {"backend": "native", "weights": weights, "activations": activations}
            label, bits = f"{weights}/{activations}", 8 * size / parameters
            subjects.append(Subject(NATIVE, label, bits, read, (file,), options, size, cache))
    return subjects


def _cache_bytes(model: Mapping[str, Any]) -> int:
    size: int = 8 * model["layers"] * model["kv_heads"] * model["head_dim"]
    return size


def _size(bundle: BundleInfo, file: str) -> int:
    entry = bundle.section("files").get(file)
    if not isinstance(entry, dict) or not isinstance(entry.get("size"), int):
        raise CorruptBundleError(f"{bundle.directory / 'model.json'} does not list the size of {file!r}")
    return int(entry["size"])
