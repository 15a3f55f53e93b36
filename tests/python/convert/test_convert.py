"""skywork-rt convert: from Hugging Face's layout to MindSpore's and back."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from checkpoints import GgufBuilder, family
from small_checkpoints import (
    UNTIED,
    arrays_of,
    assert_equal,
    hugging_face,
    mindspore_arrays,
    opened,
    small,
    weights_of,
    write_file,
)

from skywork_rt.checkpoints.file_source import FileSource
from skywork_rt.checkpoints.mindspore.names import mindspore_name
from skywork_rt.checkpoints.model import ModelConfig
from skywork_rt.checkpoints.open import open_source
from skywork_rt.checkpoints.synthetic.source import SyntheticSource
from skywork_rt.checkpoints.tensors.rounding import converted
from skywork_rt.cli.app import run as cli
from skywork_rt.convert import conversion, convert
from skywork_rt.errors import CheckpointError, InvalidArgumentError, SkyworkError, UnsupportedError
from skywork_rt.export import export

MODELS = {
    "head of its own": (small(), "llama"),
    "tied head": (small(tied_embeddings=True), "llama"),
    "biases": (small(qkv_bias=True), "qwen2"),
}


@pytest.mark.parametrize("suffix", [".ckpt", ".safetensors"])
@pytest.mark.parametrize("layout", ["safetensors", "bin"])
@pytest.mark.parametrize("model", MODELS)
def test_there_and_back_is_the_same_to_the_bit(tmp_path: Path, model: str, layout: str, suffix: str) -> None:
    config, kind = MODELS[model]
    source = hugging_face(tmp_path / "hf", config, layout=layout, shards=3, model_type=kind)
    convert(source, tmp_path / "ms" / f"model{suffix}")
    convert(tmp_path / "ms" / f"model{suffix}", tmp_path / "back", file_format=layout)
    assert_equal(weights_of(tmp_path / "back"), weights_of(source))
    kept, made = (json.loads((folder / "config.json").read_text()) for folder in (source, tmp_path / "back"))
    assert made == kept
    assert list((tmp_path / "ms").glob("*.partial")) == []


@pytest.mark.parametrize("kind", ["sentencepiece", "byte-level"])
def test_tokenizer_files_go_along(tmp_path: Path, kind: Any) -> None:
    source = hugging_face(tmp_path / "hf", small(), tokenizer=kind)
    report = convert(source, tmp_path / "ms" / "model.ckpt")
    name = "tokenizer.model" if kind == "sentencepiece" else "tokenizer.json"
    assert report.written_beside == ["config.json", name, "tokenizer_config.json"]
    convert(tmp_path / "ms" / "model.ckpt", tmp_path / "back")
    for file in (name, "tokenizer_config.json"):
        assert (tmp_path / "back" / file).read_bytes() == (source / file).read_bytes()
    assert json.loads((tmp_path / "back" / "generation_config.json").read_text())["eos_token_id"] == 2


def test_files_of_the_same_model_that_are_there_already_stay_as_they_are(tmp_path: Path) -> None:
    source = hugging_face(tmp_path / "hf", small(), tokenizer="sentencepiece")
    written_anew(source / "config.json", pad_token_id=None)
    out = tmp_path / "ms" / "model.ckpt"
    assert convert(source, out).written_beside == ["config.json", "tokenizer.model", "tokenizer_config.json"]
    body = json.loads((source / "config.json").read_text())
    other = json.dumps({**body, "torch_dtype": "float16", "initializer_range": 0.5, "rope_scaling": None})
    (out.parent / "config.json").write_text(other)
    (out.parent / "tokenizer_config.json").unlink()
    report = convert(source, tmp_path / "ms" / "half.ckpt", dtype="float16")
    assert report.written_beside == ["tokenizer_config.json"]
    assert (out.parent / "config.json").read_text() == other
    convert(out, tmp_path / "ms" / "again.safetensors")
    (out.parent / "config.json").unlink()  # a YAML of the same model, whose pad is MindFormers' default
    (out.parent / "run.yaml").write_text(yaml.safe_dump(mindformers_yaml(small(), rms_norm_eps=1e-5)))
    convert(source, tmp_path / "ms" / "third.ckpt")


def written_anew(path: Path, **changes: Any) -> None:
    """A JSON file with other values."""
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_folder_with_another_model_is_refused_by_its_keys(tmp_path: Path) -> None:
    first, second = (hugging_face(tmp_path / name, small()) for name in "ab")
    written_anew(second / "config.json", rope_theta=5e5, rms_norm_eps=1e-3)
    convert(first, tmp_path / "two" / "a.ckpt")
    with pytest.raises(
        InvalidArgumentError, match=r"config\.json is there.*differs in rms_norm_eps, rope_theta.*folder"
    ):
        convert(second, tmp_path / "two" / "b.ckpt")
    (tmp_path / "two" / "config.json").write_text("{}")
    with pytest.raises(InvalidArgumentError, match=r"config\.json is there already and describes another model"):
        convert(first, tmp_path / "two" / "b.ckpt")
    (tmp_path / "two" / "config.json").unlink()
    (tmp_path / "two" / "run.yaml").write_text(yaml.safe_dump(mindformers_yaml(small(), theta=77.0)))
    with pytest.raises(InvalidArgumentError, match=r"run\.yaml is there already.*rope_theta"):
        convert(first, tmp_path / "two" / "b.ckpt")
    assert sorted(path.name for path in (tmp_path / "two").iterdir()) == ["a.ckpt", "run.yaml"]


def test_a_folder_with_other_ids_for_generation_is_refused(tmp_path: Path) -> None:
    first, second = (hugging_face(tmp_path / name, small()) for name in "ab")
    (first / "generation_config.json").write_text('{"eos_token_id": [2, 9], "temperature": 0.5}')
    convert(first, tmp_path / "two" / "a.ckpt")
    with pytest.raises(InvalidArgumentError, match=r"generation_config\.json is there.*differs in eos_token_id\)"):
        convert(second, tmp_path / "two" / "b.ckpt")
    convert(second, tmp_path / "three" / "b.ckpt")
    with pytest.raises(InvalidArgumentError, match=r"/config\.json is there.*differs in eos_token_id\)"):
        convert(first, tmp_path / "three" / "a.ckpt")
    assert not (tmp_path / "three" / "generation_config.json").exists()


@pytest.mark.parametrize("name", ["tokenizer.model", "tokenizer.json", "tokenizer_config.json"])
def test_a_folder_with_another_tokenizer_is_refused_by_its_file(tmp_path: Path, name: str) -> None:
    source = hugging_face(tmp_path / "hf", small(), tokenizer="sentencepiece")
    (tmp_path / "ms").mkdir()
    (tmp_path / "ms" / name).write_text("{}")
    with pytest.raises(InvalidArgumentError, match=rf"^{name} in .* is not the one that belongs to this checkpoint"):
        convert(source, tmp_path / "ms" / "model.ckpt")
    assert [path.name for path in (tmp_path / "ms").iterdir()] == [name]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("stored", ["float16", "bfloat16", "float32"])
def test_weights_come_in_the_type_that_is_asked_for(tmp_path: Path, stored: Any, dtype: str) -> None:
    source = hugging_face(tmp_path / "hf", small(), stored)
    report = convert(source, tmp_path / "ms" / "model.ckpt", dtype=dtype)
    assert list(report.dtypes) == [dtype]
    kept = weights_of(source)["model.layers.1.mlp.down_proj.weight"]
    found = opened(tmp_path / "ms" / "model.ckpt").read_array("model.layers.1.feed_forward.w2.weight")
    np.testing.assert_array_equal(found, converted(kept, stored, dtype))
    assert json.loads((tmp_path / "ms" / "config.json").read_text())["torch_dtype"] == dtype


def test_rounding_of_nan_and_halves() -> None:
    values = np.array([0x7F800001, 0x7FFFFFFF, 0xFFFFFFFF, 0x3F808000, 0x3F818000, 0x7F7FFFFF], np.uint32)
    bits = converted(values.view(np.float32), "float32", "bfloat16")
    assert [hex(value) for value in bits] == ["0x7fc0", "0x7fff", "0xffff", "0x3f80", "0x3f82", "0x7f80"]


def test_numbers_beyond_float16_are_refused_by_name(tmp_path: Path) -> None:
    arrays = mindspore_arrays(small())
    arrays["model.norm_out.weight"][:3] = [70000.0, -1e9, np.inf]
    write_file(tmp_path / "big.ckpt", arrays)
    with pytest.raises(InvalidArgumentError, match=r"model\.norm_out\.weight has 2 numbers beyond 65504.*bfloat16"):
        convert(tmp_path / "big.ckpt", tmp_path / "half.ckpt", dtype="float16")
    assert not (tmp_path / "half.ckpt").exists()
    convert(tmp_path / "big.ckpt", tmp_path / "brain.ckpt", dtype="bfloat16")


def test_shards_of_a_directory_hold_at_most_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversion, "SHARD_BYTES", 150_000)
    source = hugging_face(tmp_path / "hf", UNTIED)
    convert(source, tmp_path / "out")
    shards = sorted(path.name for path in (tmp_path / "out").glob("*.safetensors"))
    count = len(shards)
    assert count > 2
    assert shards == [f"model-{number:05}-of-{count:05}.safetensors" for number in range(1, count + 1)]
    assert all((tmp_path / "out" / shard).stat().st_size < 155_000 for shard in shards)
    index = json.loads((tmp_path / "out" / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == sum(values.nbytes for values in weights_of(source).values())
    assert_equal(weights_of(tmp_path / "out"), weights_of(source))
    assert open_source(tmp_path / "out").config == ModelConfig.from_json(
        {**open_source(source).config.to_json(), "name": "out"}
    )


def test_a_bin_is_a_sound_zip_archive(tmp_path: Path) -> None:
    convert(hugging_face(tmp_path / "hf", small()), tmp_path / "out", file_format="bin")
    with zipfile.ZipFile(tmp_path / "out" / "pytorch_model.bin") as archive:
        assert archive.testzip() is None
        assert {"archive/data.pkl", "archive/byteorder", "archive/version", "archive/data/0"} <= set(archive.namelist())


TRAINING = {
    "scale_sense": np.array(65536.0, np.float32),
    "global_step": np.array([50], np.int32),
    "step_num": np.array(50, np.int64),
}


def training_run(path: Path, config: ModelConfig) -> Path:
    """A checkpoint as MindFormers' Trainer leaves it."""
    weights = mindspore_arrays(config)
    moments = {f"adam_{kind}.{name}": values for kind in "mv" for name, values in weights.items()}
    return write_file(path, weights | TRAINING | moments)


