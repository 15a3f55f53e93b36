"""One runtime each, behind one small interface, each opened in a child process of its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from skywork_rt.bench.workloads import Trace, Workload
from skywork_rt.errors import InvalidArgumentError

__all__ = ["Driver", "DriverOptions", "open_driver"]

DriverOptions = Mapping[str, str | int]
"""`threads`, `max_batch`, `max_length` (int), and the generator's own `backend`, `weights`, `activations`."""


class Driver(Protocol):
    """An opened runtime."""

    def run(self, workload: Workload, seed: int) -> Trace:
        """Runs one workload on prompts drawn from `seed`."""
        ...

    def first_token(self) -> None:
        """Computes one token after a prompt of one token; what `load` waits for."""
        ...

    def close(self) -> None: ...


def open_driver(runtime: str, bundle: Path, options: DriverOptions) -> Driver:
    """Opens `bundle` on the named runtime. Only that runtime's modules are imported."""
    if runtime.startswith("skywork_rt:"):
        from skywork_rt.bench.drivers.generator import GeneratorDriver

        return GeneratorDriver(bundle, options)
    if runtime == "lite:predict":
        from skywork_rt.bench.drivers.predict import PredictDriver

        return PredictDriver(bundle, options)
    if runtime == "recipe:python-loop":
        from skywork_rt.bench.drivers.recipe import RecipeDriver

        return RecipeDriver(bundle, options)
    if runtime == "peer:ik_llama.cpp":
        from skywork_rt.bench.drivers.ik_llama import IkLlamaDriver

        return IkLlamaDriver(Path(str(options["gguf"])), options)
    raise InvalidArgumentError(
        f"runtime is {runtime!r}, but must be skywork_rt:*, lite:predict, recipe:python-loop or peer:ik_llama.cpp"
    )
