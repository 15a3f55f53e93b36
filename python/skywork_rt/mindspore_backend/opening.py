"""From a path and options to a backend: what the path is, what the options mean here, and whether there is memory."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skywork_rt import _core
from skywork_rt.bundle.info import BundleInfo
from skywork_rt.checkpoints.model import ModelConfig
from skywork_rt.checkpoints.open import open_source
from skywork_rt.errors import CapacityError, UnsupportedError
from skywork_rt.export.graph.weights import graph_weights
from skywork_rt.export.texts import write_texts
from skywork_rt.mindspore_backend.backend import Limits, MindSporeBackend, bytes_per_token, spec_of
from skywork_rt.mindspore_backend.bundled import bundled_parameters, has_full_graph_only
from skywork_rt.mindspore_backend.parameters import Parameters, SourceParameters
from skywork_rt.mindspore_backend.sizes import work_bytes
from skywork_rt.support.mindspore_import import import_mindspore

__all__ = ["OnMindSpore", "open_on_mindspore"]

_log = logging.getLogger("skywork_rt.mindspore_backend")

# The largest tensors are there twice while they are loaded.
_WEIGHT_COPIES = 1.25


@dataclass
class OnMindSpore:
    """An open backend, the options that it was opened with, and what texts are made with."""

    backend: MindSporeBackend
    options: dict[str, Any]
    bundle: BundleInfo
    scratch: object = None
    """A temporary directory that `bundle` lies in, kept as long as the generator."""


def open_on_mindspore(path: Path, given: Mapping[str, Any]) -> OnMindSpore:
    """Opens a bundle, or what `open_source` opens. `given` are the core's options, as the caller gave them.

    Raises BackendUnavailableError without MindSpore, UnsupportedError for an option that means nothing here or that
    nothing in the bundle can serve, CapacityError when memory does not suffice, and what reading the model raises.
    """
    _check_options(given)
    import_mindspore('backend="mindspore"', "export")  # before a tokenizer's reader imports protobuf its own way
    if (path / "model.json").exists():
        return _open_bundle(path, given)
    return _open_checkpoint(path, given)


def _open_bundle(path: Path, given: Mapping[str, Any]) -> OnMindSpore:
    _core.read_bundle_model(str(path))  # all that the core checks of a bundle
    bundle = BundleInfo.open(path)
    parameters = bundled_parameters(bundle, str(given.get("weights", "auto")))
    backend, options = _open(lambda: parameters, parameters.config, given, full_only=has_full_graph_only(bundle))
    return OnMindSpore(backend, options, bundle)


def _open_checkpoint(path: Path, given: Mapping[str, Any]) -> OnMindSpore:
    weights = given.get("weights", "auto")
    if weights not in ("auto", "f32"):
        raise UnsupportedError(
            f"weights is {weights!r}, but a checkpoint is computed with in float32: leave it out, or export a bundle"
        )
    source = open_source(path)
    scratch = tempfile.TemporaryDirectory(prefix="skywork_rt-")
    bundle = BundleInfo.open(write_texts(source, Path(scratch.name) / "texts"))
    parameters = SourceParameters(source, "f32")
    backend, options = _open(lambda: parameters, source.config, given, full_only=False)
    return OnMindSpore(backend, options, bundle, scratch)


def _open(
    parameters: Callable[[], Parameters], config: ModelConfig, given: Mapping[str, Any], *, full_only: bool
) -> tuple[MindSporeBackend, dict[str, Any]]:
    held = sum(weight.nbytes for weight in graph_weights(config))
    options, sequences = _fit(config, _for_engine(given), round(_WEIGHT_COPIES * held))
    from skywork_rt.mindspore_backend.cells import Cells  # here, where all that could be refused has been

    chosen = parameters()
    cells = Cells(chosen, device=options["device"], full_only=full_only)
    limits = Limits(sequences, options["max_length"], options["max_cached_tokens"])
    choices = {
        "device": "cpu" if options["device"] == "auto" else options["device"],
        "weights": chosen.choice,
        "activations": "f32",
        "kv_cache": "f32",
    }
    backend = MindSporeBackend(config, cells, limits, choices, full_only=full_only)
    _log.info("opened %s on mindspore: weights %s in float32, %d sequences", config.name, chosen.choice, sequences)
    return backend, {name: value for name, value in options.items() if value not in (None, [])}


def _fit(config: ModelConfig, options: dict[str, Any], weights: int) -> tuple[dict[str, Any], int]:
    """The options, bounded by the memory that is available, and the sequences that will be open at once."""
    longest, batch = options.get("max_length", config.max_length), options.get("max_batch", 16)
    rows = batch + (max(1, batch // 2) if options.get("prefix_cache", True) else 0)
    work = work_bytes(config, longest, rows) if _are_counts(longest, batch) else 0  # else the core refuses them
    try:
        return _core.fit_options(options, spec_of(config), weights, work, bytes_per_token(config))
    except CapacityError as error:
        raise CapacityError(f"{error}. MindSpore's work buffers grow with max_length, {longest}, too") from error


def _are_counts(*values: object) -> bool:
    return all(isinstance(value, int) and 0 < value < 1 << 31 for value in values)


def _for_engine(given: Mapping[str, Any]) -> dict[str, Any]:
    """What is left for the engine: files are always verified here."""
    return {name: value for name, value in given.items() if name != "verify"}


def _check_options(given: Mapping[str, Any]) -> None:
    """Refuses by name what would be ignored."""
    for name in ("activations", "kv_cache"):
        if given.get(name, "auto") not in ("auto", "f32"):
            raise UnsupportedError(
                f'the backend mindspore computes with {name} "f32" only, not "{given[name]}"; backend="native" '
                "knows others"
            )
    for name in ("mmap", "affinity"):
        if given.get(name):
            raise UnsupportedError(f"the backend mindspore has no use for the option {name}: leave it out")