def test_the_state_of_a_training_run_is_left_out_and_named(tmp_path: Path) -> None:
    config = small()
    run = training_run(tmp_path / "run" / "run.ckpt", config)
    shutil.copy(hugging_face(tmp_path / "hf", config) / "config.json", tmp_path / "run")
    report = convert(run, tmp_path / "out")
    assert len(report.left_out) == 2 * len(config.tensor_shapes()) + len(TRAINING)
    assert any("left out" in line and "scale_sense" in line for line in report.lines())
    names = {mindspore_name(name): name for name in config.tensor_shapes()}
    assert len(weights_of(tmp_path / "out")) == len(names)
    source = open_source(run)
    assert [*source.tensor_names()] == [*config.tensor_shapes()]


def test_from_mindspore_to_mindspore_everything_is_kept(tmp_path: Path) -> None:
    run = training_run(tmp_path / "run.ckpt", small())
    convert(run, tmp_path / "same.safetensors")
    assert_equal(arrays_of(tmp_path / "same.safetensors"), arrays_of(run))
    convert(tmp_path / "same.safetensors", tmp_path / "half.ckpt", dtype="float16")
    half = opened(tmp_path / "half.ckpt").tensors
    assert half["model.norm_out.weight"].dtype == "float16"
    assert half["adam_m.model.norm_out.weight"].dtype == "float32"
    assert half["step_num"].dtype == "int64"


