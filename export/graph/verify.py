"""Whether a written graph computes what the checkpoint says: a pass through Lite against the numpy reference."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from skywork_rt.checkpoints.model import Float32Array, ModelConfig, Source
from skywork_rt.errors import BackendError
from skywork_rt.export.graph.cases import Case, Computed, compute, full_case, incremental_case
from skywork_rt.export.graph.child import run_child
from skywork_rt.export.graph.contract import FULL, Contract
from skywork_rt.export.graph.reference import ReferenceLlama
from skywork_rt.export.graph.tools import LiteTools

__all__ = ["TOLERANCE", "Difference", "compute_sequences", "differences", "run_graph", "verify_graph"]

TOLERANCE = 2e-4
"""Largest allowed difference, as a share of the range (largest minus smallest) of the expected numbers."""

_LENGTHS = (9, 4, 2)
_SPARE_SLOTS = 3
_MAX_THREADS = 8
_SEED = 20231030


@dataclass(frozen=True)
class Difference:
    """The worst output of one call: largest absolute difference, and the range of the numbers expected."""

    output: str
    absolute: float
    range: float

    @property
    def relative(self) -> float:
        """The difference as a share of the range; infinite when a number is missing."""
        return self.absolute / self.range if self.range > 0 else float("inf" if self.absolute else 0)


def compute_sequences(source: Source) -> list[Computed]:
    """The sequences that both graphs are verified with: one pass over the source, a layer's weights in memory."""
    config = source.config
    lengths = [min(length, config.max_length) for length in _LENGTHS]
    return compute(ReferenceLlama(source, keep=False), lengths, np.random.default_rng(_SEED))


def verify_graph(
    tools: LiteTools, graph: Path, contract: Contract, config: ModelConfig, sequences: Sequence[Computed]
) -> None:
    """Runs the graph on Lite. Raises BackendError with the numbers when it differs by more than `TOLERANCE`."""
    cases = _cases(contract, config, sequences)
    for case, outputs in zip(cases, run_graph(tools, graph, cases), strict=True):
        worst = max(differences(case, outputs), key=lambda difference: difference.relative)
        if worst.relative > TOLERANCE:
            raise BackendError(
                f"{graph.name} does not compute what the checkpoint says: {worst.output} differs by "
                f"{worst.absolute:.3g}, {worst.relative:.3g} of its range of {worst.range:.3g}; {TOLERANCE} is allowed "
                f"(tokens {list(case.inputs['tokens'].shape)}, cache slots {case.inputs['cache_mask'].shape[-1]})"
            )


def run_graph(
    tools: LiteTools, graph: Path, cases: Sequence[Case], threads: int | None = None
) -> list[list[Float32Array]]:
    """Loads the graph once, in a process of its own, and gives each case's outputs in the contract's order."""
    threads = threads or min(_MAX_THREADS, len(os.sched_getaffinity(0)))
    with tempfile.TemporaryDirectory(dir=graph.parent, prefix="verify-") as scratch:
        pairs = [
            (Path(scratch) / f"in{i}.safetensors", Path(scratch) / f"out{i}.safetensors") for i in range(len(cases))
        ]
        for (given, _), case in zip(pairs, cases, strict=True):
            save_file({name: np.ascontiguousarray(value) for name, value in case.inputs.items()}, given)
        command = [str(tools.run), str(graph), str(threads), *(str(path) for pair in pairs for path in pair)]
        run_child(command, doing=f"running {graph.name} on Lite", env=tools.env, cwd=Path(scratch))
        files = [load_file(taken) for _, taken in pairs]
    return [[outputs[str(index)] for index in range(len(outputs))] for outputs in files]


def differences(case: Case, outputs: Sequence[Float32Array]) -> list[Difference]:
    """How far each output is from what was expected; a wrong number or shape of outputs raises BackendError."""
    if len(outputs) != len(case.expected):
        raise BackendError(f"the graph has {len(outputs)} outputs; {len(case.expected)} were expected")
    found = []
    for index, (expected, output) in enumerate(zip(case.expected, outputs, strict=True)):
        name = "logits" if index == 0 else f"new_{'key' if index % 2 else 'value'}_{(index - 1) // 2}"
        if output.shape != expected.shape:
            raise BackendError(f"{name} has shape {list(output.shape)}; {list(expected.shape)} was expected")
        worst = float(np.max(np.abs(output - expected)))
        absolute = worst if np.isfinite(worst) else float("inf")
        found.append(Difference(name, absolute, float(np.ptp(expected))))
    return found


def _cases(contract: Contract, config: ModelConfig, sequences: Sequence[Computed]) -> list[Case]:
    """A whole prompt over an empty cache and a chunk over a cached half; or one row a sequence."""
    rng = np.random.default_rng(_SEED)
    if contract != FULL:
        slots = max(len(sequence.tokens) for sequence in sequences) + _SPARE_SLOTS
        return [incremental_case(config, sequences, slots=slots, rng=rng)]
    prompt = sequences[0]
    length, half = len(prompt.tokens), len(prompt.tokens) // 2
    whole = full_case(config, prompt, cached=0, wanted=range(length), spare=1, rng=rng)
    chunk = full_case(config, prompt, cached=half, wanted=[length - half - 1], spare=_SPARE_SLOTS, rng=rng)
    return [whole, chunk]
