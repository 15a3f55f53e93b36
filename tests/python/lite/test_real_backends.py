"""The C++ suites that hold a backend's promises, on the real runtime: programs of the release build, which
`make test-cpp` makes, on a bundle that is exported here."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

BUILD = Path(__file__).parents[3] / "build" / "release" / "tests" / "cpp"
#: Tests of conformance.h, and those of real_lite_test.cc that need a bundle.
LEAST_TESTS = 12


def _run(program: str, bundle: Path, *arguments: str, timeout: float = 300) -> str:
    """Runs a test program on the bundle; its output. A missing program is a failure: nothing here may be skipped."""
    path = BUILD / program
    assert path.exists(), f"{path} is missing: `make test-cpp` builds it"
    ended = subprocess.run(
        [str(path), *arguments],
        env={**os.environ, "SKYWORK_RT_TEST_BUNDLE": str(bundle)},
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
    )
    assert ended.returncode == 0, f"status {ended.returncode}\n{ended.stdout[-4000:]}\n{ended.stderr[-2000:]}"
    assert "SKIPPED" not in ended.stdout
    return ended.stdout


@pytest.mark.skipif(
    "lite" not in os.environ.get("SKYWORK_RT_TEST_BACKENDS", "lite,native"), reason="the lite backend is not tested"
)
def test_lite_keeps_every_promise_of_the_backend_interface(bare_bundle: Path) -> None:
    output = _run("lite/lite_real_test", bare_bundle)
    passed = re.search(r"\[  PASSED  \] (\d+) tests", output)
    assert passed is not None
    assert int(passed[1]) >= LEAST_TESTS
    assert "Lite/BackendConformance" in output


@pytest.mark.long
def test_stress_loses_nothing_on_the_real_backends(
    bare_bundle: Path, backend: str, capsys: pytest.CaptureFixture[str]
) -> None:
    output = _run(
        "engine/engine_real_stress_test", bare_bundle, f"--gtest_filter=Backends/RealStress.*/{backend}", timeout=3600
    )
    figures = re.findall(rf"^{backend} round.*$", output, re.MULTILINE)
    assert len(figures) == 2
    with capsys.disabled():
        print("", *figures, sep="\n")
