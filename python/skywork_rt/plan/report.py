"""What `skywork-rt plan` says of a device: JSON, and the same as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from skywork_rt.checkpoints.model import ModelConfig
from skywork_rt.checkpoints.synthetic.presets import preset
from skywork_rt.plan.devices import Device
from skywork_rt.plan.geometry import Geometry
from skywork_rt.plan.losses import BATCH, exported_bytes, fit, losses
from skywork_rt.plan.processor import Processor
from skywork_rt.plan.published import A100, ATLAS_800T_A2
from skywork_rt.plan.roofline import Roofline

__all__ = ["device_report", "markdown", "processor_report"]

REQUESTS = (8, 32, 128)
"""Requests at once for which continuous batching is reckoned."""

_PROMPT = 32
"""Tokens of the published table's prompt: three provinces and their capitals."""


def device_report(
    config: ModelConfig, device: Device, batch: int, length: int, prompt: int, new: int
) -> dict[str, Any]:
    """Bytes, operations, seconds and tokens/s of a model in float16 on a device, at best.

    `length`: slots of the cache, in tokens. `prompt` and `new`: tokens of a typical request.
    """
    roofline = Roofline(Geometry(config), device)
    needed = roofline.memory(batch, length)
    step = roofline.decode_step(batch, length)
    report: dict[str, Any] = {
        "model": config.name,
        "parameters": roofline.geometry.parameters,
        "device": {
            "name": device.name,
            "memory_bytes": device.memory_bytes,
            "bytes_per_second": device.bytes_per_second,
            "flops": device.flops,
            "source": device.source,
        },
        "batch": batch,
        "length": length,
        "memory": {
            "weights": roofline.weight_bytes,
            "cache_per_token": roofline.cache_bytes_per_token,
            "cache": needed - roofline.weight_bytes,
            "total": needed,
            "fits": needed <= device.memory_bytes,
            "most_rows": roofline.most_rows(length),
        },
        "decode": {
            "bytes_per_token": step.bytes / batch,
            "flops_per_token": step.flops / batch,
            "seconds_per_step": step.seconds,
            "tokens_per_second": batch / step.seconds,
        },
        "prefill": {
            "flops": roofline.prefill(prompt, batch).flops,
            "seconds": roofline.prefill(prompt, batch).seconds,
            "seconds_padded": roofline.prefill(length, batch).seconds,
        },
        "rows": [
            {"new_tokens": row, "tokens_per_second": BATCH * row / roofline.generation(BATCH, _PROMPT, row)}
            for row in sorted(ATLAS_800T_A2, reverse=True)
        ],
        "continuous": [_continuous(roofline, requests, prompt, new) for requests in REQUESTS],
    }
    if _is_recipe(config):
        report |= _recipe(roofline, length)
    return report


def _is_recipe(config: ModelConfig) -> bool:
    seed = preset("skywork-13b")
    return Geometry(config).parameters == Geometry(seed).parameters


def _continuous(roofline: Roofline, requests: int, prompt: int, new: int) -> dict[str, Any]:
    """`requests` at once, each with its own length of cache; whoever ends makes room for the next one, whose prompt is
    computed between decode steps. More than fit take turns."""
    rows = min(requests, roofline.most_rows(prompt + new))
    if rows == 0:
        return {"requests": requests, "rows": 0, "tokens_per_second": 0.0}
    context = prompt + new / 2
    a_token = roofline.decode_step(rows, context).seconds / rows
    a_prompt = roofline.prefill(prompt).seconds
    return {"requests": requests, "rows": rows, "tokens_per_second": new / (new * a_token + a_prompt)}


def _recipe(roofline: Roofline, length: int) -> dict[str, Any]:
    measured = fit(ATLAS_800T_A2)
    taken = losses(roofline, measured, _PROMPT, 512, length)
    return {
        "published": {"atlas_800t_a2": dict(ATLAS_800T_A2), "a100": dict(A100), "batch": BATCH},
        "recipe": {
            "step_measured": measured.step,
            "start_measured": measured.start,
            "step_roofline": taken.roofline,
            "step_whole_cache": taken.whole_cache,
            "step_rewriting": taken.rewriting,
            "step_host": taken.host,
            "step_rest": taken.rest,
            "prefill_full": taken.prefill_full,
            "prefill_own": taken.prefill_own,
            "exported_bytes": exported_bytes(roofline, length, 1),
        },
    }


def processor_report(
    processors: Mapping[tuple[str, str], Processor], batch: int, prompt: int, new: int
) -> dict[str, Any]:
    """Predictions for the native backend on the probed processor, by (weights, activations)."""
    first = next(iter(processors.values()))
    context = prompt + new / 2
    return {
        "model": first.geometry.config.name,
        "parameters": first.geometry.parameters,
        "device": {"name": "cpu", "threads": first.probe.threads, "bytes_per_second": first.probe.stream},
        "batch": batch,
        "prompt": prompt,
        "native": [
            {
                "weights": weights,
                "activations": activations,
                "bytes_per_step": processor.bytes_read,
                "prefill_tokens_per_second": prompt / processor.prefill(prompt),
                "decode_tokens_per_second": batch / processor.decode(context, batch),
            }
            for (weights, activations), processor in processors.items()
        ],
    }


