"""Whatever goes wrong while graphs are built is one typed error that names it, and leaves nothing behind."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
from built_model import BuiltModel
from random_models import CASES, SEED

from skywork_rt.checkpoints.model import Float32Array
from skywork_rt.checkpoints.synthetic.presets import preset
from skywork_rt.checkpoints.synthetic.source import SyntheticSource
from skywork_rt.errors import BackendError, BackendUnavailableError, CapacityError, CheckpointError, UnsupportedError
from skywork_rt.export.graph import build, build_graphs
from skywork_rt.export.graph import tools as tools_module
from skywork_rt.export.graph.child import run_child
from skywork_rt.export.graph.contract import FULL
from skywork_rt.export.graph.tools import LiteTools
from skywork_rt.export.graph.verify import compute_sequences, verify_graph


@pytest.fixture
def source() -> SyntheticSource:
    return SyntheticSource(CASES["mha"].config, SEED)


def python(code: str, cwd: Path) -> None:
    run_child([sys.executable, "-c", code], doing="the step", env=os.environ, cwd=cwd)


def test_a_missing_mindspore_is_named_with_the_pip_command(
    source: SyntheticSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(
        UnsupportedError, match=r"MindSpore, which is not installed: pip install 'skywork_rt\[export\]'"
    ):
        build_graphs(source, tmp_path)
    assert not list(tmp_path.iterdir())


def test_missing_tools_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SKYWORK_RT_LITE_TOOLS", str(tmp_path))
    with pytest.raises(BackendUnavailableError, match="skywork_rt_lite_convert does not exist"):
        tools_module.find_tools()


def test_a_killed_child_is_an_error_that_names_the_signal(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match=r"the step failed: its process was ended by SIGKILL \(often .* memory\)"):
        python(f"import os; os.kill(os.getpid(), {signal.SIGKILL})", tmp_path)


def test_a_killed_mindspore_is_a_clear_error_and_leaves_nothing_behind(
    source: SyntheticSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mindspore: None, tools: LiteTools
) -> None:
    killed = tmp_path / "python"
    killed.write_text("#!/bin/sh\nkill -KILL $$\n", encoding="ascii")
    killed.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(killed))
    (tmp_path / "work").mkdir()
    with pytest.raises(BackendError, match="building the graphs in MindSpore failed: its process was ended by SIGKILL"):
        build_graphs(source, tmp_path / "work")
    assert not list((tmp_path / "work").iterdir())


def test_a_failing_childs_last_words_are_in_the_message(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match=r"ended with status 1\. Its last words:\n(.*\n)*ValueError: rows of 7"):
        python("raise ValueError('rows of 7')", tmp_path)


def test_an_interrupt_kills_the_child_before_it_passes_on(tmp_path: Path) -> None:
    def interrupt(line: str) -> None:
        (tmp_path / "pid").write_text(line, encoding="ascii")
        raise KeyboardInterrupt

    code = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
    with pytest.raises(KeyboardInterrupt):
        run_child([sys.executable, "-c", code], doing="sleeping", env=os.environ, cwd=tmp_path, on_line=interrupt)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text(encoding="ascii")), 0)


def test_a_full_disk_is_refused_with_the_numbers_before_any_work(
    source: SyntheticSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mindspore: None, tools: LiteTools
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(2**30, 2**30, 1000))
    with pytest.raises(CapacityError, match=r"GiB of disk; 0\.00 GiB are free"):
        build_graphs(source, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_disk_that_fills_up_while_weights_are_written_is_a_capacity_error(
    source: SyntheticSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mindspore: None, tools: LiteTools
) -> None:
    real = build.weights.write_data

    def onto_full_disk(source, weights, places, path, progress):  # type: ignore[no-untyped-def]
        path.symlink_to("/dev/full")
        real(source, weights, places, path, progress)

    monkeypatch.setattr(build.weights, "write_data", onto_full_disk)
    with pytest.raises(CapacityError, match="could not be written: No space left"):
        build_graphs(source, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_model_too_large_for_the_converter_is_refused_with_the_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mindspore: None, tools: LiteTools
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(2**50, 0, 2**50))
    with pytest.raises(CapacityError, match=r"about 191\.\d GiB of memory for 51\.61 GiB of float32 weights"):
        build_graphs(SyntheticSource(preset("skywork-13b")), tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_damaged_tensor_leaves_nothing_behind(tmp_path: Path, mindspore: None, tools: LiteTools) -> None:
    class Damaged(SyntheticSource):
        def tensor(self, name: str) -> Float32Array:
            if name == "layers.1.down_proj":
                raise CheckpointError("layers.1.down_proj is cut short")
            return super().tensor(name)

    with pytest.raises(CheckpointError, match="cut short"):
        build_graphs(Damaged(CASES["mha"].config, SEED), tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_graph_of_other_weights_fails_verification_with_the_numbers(built: BuiltModel, tools: LiteTools) -> None:
    class Other(SyntheticSource):
        def tensor(self, name: str) -> Float32Array:
            tensor = super().tensor(name)
            return tensor * np.float32(1.002) if name == "layers.1.v_proj" else tensor

    source, folder = built("gqa")
    sequences = compute_sequences(Other(source.config, source.seed))
    with pytest.raises(BackendError, match=r"differs by .*, .* of its range of .*; 0\.0002 is allowed"):
        verify_graph(tools, folder / "full.ms", FULL, source.config, sequences)


@pytest.mark.slow
def test_a_damaged_graph_is_an_error_in_lites_own_words(built: BuiltModel, tools: LiteTools, tmp_path: Path) -> None:
    source, folder = built("gqa")
    whole = (folder / "full.ms").read_bytes()
    (tmp_path / "cut.ms").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BackendError, match=r"running cut\.ms on Lite failed"):
        verify_graph(tools, tmp_path / "cut.ms", FULL, source.config, compute_sequences(source))


def test_the_converter_refuses_what_is_no_mindir(tools: LiteTools, tmp_path: Path) -> None:
    from skywork_rt.export.graph.convert import convert

    (tmp_path / "text.mindir").write_text("no graph at all", encoding="ascii")
    with pytest.raises(BackendError, match=r"optimising out\.ms with Lite's converter failed"):
        convert(tools, tmp_path / "text.mindir", tmp_path / "out.ms")