def mindformers_yaml(config: ModelConfig, **changes: Any) -> dict[str, Any]:
    section = {
        "type": "LlamaConfig",
        "num_layers": config.layers,
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "num_heads": config.heads,
        "n_kv_heads": config.kv_heads,
        "vocab_size": config.vocab_size,
        "seq_length": config.max_length,
        "rms_norm_eps": "1e-6",
        **changes,
    }
    return {"model": {"model_config": section, "arch": {"type": "LlamaForCausalLM"}}, "seed": 1}


def test_a_mindformers_yaml_describes_the_model(tmp_path: Path) -> None:
    config = small()
    path = write_file(tmp_path / "ms" / "model.ckpt", mindspore_arrays(config))
    with pytest.raises(CheckpointError, match=r"no config\.json and no YAML.*--config"):
        open_source(path)
    (tmp_path / "ms" / "run.yaml").write_text(yaml.safe_dump(mindformers_yaml(config)))
    (tmp_path / "ms" / "other.yaml").write_text("a: [")
    found = open_source(path).config
    assert (found.rms_norm_eps, found.max_length, found.rope) == (1e-6, config.max_length, config.rope)
    convert(path, tmp_path / "out")
    np.testing.assert_array_equal(
        open_source(tmp_path / "out").tensor("layers.1.q_proj"), SyntheticSource(config, 3).tensor("layers.1.q_proj")
    )
    (tmp_path / "ms" / "second.yml").write_text(yaml.safe_dump(mindformers_yaml(config)))
    with pytest.raises(CheckpointError, match=r"2 YAML files with a model_config, run\.yaml, second\.yml"):
        open_source(path)
    assert open_source(path, config=tmp_path / "ms" / "run.yaml").config.layers == config.layers


