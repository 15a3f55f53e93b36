"""What a figure was measured on. No host name, no user, no path."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

__all__ = ["available_memory", "describe_machine", "usable_threads"]

_INTERESTING_FLAGS = ("avx", "avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512_vnni", "avx512_bf16", "amx_int8")


def usable_threads() -> int:
    """Cores in this process's affinity mask, as the runtime counts them."""
    return len(os.sched_getaffinity(0))


def describe_machine(threads: int) -> dict[str, Any]:
    """The `machine` part of the JSON document; `threads` is what each runtime was given."""
    from skywork_rt import _core

    cpu = _cpu_fields()
    flags = cpu.get("flags", "").split()
    build = _core.build_info()
    return {
        "cpu": cpu.get("model name", platform.processor() or platform.machine()),
        "isa": [flag for flag in _INTERESTING_FLAGS if flag in flags],
        "cores": os.cpu_count() or 1,
        "threads": threads,
        "memory_mb": _meminfo("MemTotal") // 2**20,
        "transparent_huge_pages": _huge_pages(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "skywork_rt": build["version"],
        "compiler": build["compiler"],
        "build_type": build["build_type"],
    }


def available_memory() -> int:
    """Bytes that programs can still take without swapping."""
    return _meminfo("MemAvailable")


def _cpu_fields() -> dict[str, str]:
    fields: dict[str, str] = {}
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition(":")
        if not line:
            break
        fields[name.strip()] = value.strip()
    return fields


def _meminfo(name: str) -> int:
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024
    return 0


def _huge_pages() -> str:
    path = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    if not path.is_file():
        return "unknown"
    chosen = [word for word in path.read_text(encoding="ascii").split() if word.startswith("[")]
    return chosen[0].strip("[]") if chosen else "unknown"
