"""skywork-rt plan"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from skywork_rt.errors import InvalidArgumentError

if TYPE_CHECKING:
    from skywork_rt.checkpoints.model import ModelConfig
    from skywork_rt.plan.devices import Device

__all__ = ["plan"]

_CPU = "cpu"
_PROMPT, _NEW = 512, 128


def plan(
    model: Annotated[
        Path | None, typer.Argument(help="A bundle, a checkpoint as 'export' takes it, or a config.json.")
    ] = None,
    like: Annotated[str | None, typer.Option(help="A shape by name instead, such as skywork-13b.")] = None,
    device: Annotated[str, typer.Option(help="A device by name, such as ascend-910b or a100-80gb; or cpu.")] = _CPU,
    batch: Annotated[int, typer.Option(min=1, help="Sequences that decode at once.")] = 1,
    length: Annotated[
        int | None, typer.Option(min=1, help="Slots of the cache a sequence, in tokens. Default: the model's length.")
    ] = None,
    prompt: Annotated[
        int | None, typer.Option(min=1, help="Tokens of a typical prompt. Default: 512, if the model takes them.")
    ] = None,
    new: Annotated[
        int | None, typer.Option(min=1, help="Tokens of a typical answer. Default: 128, if the model takes them.")
    ] = None,
    weights: Annotated[str, typer.Option(help="On cpu: types of weights, comma separated.")] = "int8,int4",
    threads: Annotated[
        int | None, typer.Option(min=1, max=1024, help="On cpu. Default: all cores of the process.")
    ] = None,
    memory: Annotated[float | None, typer.Option(min=0.001, help="GB of a device that is not in the table.")] = None,
    bandwidth: Annotated[float | None, typer.Option(min=0.001, help="TB/s of its memory.")] = None,
    tflops: Annotated[float | None, typer.Option(min=0.001, help="Its dense float16 TFLOPS.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Reckon what a model needs and how fast it can be on a device, without running it.

    On cpu a probe measures this machine's memory and kernels for some seconds; nothing else is measured.
    """
    from skywork_rt.plan.report import device_report, markdown
    from skywork_rt.plan.shapes import shape_of

    config = shape_of(model, like)
    if length is not None and length > config.max_length:
        raise InvalidArgumentError(f"--length is {length}, but {config.name} was made for {config.max_length} tokens")
    prompt, new = _request(prompt, new, config)
    if device == _CPU and (memory, bandwidth, tflops) == (None, None, None):
        report = _on_cpu(config, batch, prompt, new, weights, threads)
    else:
        chosen = _device(device, memory, bandwidth, tflops)
        report = device_report(config, chosen, batch, length or config.max_length, prompt, new)
    print(json.dumps(report, indent=1) if as_json else "\n".join(markdown(report)))


def _request(prompt: int | None, new: int | None, config: ModelConfig) -> tuple[int, int]:
    """Tokens of a typical request, which the model must hold."""
    longest = config.max_length
    if prompt is None:
        prompt = max(1, min(_PROMPT, longest * _PROMPT // (_PROMPT + _NEW), longest - (new or 0)))
    if new is None:
        new = max(1, min(_NEW, longest - prompt))
    if prompt + new > longest:
        raise InvalidArgumentError(
            f"--prompt {prompt} and --new {new} are {prompt + new} tokens, but {config.name} was made for {longest}"
        )
    return prompt, new


def _device(name: str, memory: float | None, bandwidth: float | None, tflops: float | None) -> Device:
    from skywork_rt.plan.devices import Device, device_named

    if memory is None and bandwidth is None and tflops is None:
        return device_named(name)
    if memory is None or bandwidth is None or tflops is None:
        raise InvalidArgumentError("a device of your own needs all of --memory, --bandwidth and --tflops")
    return Device(name, memory * 1e9, bandwidth * 1e12, tflops * 1e12, "as given")


def _on_cpu(
    config: ModelConfig, batch: int, prompt: int, new: int, weights: str, threads: int | None
) -> dict[str, Any]:
    from skywork_rt._core import weight_types
    from skywork_rt.bench.machine import usable_threads
    from skywork_rt.cli.text import names
    from skywork_rt.plan.geometry import Geometry
    from skywork_rt.plan.probe import measure
    from skywork_rt.plan.processor import Processor, kinds_of
    from skywork_rt.plan.report import processor_report
    from skywork_rt.support.progress import progress_bars

    types = {facts["name"]: facts for facts in weight_types()}
    wanted = names(weights)
    for name in wanted:
        if name not in types:
            raise InvalidArgumentError(f"there are no weights {name!r}; there are {', '.join(types)}")
    pairs = [(name, a) for name in wanted for a in (("f32", "int8") if types[name]["integers"] else ("f32",))]
    probed = list(dict.fromkeys((kind, activations) for name, activations in pairs for kind in kinds_of(name)))
    with progress_bars() as progress:
        probe = measure(threads or usable_threads(), probed, lambda done, total: progress("probing", done, total))
    processors = {(name, a): Processor(Geometry(config), probe, name, a) for name, a in pairs}
    return processor_report(processors, batch, prompt, new)
