"""What the kernel says about this machine. A container may hide any of it."""

from __future__ import annotations

from pathlib import Path

from skywork_rt import _core

__all__ = ["CPU_FLAGS", "available_memory", "cpu_fields", "huge_pages", "memory_limit", "peak_memory", "total_memory"]

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


def cpu_fields() -> dict[str, str]:
    """The first processor's lines of /proc/cpuinfo by name, such as `model name` and `flags`."""
    fields: dict[str, str] = {}
    for line in _read(Path("/proc/cpuinfo")).splitlines():
        name, _, value = line.partition(":")
        fields.setdefault(name.strip(), value.strip())
    return fields


def total_memory() -> int:
    """Bytes of the machine."""
    return int(_core.memory_limits()["total"] or 0)


def memory_limit() -> int | None:
    """Bytes that this process's control groups let it take, of either version; None where they bound nothing."""
    return _core.memory_limits()["limit"]


def available_memory() -> int:
    """Bytes that programs can still take without swapping: the kernel's estimate, or what the control groups leave.

    The core reads both (csrc/support/memory_limits.h), and fits a model's cache to the same number.
    """
    return int(_core.memory_limits()["available"] or 0)


def peak_memory() -> int:
    """The most bytes that this process has had in memory since it started; 0 where the kernel does not tell."""
    for line in _read(Path("/proc/self/status")).splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) << 10
    return 0


def huge_pages() -> str:
    """`always`, `madvise` or `never`; `unknown` where the kernel has none."""
    chosen = [word for word in _read(Path("/sys/kernel/mm/transparent_hugepage/enabled")).split() if word[0] == "["]
    return chosen[0].strip("[]") if chosen else "unknown"


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""
