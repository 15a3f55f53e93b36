"""What a figure was measured on. No host name, no user, no path."""

from __future__ import annotations

import os
import platform
from typing import Any

from skywork_rt.support.host import CPU_FLAGS, cpu_fields, huge_pages, total_memory

__all__ = ["describe_machine", "usable_threads"]


def usable_threads() -> int:
    """Cores in this process's affinity mask, as the runtime counts them."""
    return len(os.sched_getaffinity(0))


def describe_machine(threads: int) -> dict[str, Any]:
    """The `machine` part of the JSON document; `threads` is what each runtime was given."""
    from skywork_rt import _core

    cpu = cpu_fields()
    flags = cpu.get("flags", "").split()
    build = _core.build_info()
    return {
        "cpu": cpu.get("model name", platform.processor() or platform.machine()),
        "isa": [flag for flag in CPU_FLAGS if flag in flags],
        "cores": os.cpu_count() or 1,
        "threads": threads,
        "memory_mb": total_memory() // 2**20,
        "transparent_huge_pages": huge_pages(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "skywork_rt": build["version"],
        "compiler": build["compiler"],
        "build_type": build["build_type"],
    }
