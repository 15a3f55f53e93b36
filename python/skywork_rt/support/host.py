"""What the kernel says about this machine. A container may hide any of it."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["CPU_FLAGS", "available_memory", "cpu_fields", "huge_pages", "memory_limit", "total_memory"]

#: The processor features that one of our kernels uses or that decide what is worth writing next.
CPU_FLAGS = (
    "avx",
    "avx2",
    "fma",
    "f16c",
    "avx512f",
    "avx512bw",
    "avx512dq",
    "avx512vl",
    "avx512_vnni",
    "avx_vnni",
    "avx512_bf16",
    "amx_int8",
)

_CONTROL_GROUP = Path("/sys/fs/cgroup")


def cpu_fields() -> dict[str, str]:
    """The first processor's lines of /proc/cpuinfo by name, such as `model name` and `flags`."""
    fields: dict[str, str] = {}
    for line in _read(Path("/proc/cpuinfo")).splitlines():
        name, _, value = line.partition(":")
        fields.setdefault(name.strip(), value.strip())
    return fields


def total_memory() -> int:
    """Bytes of the machine."""
    return _meminfo("MemTotal") or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def memory_limit() -> int | None:
    """Bytes that this process's control group may take, if it is bounded (version 2)."""
    text = _read(_CONTROL_GROUP / "memory.max").strip()
    return int(text) if text.isdigit() else None


def available_memory() -> int:
    """Bytes that programs can still take without swapping: the kernel's estimate, or what the control group leaves.

    Pages of files count as taken there, though the kernel would give them up; what it calls inactive is not counted.
    """
    free = _meminfo("MemAvailable") or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    limit = memory_limit()
    if limit is None:
        return free
    taken = _read(_CONTROL_GROUP / "memory.current").strip()
    idle = 0
    for line in _read(_CONTROL_GROUP / "memory.stat").splitlines():
        name, _, value = line.partition(" ")
        if name == "inactive_file":
            idle = int(value)
    return min(free, max(0, limit - (int(taken) if taken.isdigit() else 0) + idle))


def huge_pages() -> str:
    """`always`, `madvise` or `never`; `unknown` where the kernel has none."""
    chosen = [word for word in _read(Path("/sys/kernel/mm/transparent_hugepage/enabled")).split() if word[0] == "["]
    return chosen[0].strip("[]") if chosen else "unknown"


def _meminfo(name: str) -> int:
    for line in _read(Path("/proc/meminfo")).splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024
    return 0


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""
