"""The graphs of a bundle with numpy arrays, as docs/bundle-format.md names and shapes them. No cache and no loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from skywork_rt import _core
from skywork_rt.bundle.info import BundleInfo
from skywork_rt.checkpoints.model import ModelConfig
from skywork_rt.errors import UnsupportedError
from skywork_rt.export.graph.contract import Contract, Sizes, input_specs, output_specs

__all__ = ["Array", "ContractGraph", "OpenGraph", "Session", "open_lite_graph"]

Array = NDArray[Any]


class Session(Protocol):
    """What `_core.bench.GraphSession` offers: a graph whose inputs have an order."""

    @property
    def inputs(self) -> Sequence[tuple[str, str, Sequence[int]]]: ...
    def resize(self, shapes: Sequence[Sequence[int]]) -> None: ...
    def bind(self, index: int, array: Array) -> None: ...
    def run(self) -> None: ...
    def output(self, index: int) -> NDArray[np.float32]: ...
    def time_runs(self, count: int) -> list[float]: ...


class ContractGraph:
    """A session whose inputs are given by the contract's names. Resizes only when a size changes."""

    def __init__(self, session: Session, contract: Contract, config: ModelConfig) -> None:
        self._session = session
        self._contract = contract
        self._config = config
        self._order = {name: index for index, (name, _, _) in enumerate(session.inputs)}
        self._sizes: Sizes | None = None

    def resize(self, sizes: Sizes) -> None:
        """All inputs must be given again when this changes a size."""
        if sizes == self._sizes:
            return
        shapes: list[Sequence[int]] = [()] * len(self._order)
        for spec in input_specs(self._contract, self._config, sizes):
            shapes[self._order[spec.name]] = spec.shape
        self._session.resize(shapes)
        self._sizes = sizes

    def bind(self, arrays: Mapping[str, Array]) -> None:
        """The graph reads these arrays in place from now on."""
        for name, array in arrays.items():
            self._session.bind(self._order[name], array)

    def run(self) -> None:
        self._session.run()

    def time_runs(self, count: int) -> list[float]:
        """Seconds of each of `count` runs in a row, by a loop in C++."""
        return self._session.time_runs(count)

    def outputs(self) -> list[NDArray[np.float32]]:
        """Copies of logits, new_key_0, new_value_0, … of the last run."""
        assert self._sizes is not None, "resized before it was run"
        specs = output_specs(self._contract, self._config, self._sizes)
        return [self._session.output(index).reshape(spec.shape) for index, spec in enumerate(specs)]


OpenGraph = Callable[[Contract], ContractGraph]


def open_lite_graph(bundle: Path, config: ModelConfig, contract: Contract, threads: int) -> ContractGraph:
    """Loads the bundle's graph of this contract on MindSpore Lite. Raises UnsupportedError when it has none."""
    graphs = BundleInfo.open(bundle).manifest.get("graphs") or []
    for graph in graphs:
        if graph["contract"] == contract:
            return ContractGraph(_core.bench.GraphSession(str(bundle), graph["file"], threads), contract, config)
    raise UnsupportedError(f"{bundle} has no graph {contract}; export it with --for lite")
