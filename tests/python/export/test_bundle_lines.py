"""What `export`'s last line and `info` say of a bundle's weights and of its model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from checkpoints import SEED, GgufBuilder, family, small
from gguf import GGMLQuantizationType

import skywork_rt
from skywork_rt.checkpoints.gguf.source import gguf_name
from skywork_rt.checkpoints.synthetic.source import SyntheticSource
from skywork_rt.cli.info import info
from skywork_rt.cli.text import bundle_line
from skywork_rt.export import export


def _exported(tmp_path: Path, *weights: str, **changes: object) -> Path:
    source = SyntheticSource(small(**changes), SEED)
    return export(source, tmp_path / "out", targets=["native"], weights=weights)


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ((), "weights int8"),
        (("int4", "int8"), "weights int4 (rounded coarsely: taken only by name), int8"),
        (("int4",), "weights int4 (rounded coarsely)"),
        (("bf16", "f32"), "weights bf16, f32"),
    ],
)
def test_int4_is_named_as_a_choice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], weights: tuple[str, ...], expected: str
) -> None:
    bundle = _exported(tmp_path, *weights)
    assert bundle_line(bundle).endswith(f" MB  {expected}")
    info(bundle)
    shown = " ".join(capsys.readouterr().out.split())
    assert expected in shown


def test_int4_that_rounds_nothing_is_not_called_coarse(tmp_path: Path) -> None:
    builder = GgufBuilder(small())
    matrices = [name for name, values in builder.tensors.items() if values.ndim == 2]
    builder.types = dict.fromkeys(matrices, GGMLQuantizationType.Q4_1)
    builder.types[gguf_name("embed_tokens")] = GGMLQuantizationType.Q8_0
    bundle = export(builder.write(tmp_path / "a.gguf"), tmp_path / "out", targets=["native"], weights=["int4"])
    assert bundle_line(bundle).endswith("weights int4 (the checkpoint's own numbers)")


@pytest.mark.parametrize(
    ("weights", "taken"), [(("int4", "int8"), "int8"), (("int4", "bf16", "f32"), "bf16"), (("int4",), "int4")]
)
def test_auto_takes_int4_only_where_there_is_nothing_else(tmp_path: Path, weights: tuple[str, ...], taken: str) -> None:
    bundle = _exported(tmp_path, *weights)

    def logprob(chosen: str) -> float:
        with skywork_rt.Generator(bundle, weights=chosen, threads=1) as generator:
            return generator.score([5, 6, 7], [8, 9, 10]).logprob

    found = {name: logprob(name) for name in weights}
    assert len(set(found.values())) == len(weights)  # else the next line could not fail
    assert logprob("auto") == found[taken]


def test_info_names_the_parts_of_a_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = family("smollm3", qkv_bias=True, output_bias=True, mlp_bias=True)
    info(export(SyntheticSource(config, SEED), tmp_path / "a", targets=["native"]))
    shown = " ".join(capsys.readouterr().out.split())
    assert "of 16, q/k/v bias, output bias, FFN bias" in shown
    assert "rope default with base 10000.0, 1 of 4 layers without it" in shown
    info(export(SyntheticSource(family("qwen3"), SEED), tmp_path / "b", targets=["native"]))
    assert "of 32, q/k norm" in " ".join(capsys.readouterr().out.split())


def test_a_damaged_weights_file_does_not_keep_info_from_telling_the_rest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = _exported(tmp_path, "int4")
    file = bundle / json.loads((bundle / "model.json").read_text())["weights"]["int4"]
    size = file.stat().st_size
    file.write_bytes(b"\xff" * size)
    info(bundle)
    assert "weights int4" in " ".join(capsys.readouterr().out.split())
