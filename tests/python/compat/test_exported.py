"""Checkpoints that the front exports into the cache: once, by their content, whole or not at all."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from recipe_model import write_recipe_model

from skywork_rt.compat.mindformers import LlamaConfig, LlamaForCausalLM, MindFormerConfig
from skywork_rt.compat.mindformers.opening import exported
from skywork_rt.compat.mindformers.opening.exported import exported_bundle
from skywork_rt.errors import CheckpointError, InvalidArgumentError
from skywork_rt.support import environment


def bundles(cache: Path) -> list[str]:
    return sorted(path.name for path in (cache / "compat").glob("*/model.json") for path in [path.parent])


def test_the_second_time_it_is_there(own_cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = write_recipe_model(tmp_path / "model")
    first = exported_bundle(model.checkpoint, None, None)
    assert "exported once, with weights f32" in capsys.readouterr().err
    assert exported_bundle(model.checkpoint, None, None) == first
    assert capsys.readouterr().err == ""
    moved = tmp_path / "moved"
    shutil.move(tmp_path / "model", moved)  # found by content, not by place
    assert exported_bundle(moved / "skywork_tiny.ckpt", None, None) == first
    assert bundles(own_cache) == [first.name]


def test_another_content_tokenizer_or_option_is_another_bundle(
    own_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = write_recipe_model(tmp_path / "model")
    found = {exported_bundle(model.checkpoint, None, None)}
    monkeypatch.setenv(environment.COMPAT_WEIGHTS.name, "int8")
    found.add(exported_bundle(model.checkpoint, None, None))
    monkeypatch.delenv(environment.COMPAT_WEIGHTS.name)
    write_recipe_model(tmp_path / "model", seed=12)
    found.add(exported_bundle(model.checkpoint, None, None))
    model.tokenizer.unlink()
    found.add(exported_bundle(model.checkpoint, None, None))
    assert len(found) == 4 == len(bundles(own_cache))


def test_wrong_weights_are_refused_by_the_variables_name(
    own_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = write_recipe_model(tmp_path / "model")
    monkeypatch.setenv(environment.COMPAT_WEIGHTS.name, "int3")
    with pytest.raises(InvalidArgumentError, match="SKYWORK_RT_COMPAT_WEIGHTS is 'int3'"):
        exported_bundle(model.checkpoint, None, None)


def test_a_failed_export_leaves_nothing(own_cache: Path, tmp_path: Path) -> None:
    model = write_recipe_model(tmp_path / "model")
    whole = model.checkpoint.read_bytes()
    model.checkpoint.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError):
        exported_bundle(model.checkpoint, None, None)
    assert bundles(own_cache) == []


@pytest.mark.slow
def test_two_processes_at_once_export_once(tmp_path: Path) -> None:
    model = write_recipe_model(tmp_path / "model")
    code = (
        "import sys, pathlib; from skywork_rt.compat.mindformers.opening.exported import exported_bundle; "
        "print(exported_bundle(pathlib.Path(sys.argv[1]), None, None))"
    )
    env = {**os.environ, environment.CACHE.name: str(tmp_path / "cache")}
    command = [sys.executable, "-c", code, str(model.checkpoint)]
    both = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env) for _ in range(2)
    ]
    ended = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], ended
    assert ended[0][0] == ended[1][0]
    assert sum("exported once" in err for _, err in ended) == 1


def test_a_large_model_is_exported_with_int8(
    own_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(exported, "_EXACT_BYTES", 1000)
    exported_bundle(write_recipe_model(tmp_path / "model").checkpoint, None, None)
    assert "with weights int8" in capsys.readouterr().err


def test_directories_of_mindformers_and_bundles(own_cache: Path, tmp_path: Path, native_bundle: Path) -> None:
    model = write_recipe_model(tmp_path / "ckpt" / "rank_0")
    section = MindFormerConfig(model.config).model.model_config

    def opened(path: Path, **changes: int) -> str:
        with LlamaForCausalLM(LlamaConfig(**{**section, "checkpoint_name_or_path": str(path), **changes})) as model:
            return str(model.generator.model.name)

    assert opened(tmp_path / "ckpt") == opened(model.checkpoint) == opened(native_bundle) == "skywork_tiny"
    (tmp_path / "ckpt" / "rank_1").mkdir()
    with pytest.raises(InvalidArgumentError, match="skywork-rt merge"):
        opened(tmp_path / "ckpt")
    with pytest.raises(InvalidArgumentError, match=r"num_layers = 3, but the model of .* has 2"):
        opened(native_bundle, num_layers=3)
    with pytest.raises(InvalidArgumentError, match="nothing is downloaded by name"):
        opened(Path("skywork_13b"))
