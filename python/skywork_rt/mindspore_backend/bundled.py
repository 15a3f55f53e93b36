"""What of a bundle the graphs run with."""

from __future__ import annotations

from collections.abc import Sequence

from skywork_rt.bundle.info import BundleInfo
from skywork_rt.checkpoints.hashing import hash_files
from skywork_rt.checkpoints.model import ModelConfig
from skywork_rt.errors import CorruptBundleError, UnsupportedError
from skywork_rt.export.graph.contract import FULL, INCREMENTAL
from skywork_rt.export.graph.lite_file import LiteFile
from skywork_rt.export.packed_source import PackedSource
from skywork_rt.export.quantise.types import GGUF, ROUNDED_WEIGHTS, TYPES
from skywork_rt.mindspore_backend.parameters import GraphParameters, Parameters, SourceParameters
from skywork_rt.support.stages import no_progress

__all__ = ["bundled_parameters", "describe_choices", "has_full_graph_only", "weights_choices"]

_EXACT_FIRST = (ROUNDED_WEIGHTS[0], GGUF, *ROUNDED_WEIGHTS[1:])
"""f32, then what nobody rounded, then the others from the most to the fewest bits."""


def bundled_parameters(bundle: BundleInfo, weights: str) -> Parameters:
    """Those that the option `weights` names; "auto": float32, from a graph too, else the most exact packed weights.

    Raises UnsupportedError for weights that the bundle does not have, CorruptBundleError for a damaged file, whose
    SHA-256 is always compared.
    """
    choices = weights_choices(bundle)
    if not choices or weights not in ("auto", *choices):
        raise UnsupportedError(
            f"weights is {weights!r}, but the bundle {bundle.directory} has for the backend mindspore: "
            f"{', '.join(choices) or 'none'}"
        )
    chosen = choices[0] if weights == "auto" else weights
    config = ModelConfig.from_json(bundle.section("model"))
    packed = bundle.section("weights").get(chosen)
    if packed is not None:
        _verify(bundle, packed)
        return SourceParameters(PackedSource(bundle.directory / packed, config), chosen)
    graph, *beside = _graph_files(bundle)
    for name in (graph, *beside):
        _verify(bundle, name)
    return GraphParameters(LiteFile(bundle.directory / graph), config)


def weights_choices(bundle: BundleInfo) -> Sequence[str]:
    """What the option `weights` may be, the most exact first; a graph of Lite gives f32."""
    packed = bundle.section("weights")
    return [name for name in _EXACT_FIRST if name in packed or (name == "f32" and _graph_files(bundle))]


def describe_choices(bundle: BundleInfo) -> str:
    """A sentence for people: what is computed with unasked, and what the option `weights` may choose instead."""
    choices = weights_choices(bundle)
    if not choices:
        return "nothing that it reads: export with --for native or lite"
    said = [f"{name}, dequantised" if name == GGUF or TYPES[name].scale_bytes else name for name in choices]
    if choices[0] == "f32" and "f32" not in bundle.section("weights"):
        said[0] = "f32, those of the graph"
    others = f" (or: {'; '.join(said[1:])})" if said[1:] else ""
    return f"computes in float32, with weights {said[0]}{others}"


def has_full_graph_only(bundle: BundleInfo) -> bool:
    """Whether every step has to run on the full graph, as no other is there."""
    contracts = {graph["contract"] for graph in bundle.manifest.get("graphs") or []}
    return FULL in contracts and INCREMENTAL not in contracts


def _graph_files(bundle: BundleInfo) -> list[str]:
    """A graph whose constants can be read, and the file of weights that it names; empty when there is none."""
    for graph in bundle.manifest.get("graphs") or []:
        file = str(graph["file"])
        if graph["contract"] in (FULL, INCREMENTAL) and file.endswith(".ms"):
            # Bundles of version 1 do not say so where the weights lie beside the graph, under its own name.
            own = file.removesuffix(".ms") + ".msw"
            weights = graph.get("weights") or (own if own in bundle.section("files") else None)
            return [file, str(weights)] if weights else [file]
    return []


def _verify(bundle: BundleInfo, name: str) -> None:
    path = bundle.directory / name
    (found,) = hash_files("checking", [path], no_progress)
    stated = bundle.section("files")[name]["sha256"]
    if found != stated:
        raise CorruptBundleError(f"{path} has SHA-256 {found}, but model.json says {stated}: export the bundle again")