@pytest.mark.parametrize(
    ("changes", "rope"),
    [
        ({"extend_method": "PI", "scaling_factor": 4.0}, "linear"),
        ({"extend_method": "linear", "scaling_factor": {"factor": 4.0}}, "linear"),
        ({"extend_method": "NTK", "scaling_factor": 2.0}, "default"),
        (
            {
                "extend_method": "LLAMA3",
                "scaling_factor": {
                    "factor": 8.0,
                    "low_freq_factor": 1.0,
                    "high_freq_factor": 4.0,
                    "original_max_position_embeddings": 64,
                },
            },
            "llama3",
        ),
    ],
)
def test_longer_contexts_of_mindformers(tmp_path: Path, changes: dict[str, Any], rope: str) -> None:
    config = small()
    path = write_file(tmp_path / "model.ckpt", mindspore_arrays(config))
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(mindformers_yaml(config, **changes)))
    found = open_source(path).config.rope
    assert found.type == rope
    assert found.theta == (20000.0 if changes["extend_method"] == "NTK" else 10000.0)
    assert found.inverse_frequencies != config.rope.inverse_frequencies


@pytest.mark.parametrize(
    ("changes", "error", "cause"),
    [
        ({"extend_method": "DYNAMIC_NTK"}, UnsupportedError, "extend_method 'DYNAMIC_NTK'"),
        ({"attn_proj_has_bias": True}, UnsupportedError, "attn_proj_has_bias"),
        ({"moe_config": {"expert_num": 8}}, UnsupportedError, "mixtures of experts"),
        ({"type": "DeepseekV3Config"}, UnsupportedError, "DeepseekV3Config"),
        ({"num_layers": "two"}, CheckpointError, "num_layers = two"),
        ({"num_layers": 3}, CheckpointError, "lacks 9 of"),
        ({"hidden_size": 128}, CheckpointError, "has shape"),
    ],
)
def test_a_yaml_that_cannot_be_is_refused_by_its_key(
    tmp_path: Path, changes: dict[str, Any], error: type[Exception], cause: str
) -> None:
    config = small()
    path = write_file(tmp_path / "model.ckpt", mindspore_arrays(config))
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(mindformers_yaml(config, **changes)))
    with pytest.raises(error, match=cause):
        open_source(path, config=tmp_path / "run.yaml")


@pytest.mark.parametrize("biases", [False, True])
def test_concatenated_matrices_are_taken_apart(tmp_path: Path, biases: bool) -> None:
    """As MindFormers' qkv_concat_hf2mg and ffn_concat_hf2mg join them, written out here with reshape."""
    config = small(qkv_bias=biases)
    arrays = mindspore_arrays(config)
    groups, rows = config.kv_heads, config.head_dim
    for layer in range(config.layers):
        prefix = f"model.layers.{layer}."
        for kind in ["weight", "bias"] if biases else ["weight"]:
            parts = [arrays.pop(f"{prefix}attention.{name}.{kind}") for name in ("wq", "wk", "wv")]
            split = [part.reshape(groups, len(part) // groups, -1) for part in parts]
            assert split[1].shape[1] == rows
            joined = np.concatenate(split, axis=1).reshape(sum(map(len, parts)), *parts[0].shape[1:])
            arrays[f"{prefix}attention.w_qkv.{kind}"] = joined
        gate, up = (arrays.pop(f"{prefix}feed_forward.{name}.weight") for name in ("w1", "w3"))
        arrays[f"{prefix}feed_forward.w_gate_hidden.weight"] = np.stack([gate, up], axis=1).reshape(2 * len(gate), -1)
    path = write_file(tmp_path / "model.ckpt", arrays)
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(mindformers_yaml(config, qkv_has_bias=biases)))
    found, expected = open_source(path), SyntheticSource(config, 3)
    assert isinstance(found, FileSource)
    for name in expected.tensor_names():
        np.testing.assert_array_equal(found.tensor(name), expected.tensor(name), err_msg=name)
    np.testing.assert_array_equal(found.rows("layers.0.k_proj", 3, 9), expected.tensor("layers.0.k_proj")[3:9])


def test_names_that_do_not_belong_are_refused_with_the_nearest(tmp_path: Path) -> None:
    arrays = mindspore_arrays(small())
    arrays["model.layers.1.attention.wqq.weight"] = arrays.pop("model.layers.1.attention.wq.weight")
    path = write_file(tmp_path / "model.ckpt", arrays)
    with pytest.raises(CheckpointError, match=r"wqq\.weight does not belong.*model\.layers\.1\.attention\.wq\.weight"):
        convert(path, tmp_path / "out.safetensors")
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(mindformers_yaml(small())))
    with pytest.raises(CheckpointError, match=r"lacks 1 of .*attention\.wq\.weight; it has .*attention\.wqq\.weight"):
        convert(path, tmp_path / "out")


