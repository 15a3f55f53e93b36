"""The stubs say what the module has, and Python and C++ agree on the options."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import skywork_rt

#: Its classes have a metaclass of its own, and those without a constructor inherit one that raises.
PYBIND11_PECULIARITIES = r"""
skywork_rt\._core\.(bench\.)?[A-Z]\w*
skywork_rt\._core\.(StepWatch|Request|RequestHandle|Result|Sample|Timings|TokenLogprob|Update)\.__init__
"""


@pytest.mark.slow
def test_stubs_match_the_module(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    config = tmp_path / "mypy.ini"  # what other modules import is not the question here
    config.write_text("[mypy]\nignore_missing_imports = True\ndisable_error_code = import-untyped\n")
    allowlist = tmp_path / "allowlist"
    allowlist.write_text(PYBIND11_PECULIARITIES)
    command = [sys.executable, "-m", "mypy.stubtest", "skywork_rt._core", "--mypy-config-file", str(config)]
    # Not from site-packages: mypy would take every module there for one of ours.
    parent = Path(skywork_rt.__file__).parents[1]
    search = {} if parent.name == "site-packages" else {"MYPYPATH": str(parent)}
    result = subprocess.run(
        [*command, "--allowlist", str(allowlist), "--ignore-unused-allowlist"],
        cwd=tmp_path,
        env={**os.environ, **search},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_package_is_typed() -> None:
    package = Path(skywork_rt.__file__).parent
    assert (package / "py.typed").exists()
    assert (package / "_core" / "__init__.pyi").exists()


def test_every_public_name_resolves() -> None:
    for name in skywork_rt.__all__:
        assert getattr(skywork_rt, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = skywork_rt.nothing


def test_build_info_tells_version_and_compiler() -> None:
    info = skywork_rt.build_info()
    assert info["version"] == skywork_rt.__version__
    assert info["compiler"]
    assert info["cplusplus"] >= 201703
