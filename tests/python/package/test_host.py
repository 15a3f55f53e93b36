"""What is read of the kernel, on this machine and on one that is made up."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from skywork_rt.support import host

GIB = 2**30
CONTAINER = {
    "/proc/meminfo": f"MemTotal: {24 * 2**20} kB\nMemFree: 1 kB\nMemAvailable: {20 * 2**20} kB\n",
    "/sys/fs/cgroup/memory.max": f"{8 * GIB}\n",
    "/sys/fs/cgroup/memory.current": f"{6 * GIB}\n",
    "/sys/fs/cgroup/memory.stat": f"anon {2 * GIB}\nfile {4 * GIB}\ninactive_file {3 * GIB}\n",
}


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    made_up: dict[str, str] = {}
    monkeypatch.setattr(host, "_read", lambda path: made_up.get(str(path), ""))
    return made_up


def test_this_machine_is_described() -> None:
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert 0 < host.available_memory() <= host.total_memory() <= physical * 1.01
    assert host.huge_pages() in {"always", "madvise", "never", "unknown"}
    if Path("/proc/cpuinfo").exists():
        assert host.cpu_fields()


def test_a_control_group_bounds_what_is_available(files: dict[str, str]) -> None:
    files.update(CONTAINER)
    assert (host.total_memory(), host.memory_limit()) == (24 * GIB, 8 * GIB)
    assert host.available_memory() == 5 * GIB  # 8, less 6 in use, of which 3 are pages of files that nobody reads
    files["/sys/fs/cgroup/memory.max"] = "max\n"
    assert (host.memory_limit(), host.available_memory()) == (None, 20 * GIB)


def test_what_a_container_hides_is_asked_of_the_c_library(files: dict[str, str]) -> None:
    assert files == {}
    assert host.total_memory() == os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert host.available_memory() > 0
    assert (host.memory_limit(), host.huge_pages(), host.cpu_fields()) == (None, "unknown", {})


def test_the_first_processor_stands_for_all(files: dict[str, str]) -> None:
    files["/proc/cpuinfo"] = "model name\t: First\nflags\t\t: fma avx2\n\nmodel name\t: Second\nflags\t\t: fma\n"
    assert host.cpu_fields()["model name"] == "First"
    assert host.cpu_fields()["flags"].split() == ["fma", "avx2"]
    files["/sys/kernel/mm/transparent_hugepage/enabled"] = "always [madvise] never\n"
    assert host.huge_pages() == "madvise"