def test_what_a_ckpt_cannot_hold_is_refused_by_name(tmp_path: Path) -> None:
    arrays = mindspore_arrays(small()) | {"learning_rate": np.zeros((0, 3), np.float32)}
    write_file(tmp_path / "model.safetensors", arrays)
    with pytest.raises(UnsupportedError, match=r"learning_rate of shape \[0, 3\] has no elements"):
        convert(tmp_path / "model.safetensors", tmp_path / "out.ckpt")
    convert(tmp_path / "model.safetensors", tmp_path / "out.safetensors")
    assert opened(tmp_path / "out.safetensors").tensors["learning_rate"].shape == (0, 3)


def test_what_is_there_is_replaced_only_when_asked(tmp_path: Path) -> None:
    source = hugging_face(tmp_path / "hf", small())
    for out in (tmp_path / "model.ckpt", tmp_path / "dir"):
        convert(source, out)
        with pytest.raises(InvalidArgumentError, match="is there already; --overwrite"):
            convert(source, out, dtype="float32")
        convert(source, out, dtype="float32", overwrite=True)
    assert opened(tmp_path / "model.ckpt").tensors["lm_head.weight"].dtype == "float32"
    assert opened(tmp_path / "dir" / "model.safetensors").tensors["lm_head.weight"].dtype == "float32"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "dir", "hf", "model.ckpt"]


@pytest.mark.parametrize(
    ("out", "options", "cause"),
    [
        ("a.bin", {}, "is a file; give the name of a directory"),
        ("a.ckpt", {"file_format": "bin"}, "is for a Hugging Face directory"),
        ("a", {"file_format": "gguf"}, "must be one of safetensors, bin"),
        ("a", {"crc": True}, "crc is for a .ckpt"),
        ("a.ckpt", {"dtype": "int8"}, "must be one of float16, bfloat16, float32"),
        ("a.ckpt", {"config": "x.yaml"}, "has its own config.json"),
        ("a.ckpt", {"lora_alpha": -1.0}, "must be a positive number"),
        ("a.ckpt", {"lora_alpha": 8}, r"lora_alpha is for merge_lora \(--merge-lora\)"),
        ("a.CKPT", {}, r"a\.CKPT ends in \.CKPT; write \.ckpt"),
        ("a.SafeTensors", {}, r"write \.safetensors, in lower case"),
        ("a.BIN", {}, r"write \.bin"),
    ],
)
def test_arguments_that_cannot_be_are_refused(tmp_path: Path, out: str, options: dict[str, Any], cause: str) -> None:
    source = hugging_face(tmp_path / "hf", small())
    with pytest.raises(InvalidArgumentError, match=cause):
        convert(source, tmp_path / out, **options)
    assert [path.name for path in tmp_path.iterdir()] == ["hf"]


@pytest.mark.parametrize("out", ["out.ckpt", "out"])
def test_a_tokenizer_that_is_none_is_refused(tmp_path: Path, out: str) -> None:
    source = hugging_face(tmp_path / "hf", small(), tokenizer="sentencepiece")
    for name, cause in (("foo.model", "foo.model does not exist"), ("", "has no tokenizer"), ("text", "text")):
        (tmp_path / "text").write_text("no tokenizer")
        with pytest.raises(CheckpointError, match=cause):
            convert(source, tmp_path / out, tokenizer=tmp_path / name)
    path = GgufBuilder(small()).write(tmp_path / "model.gguf")
    with pytest.raises(SkyworkError, match=r"model\.gguf (is a GGUF file|has no tokenizer)"):
        convert(source, tmp_path / out, tokenizer=path)
    assert not (tmp_path / out).exists()
    assert not (tmp_path / f"{out}.partial").exists()


@pytest.mark.parametrize(
    ("model_type", "cause"),
    [("qwen3", "for which MindFormers"), ("smollm3", "layers without rotary embedding")],
)
def test_models_with_parts_that_mindformers_does_not_have_are_refused(
    tmp_path: Path, model_type: str, cause: str
) -> None:
    source = hugging_face(tmp_path / "hf", family(model_type), model_type=model_type)
    with pytest.raises(UnsupportedError, match=cause):
        convert(source, tmp_path / "model.ckpt")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["hf"]


def test_a_part_that_mindformers_does_not_have_is_refused_by_name() -> None:
    for name in ("layers.3.q_norm", "layers.0.o_bias", "layers.x.q_proj", "something"):
        with pytest.raises(UnsupportedError, match=rf"the part {name}, for which MindFormers"):
            mindspore_name(name)