def markdown(report: Mapping[str, Any]) -> Iterator[str]:
    """The lines of a report."""
    yield f"# {report['model']}, {report['parameters'] / 1e9:.2f} B parameters, on {report['device']['name']}"
    if "native" in report:
        yield from _native_lines(report)
        return
    yield from _memory_lines(report)
    yield from _row_lines(report)
    if "recipe" in report:
        yield from _recipe_lines(report["recipe"])
    yield from _continuous_lines(report)


def _native_lines(report: Mapping[str, Any]) -> Iterator[str]:
    device = report["device"]
    yield ""
    yield f"{device['threads']} threads; memory streams {device['bytes_per_second'] / 1e9:.1f} GB/s now."
    yield ""
    yield f"| weights | activations | read a step | prompt of {report['prompt']} | decode, batch {report['batch']} |"
    yield "|---|---|---:|---:|---:|"
    for row in report["native"]:
        yield (
            f"| {row['weights']} | {row['activations']} | {row['bytes_per_step'] / 1e6:.0f} MB "
            f"| {row['prefill_tokens_per_second']:.1f} tokens/s | {row['decode_tokens_per_second']:.1f} tokens/s |"
        )


def _memory_lines(report: Mapping[str, Any]) -> Iterator[str]:
    device, memory, decode, prefill = (report[key] for key in ("device", "memory", "decode", "prefill"))
    fits = "fits" if memory["fits"] else "does NOT fit"
    yield (
        f"\n{device['memory_bytes'] / 1e9:.0f} GB, {device['bytes_per_second'] / 1e12:.2f} TB/s, "
        f"{device['flops'] / 1e12:.0f} TFLOPS in float16 ({device['source']})"
    )
    yield "\n## Memory, float16\n"
    yield f"- weights {memory['weights'] / 1e9:.2f} GB, cache {memory['cache_per_token']:,} bytes a token"
    yield (
        f"- batch {report['batch']}, length {report['length']}: cache {memory['cache'] / 1e9:.2f} GB, together "
        f"{memory['total'] / 1e9:.2f} GB: {fits}; {memory['most_rows']} rows of that length would fit"
    )
    yield "\n## A token, at best\n"
    yield (
        f"- decode reads {decode['bytes_per_token'] / 1e9:.2f} GB and takes {decode['flops_per_token'] / 1e9:.1f} "
        f"GFLOP: {1e3 * decode['seconds_per_step']:.1f} ms a step, {decode['tokens_per_second']:.1f} tokens/s"
    )
    yield (
        f"- prefill takes {1e3 * prefill['seconds']:.1f} ms at the prompts' own length, "
        f"{1e3 * prefill['seconds_padded']:.0f} ms padded to {report['length']}"
    )


def _row_lines(report: Mapping[str, Any]) -> Iterator[str]:
    published = report.get("published")
    yield f"\n## Generated length, batch {BATCH}, prompt of {_PROMPT} tokens: tokens/s\n"
    yield "| new tokens | roofline |" + (" Atlas 800T A2, published | of the roofline | A100 |" if published else "")
    yield "|---:|---:|" + ("---:|---:|---:|" if published else "")
    for row in report["rows"]:
        new, best = row["new_tokens"], row["tokens_per_second"]
        line = f"| {new} | {best:.1f} |"
        if published:
            atlas = published["atlas_800t_a2"][new]
            line += f" {atlas:.2f} | {100 * atlas / best:.0f} % | {published['a100'][new]:.2f} |"
        yield line


def _recipe_lines(recipe: Mapping[str, Any]) -> Iterator[str]:
    parts = (
        ("roofline: weights and the cache in use", "step_roofline"),
        ("attention reads all slots of the cache", "step_whole_cache"),
        ("the whole cache is read and written once a token", "step_rewriting"),
        ("logits on the host, in Python", "step_host"),
        ("not explained: kernels below their peaks, launching", "step_rest"),
    )
    yield "\n## Where the recipe loses it\n"
    yield f"A line through the published rows: {1e3 * recipe['step_measured']:.1f} ms a step, of these\n"
    for text, key in parts:
        yield f"- {1e3 * recipe[key]:.1f} ms: {text}"
    yield (
        f"\nand {recipe['start_measured']:.2f} s before the first token: prompts padded to the full length take "
        f"{recipe['prefill_full']:.2f} s at best, at their own length {1e3 * recipe['prefill_own']:.0f} ms. Its two "
        f"exported files hold {recipe['exported_bytes'] / 1e9:.0f} GB at batch 1, caches of zeros included."
    )


def _continuous_lines(report: Mapping[str, Any]) -> Iterator[str]:
    yield "\n## Continuous batching, at best\n"
    yield "| requests at once | rows in memory | tokens/s |"
    yield "|---:|---:|---:|"
    for row in report["continuous"]:
        yield f"| {row['requests']} | {row['rows']} | {row['tokens_per_second']:.0f} |"
