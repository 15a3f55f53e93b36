"""What this machine and installation have, and what to do about the rest."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
from dataclasses import dataclass, field

from skywork_rt.errors import SkyworkError
from skywork_rt.support.cache import cache_root
from skywork_rt.support.host import CPU_FLAGS, available_memory, cpu_fields, huge_pages, memory_limit, total_memory

__all__ = ["Report", "examine"]

_LIBRARIES = ("numpy", "tokenizers", "sentencepiece", "jinja2", "typer", "rich")
_EXPORT_LIBRARIES = ("mindspore", "gguf", "safetensors", "protobuf")


@dataclass
class Report:
    """Facts by name, sentences of advice, and whether text can be generated at all."""

    facts: dict[str, str] = field(default_factory=dict)
    advice: list[str] = field(default_factory=list)
    works: bool = True


def examine() -> Report:
    """Looks at everything; imports nothing heavy and starts nothing."""
    report = Report()
    report.facts["python"] = f"{platform.python_version()} ({sys.executable})"
    _examine_core(report)
    _examine_cpu(report)
    _examine_memory(report)
    _examine_lite(report)
    _examine_ascend(report)
    _examine_mindspore(report)
    _examine_libraries(report)
    _examine_cache(report)
    return report


def _examine_core(report: Report) -> None:
    try:
        from skywork_rt import _core
    except ImportError as error:
        report.facts["skywork_rt"] = f"the C++ core does not load: {error}"
        report.advice.append("install skywork_rt again: pip install --force-reinstall skywork-rt")
        report.works = False
        return
    info = _core.build_info()
    lite = "with" if info["lite_plugin"] else "without"
    report.facts["skywork_rt"] = (
        f"{info['version']} ({info['compiler']}, {info['build_type']}, {lite} the Lite backend)"
    )


def _examine_cpu(report: Report) -> None:
    fields = cpu_fields()
    flags = set(fields.get("flags", "").split())
    report.facts["cpu"] = f"{fields.get('model name', platform.machine())}, {len(os.sched_getaffinity(0))} cores usable"
    report.facts["cpu features"] = ", ".join(flag for flag in CPU_FLAGS if flag in flags) or "none of those we use"
    if platform.machine() == "x86_64" and "avx2" not in flags:
        report.advice.append("this CPU has no AVX2: the native backend runs its portable kernels, which are slow")


def _examine_memory(report: Report) -> None:
    limit = memory_limit()
    bounded = "" if limit is None else f", limited to {limit / 2**30:.1f} GiB by its control group"
    report.facts["memory"] = (
        f"{total_memory() / 2**30:.1f} GiB, {available_memory() / 2**30:.1f} GiB available{bounded}"
    )
    report.facts["huge pages"] = huge_pages()


def _examine_lite(report: Report) -> None:
    try:
        from skywork_rt.lite import locate

        location = locate()
    except (ImportError, SkyworkError) as error:
        report.facts["mindspore lite"] = f"not found: {error}"
        report.advice.append("the lite backend needs MindSpore Lite: skywork-rt lite install")
        return
    report.facts["mindspore lite"] = f"{location.version} in {location.home} ({location.origin})"


def _examine_ascend(report: Report) -> None:
    from skywork_rt.support.ascend import look_for_ascend

    found = look_for_ascend()
    report.facts["ascend"] = found.summary
    report.advice += found.advice


def _examine_mindspore(report: Report) -> None:
    version = _version("mindspore")
    report.facts["backend mindspore"] = (
        "not installed: pip install 'skywork-rt[export]'"
        if version is None
        else f"MindSpore {version}: checkpoints and bundles in float32, quantised weights dequantised"
    )


def _examine_libraries(report: Report) -> None:
    found = {name: _version(name) for name in (*_LIBRARIES, *_EXPORT_LIBRARIES)}
    report.facts["libraries"] = ", ".join(f"{name} {found[name] or 'MISSING'}" for name in _LIBRARIES)
    report.facts["for export"] = ", ".join(f"{name} {found[name] or 'missing'}" for name in _EXPORT_LIBRARIES)
    if any(found[name] is None for name in _LIBRARIES):
        report.advice.append("some libraries are missing: pip install --force-reinstall skywork-rt")
    if any(found[name] is None for name in _EXPORT_LIBRARIES):
        report.advice.append("exporting needs a few more libraries: pip install 'skywork-rt[export]'")


def _examine_cache(report: Report) -> None:
    path = cache_root()
    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) if path.is_dir() else 0
    report.facts["cache"] = f"{path}, {size / 2**20:.0f} MiB"


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