def test_a_hint_names_the_command_that_ran(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nothing = str(tmp_path / "nothing.ckpt")
    for arguments in (
        ["convert", nothing, str(tmp_path / "out")],
        ["split", nothing, str(tmp_path / "out"), "--model-parallel", "2"],
        ["export", nothing, str(tmp_path / "out")],
    ):
        assert cli(arguments) == 1
        hint = capsys.readouterr().err.splitlines()[-1]
        assert hint == f"hint: 'skywork-rt {arguments[0]} --help' lists what is supported"


def test_an_export_of_a_ckpt_is_that_of_its_directory(tmp_path: Path) -> None:
    source = hugging_face(tmp_path / "hf", small(), tokenizer="sentencepiece")
    convert(source, tmp_path / "ms" / "model.ckpt")
    for path, name in ((source, "a"), (tmp_path / "ms" / "model.ckpt", "b")):
        export(path, tmp_path / name, targets=["native"], weights=["int8"])
    for file in ("weights-int8.safetensors", "vocab.bin", "tokenizer.model"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    body = json.loads((tmp_path / "b" / "model.json").read_text())
    assert body["source"]["kind"] == "mindspore"
    assert len(body["source"]["sha256"]) == 64


def test_an_export_takes_configuration_and_tokenizer_from_elsewhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = hugging_face(tmp_path / "hf", small(), tokenizer="sentencepiece")
    path = write_file(tmp_path / "ms" / "model.ckpt", mindspore_arrays(small()))
    options = ["--config", str(source), "--tokenizer", str(source / "tokenizer.model")]
    assert cli(["export", str(path), str(tmp_path / "out"), "--for", "native", "--weights", "int8", *options]) == 0
    assert (tmp_path / "out" / "tokenizer.model").read_bytes() == (source / "tokenizer.model").read_bytes()
    assert cli(["export", str(source), str(tmp_path / "other"), "--config", str(source)]) == 2
    assert "config and tokenizer are for a checkpoint of MindSpore" in capsys.readouterr().err


def test_the_command_says_what_it_did(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = hugging_face(tmp_path / "hf", small())
    assert cli(["convert", str(source), str(tmp_path / "m.ckpt"), "--dtype", "float16", "--crc"]) == 0
    out = capsys.readouterr().out
    assert "21 tensors" in out
    assert "float16" in out
    assert "peak memory" in out
    assert cli(["convert", str(source), str(tmp_path / "m.ckpt")]) == 2
    assert cli(["convert", str(tmp_path / "m.ckpt"), str(tmp_path / "back"), "--format", "bin"]) == 0
    content = bytearray((tmp_path / "m.ckpt").read_bytes())
    content[5000] ^= 1
    (tmp_path / "m.ckpt").write_bytes(content)
    assert cli(["convert", str(tmp_path / "m.ckpt"), str(tmp_path / "again")]) == 1
    assert "its CRC is" in capsys.readouterr().err


def test_neither_mindspore_nor_its_libraries_are_imported(tmp_path: Path) -> None:
    source = hugging_face(tmp_path / "hf", small(), tokenizer="sentencepiece")
    code = (
        "import sys; from skywork_rt.convert import convert, merge, split, Parallelism\n"
        f"convert({str(source)!r}, {str(tmp_path / 'm.ckpt')!r})\n"
        f"convert({str(tmp_path / 'm.ckpt')!r}, {str(tmp_path / 'back')!r})\n"
        "print([name for name in ('mindspore', 'mindformers', 'torch', 'transformers') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


# Low-rank updates


def with_updates(config: ModelConfig, rank: int = 2) -> tuple[dict[str, Any], dict[str, Any]]:
    """Weights under MindFormers' names, and updates of two of them."""
    draw = np.random.default_rng(7)
    weights, updates = mindspore_arrays(config), {}
    for name in ("model.layers.0.attention.wq", "model.layers.1.feed_forward.w2"):
        rows, columns = weights[f"{name}.weight"].shape
        updates[f"{name}.mindpet_delta_lora_a"] = draw.standard_normal((rank, columns)).astype(np.float32)
        updates[f"{name}.mindpet_delta_lora_b"] = draw.standard_normal((rows, rank)).astype(np.float32)
    return weights, updates


def expected_sum(weights: dict[str, Any], updates: dict[str, Any], name: str, scaling: float) -> Any:
    product = updates[f"{name}.mindpet_delta_lora_b"] @ updates[f"{name}.mindpet_delta_lora_a"]
    return weights[f"{name}.weight"] + np.float32(scaling) * product


def test_updates_are_added_and_gone(tmp_path: Path) -> None:
    weights, updates = with_updates(small())
    both = write_file(tmp_path / "both.ckpt", weights | updates | TRAINING)
    report = convert(both, tmp_path / "merged.ckpt", merge_lora=both, lora_alpha=8)
    merged = arrays_of(tmp_path / "merged.ckpt")
    assert sorted(merged) == sorted(weights)
    assert report.merged == 2
    assert sorted(report.left_out) == sorted(TRAINING)
    for name in ("model.layers.0.attention.wq", "model.layers.1.feed_forward.w2"):
        np.testing.assert_allclose(
            merged[f"{name}.weight"], expected_sum(weights, updates, name, 4.0), rtol=1e-6, atol=1e-6
        )
    np.testing.assert_array_equal(merged["lm_head.weight"], weights["lm_head.weight"])


def test_updates_of_a_file_of_their_own_go_into_a_hugging_face_directory(tmp_path: Path) -> None:
    config = small()
    source = hugging_face(tmp_path / "hf", config, "float32")
    weights, updates = with_updates(config)
    lora = write_file(tmp_path / "lora" / "lora.ckpt", updates)
    report = convert(source, tmp_path / "out", merge_lora=lora, lora_alpha=8, dtype="float16")
    assert report.merged == 2
    found = weights_of(tmp_path / "out")["model.layers.1.mlp.down_proj.weight"]
    total = expected_sum(weights, updates, "model.layers.1.feed_forward.w2", 4.0)
    assert found.dtype == np.float16
    assert np.abs(found.astype(np.float32) - total).max() <= np.abs(total).max() * 2**-11


def test_alpha_comes_from_the_yaml(tmp_path: Path) -> None:
    config = small()
    weights, updates = with_updates(config)
    both = write_file(tmp_path / "ms" / "both.ckpt", weights | updates)
    with pytest.raises(CheckpointError, match="--lora-alpha"):
        convert(both, tmp_path / "merged.ckpt", merge_lora=both)
    body = mindformers_yaml(config, pet_config={"pet_type": "lora", "lora_rank": 2, "lora_alpha": 8})
    (tmp_path / "ms" / "run.yaml").write_text(yaml.safe_dump(body))
    convert(both, tmp_path / "out", merge_lora=both)
    found = weights_of(tmp_path / "out")["model.layers.0.self_attn.q_proj.weight"]
    total = expected_sum(weights, updates, "model.layers.0.attention.wq", 4.0)
    np.testing.assert_allclose(found, total, rtol=1e-6, atol=1e-6)


def trained_with_updates(run: Path, config: ModelConfig) -> tuple[Path, Path]:
    """What a training with pet_config saves: its whole state, and its updates alone."""
    weights, updates = with_updates(config)
    moments = {f"adam_{kind}.{name}": values for kind in "mv" for name, values in updates.items()}
    whole = write_file(run / "checkpoint" / "rank_0" / "run-1_5.ckpt", weights | updates | moments | TRAINING)
    alone = write_file(run / "checkpoint_trainable" / "rank_0" / "run-1_5.ckpt", updates)
    body = mindformers_yaml(config, pet_config={"pet_type": "lora", "lora_rank": 2, "lora_alpha": 8})
    (whole.parent / "model.yaml").write_text(yaml.safe_dump(body))
    return whole, alone


@pytest.mark.parametrize("given", ["whole", "alone", "directory"])
def test_updates_of_a_training_are_merged_past_its_state(tmp_path: Path, given: str) -> None:
    config = small()
    whole, alone = trained_with_updates(tmp_path / "run", config)
    lora = {"whole": whole, "alone": alone, "directory": whole.parent}[given]
    report = convert(whole, tmp_path / "out" / "merged.ckpt", merge_lora=lora)
    assert report.merged == 2
    assert len(report.left_out) == 8 + len(TRAINING)
    found, (weights, updates) = open_source(tmp_path / "out" / "merged.ckpt"), with_updates(config)
    total = expected_sum(weights, updates, "model.layers.0.attention.wq", 4.0)
    np.testing.assert_allclose(found.tensor("layers.0.q_proj"), total, rtol=1e-6, atol=1e-6)
    with pytest.raises(CheckpointError, match="4 tensors of low-rank updates"):
        open_source(whole)


def test_updates_alone_find_their_alpha_beside_the_whole_checkpoint(tmp_path: Path) -> None:
    config = small()
    base = hugging_face(tmp_path / "hf", config, "float32")
    whole, alone = trained_with_updates(tmp_path / "run", config)
    assert convert(base, tmp_path / "out", merge_lora=alone).merged == 2
    assert convert(base, tmp_path / "two", merge_lora=alone, config=whole.parent / "model.yaml").merged == 2
    assert_equal(weights_of(tmp_path / "two"), weights_of(tmp_path / "out"))
    body = mindformers_yaml(config, pet_config={"pet_type": "lora", "lora_rank": 3, "lora_alpha": 8})
    (whole.parent / "model.yaml").write_text(yaml.safe_dump(body))
    with pytest.raises(CheckpointError, match=r"is of rank 2, but pet_config says lora_rank 3.*--lora-alpha"):
        convert(base, tmp_path / "three", merge_lora=alone)
    (whole.parent / "model.yaml").unlink()
    with pytest.raises(CheckpointError, match="--lora-alpha"):
        convert(base, tmp_path / "three", merge_lora=alone)


def test_updates_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    weights, updates = with_updates(small())
    plain = write_file(tmp_path / "plain.ckpt", weights)
    with pytest.raises(CheckpointError, match="has no low-rank updates"):
        convert(plain, tmp_path / "out.ckpt", merge_lora=plain, lora_alpha=8)
    both = write_file(tmp_path / "both.ckpt", weights | updates)
    with pytest.raises(CheckpointError, match="merged with convert --merge-lora"):
        convert(both, tmp_path / "out.ckpt")
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(mindformers_yaml(small())))
    with pytest.raises(CheckpointError, match=r"4 tensors of low-rank updates.*--merge-lora"):
        open_source(both)
    name = "model.layers.0.attention.wq.mindpet_delta_lora_a"
    alone = write_file(tmp_path / "alone.ckpt", {name: updates[name]})
    with pytest.raises(CheckpointError, match="one factor"):
        convert(plain, tmp_path / "out.ckpt", merge_lora=alone, lora_alpha=8)
    wrong = write_file(tmp_path / "wrong.ckpt", updates | {name: updates[name][:, 1:]})
    with pytest.raises(CheckpointError, match="which does not fit"):
        convert(plain, tmp_path / "out.ckpt", merge_lora=wrong, lora_alpha=8)
    other = {key.replace("layers.0", "layers.9"): values for key, values in updates.items()}
    with pytest.raises(CheckpointError, match=r"no weight model\.layers\.9\.attention\.wq\.weight"):
        convert(plain, tmp_path / "out.ckpt", merge_lora=write_file(tmp_path / "o.ckpt", other), lora_alpha=8)
    assert not (tmp_path / "out.ckpt").exists()


def test_a_gguf_file_is_refused_with_what_reads_it(tmp_path: Path) -> None:
    path = GgufBuilder(small()).write(tmp_path / "model.gguf")
    with pytest.raises(UnsupportedError, match=r"gguf checkpoint, which is not converted.*'skywork-rt export'"):
        convert(path, tmp_path / "out.ckpt")


def test_hugging_faces_safetensors_alone_is_refused_with_its_directory(tmp_path: Path) -> None:
    source = hugging_face(tmp_path / "hf", small())
    for use in (lambda path: convert(path, tmp_path / "out.ckpt"), open_source):
        with pytest.raises(CheckpointError, match=r"Hugging Face's names: give (its|the) directory"):
            use(source / "model.safetensors")


def test_a_directory_with_one_ckpt_stands_for_it(tmp_path: Path) -> None:
    convert(hugging_face(tmp_path / "hf", small()), tmp_path / "ms" / "model.ckpt")
    assert open_source(tmp_path / "ms").kind == "mindspore"
    convert(tmp_path / "ms", tmp_path / "back")
    convert(tmp_path / "ms" / "model.ckpt", tmp_path / "ms" / "second.ckpt")
    (tmp_path / "ms" / "config.json").unlink()
    with pytest.raises(CheckpointError, match="2 checkpoints of MindSpore"):
        open_source(tmp_path / "ms")


def test_a_tokenizer_under_another_name_goes_alone_under_the_usual_one(tmp_path: Path) -> None:
    config = small()
    source = hugging_face(tmp_path / "hf", config, tokenizer="sentencepiece")
    path = write_file(tmp_path / "ms" / "model.ckpt", mindspore_arrays(config))
    (source / "tokenizer.model").rename(source / "zh.model")
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(mindformers_yaml(config)))
    options = {"config": tmp_path / "run.yaml", "tokenizer": source / "zh.model"}
    convert(path, tmp_path / "out", **options)
    assert (tmp_path / "out" / "tokenizer.model").read_bytes() == (source / "zh.model").read_bytes()
    assert not (tmp_path / "out" / "tokenizer_config.json").exists()
    tokenizer = open_source(path, **options).tokenizer()
    assert tokenizer is not None
    assert tokenizer.prefix_ids == (1,)
    with pytest.raises(CheckpointError, match="nothing does not exist"):
        open_source(path, config=tmp_path / "run.yaml", tokenizer=tmp_path / "nothing")
