"""What is read of the kernel, on this machine and on one that is made up."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from skywork_rt import _core
from skywork_rt.support import host

GIB = 2**30


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


def test_memory_is_what_the_core_reads(tmp_path: Path) -> None:
    """Its own test has the groups of every kind (tests/cpp/support/memory_limits_test.cc)."""
    (tmp_path / "self").mkdir()
    (tmp_path / "self" / "cgroup").write_text("0::/\n")
    (tmp_path / "meminfo").write_text(f"MemTotal: {24 * 2**20} kB\nMemAvailable: {20 * 2**20} kB\n")
    (tmp_path / "memory.max").write_text(f"{8 * GIB}\n")
    (tmp_path / "memory.current").write_text(f"{6 * GIB}\n")
    (tmp_path / "memory.stat").write_text(f"anon {2 * GIB}\nfile {4 * GIB}\ninactive_file {3 * GIB}\n")
    (tmp_path / "cpu.max").write_text("150000 100000\n")
    read = _core.memory_limits(str(tmp_path), str(tmp_path))
    assert read == {"total": 24 * GIB, "limit": 8 * GIB, "available": 5 * GIB}
    assert _core.cpu_quota(str(tmp_path), str(tmp_path)) == 1.5
    limit = host.memory_limit()
    assert limit is None or limit >= host.available_memory()


def test_what_a_container_hides_is_unknown(files: dict[str, str]) -> None:
    assert files == {}
    assert (host.huge_pages(), host.cpu_fields()) == ("unknown", {})


def test_the_first_processor_stands_for_all(files: dict[str, str]) -> None:
    files["/proc/cpuinfo"] = "model name\t: First\nflags\t\t: fma avx2\n\nmodel name\t: Second\nflags\t\t: fma\n"
    assert host.cpu_fields()["model name"] == "First"
    assert host.cpu_fields()["flags"].split() == ["fma", "avx2"]
    files["/sys/kernel/mm/transparent_hugepage/enabled"] = "always [madvise] never\n"
    assert host.huge_pages() == "madvise"
