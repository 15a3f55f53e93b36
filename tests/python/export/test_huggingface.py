"""Hugging Face directories: every family, layout and dtype read; what the runtime has no part for refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from checkpoints import SEED, edit_json, family, small, write_hf

from skywork_rt.checkpoints.open import open_source
from skywork_rt.checkpoints.synthetic.huggingface_directory import DType, HuggingFaceType
from skywork_rt.checkpoints.synthetic.source import SyntheticSource
from skywork_rt.errors import CheckpointError, InvalidArgumentError, SkyworkError, UnsupportedError


@pytest.mark.parametrize("model_type", get_args(HuggingFaceType))
@pytest.mark.parametrize("layout", ["safetensors", "bin"])
@pytest.mark.parametrize("shards", [1, 3])
def test_every_family_and_layout_gives_its_weights_back(
    tmp_path: Path, model_type: HuggingFaceType, layout: str, shards: int
) -> None:
    config = family(model_type)
    directory = write_hf(tmp_path / "model", config=config, model_type=model_type, layout=layout, shards=shards)
    source, expected = open_source(directory), SyntheticSource(config, SEED)
    assert source.config == family(model_type, name="model")
    assert list(source.tensor_names()) == list(expected.tensor_names())
    for name in expected.tensor_names():
        np.testing.assert_array_equal(source.tensor(name), expected.tensor(name))
    np.testing.assert_array_equal(source.rows("lm_head", 5, 9), expected.tensor("lm_head")[5:9])
    assert source.raw("lm_head") is None


@pytest.mark.parametrize("dtype", get_args(DType))
@pytest.mark.parametrize("layout", ["safetensors", "bin"])
def test_smaller_types_are_widened_exactly(tmp_path: Path, dtype: DType, layout: str) -> None:
    directory = write_hf(tmp_path / "model", dtype=dtype, layout=layout)
    found = open_source(directory).tensor("layers.0.q_proj")
    exact = SyntheticSource(small(tied_embeddings=False), SEED).tensor("layers.0.q_proj")
    bits = {"float32": 24, "float16": 11, "bfloat16": 8}[dtype]
    assert found.dtype == np.float32
    assert np.abs(found - exact).max() <= np.abs(exact).max() * 2.0**-bits
    if dtype == "float16":
        np.testing.assert_array_equal(found, exact.astype(np.float16).astype(np.float32))
    if dtype == "bfloat16":
        assert not (found.view(np.uint32) & 0xFFFF).any()


@pytest.mark.parametrize("layout", ["safetensors", "bin"])
def test_numbered_shards_are_found_without_an_index(tmp_path: Path, layout: str) -> None:
    directory = write_hf(tmp_path / "model", layout=layout, shards=3)
    next(directory.glob("*.index.json")).unlink()
    assert open_source(directory).tensor("norm").shape == (64,)
    next(directory.glob("*-00002-of-*")).unlink()
    with pytest.raises(CheckpointError, match="shards 2 are missing beside"):
        open_source(directory)


@pytest.mark.parametrize(
    ("weight_map", "message"),
    [
        ({"norm": "../outside.safetensors"}, "puts tensor norm into '../outside.safetensors', which is no plain file"),
        ({"norm": "/etc/passwd"}, "no plain file name"),
        ({"norm": "a\\b"}, "no plain file name"),
        ({"norm": ".."}, "no plain file name"),
        ({"norm": 7}, "no plain file name"),
        ({"norm": "absent.safetensors"}, "names the shard absent.safetensors, which is not in the directory"),
        ({"norm": "model-00001-of-00002.safetensors"}, "says that model-00001-of-00002.safetensors holds tensor norm"),
        ({}, "has no weight_map"),
        ([], "has no weight_map"),
    ],
)
def test_an_index_that_lies_is_refused(tmp_path: Path, weight_map: Any, message: str) -> None:
    directory = write_hf(tmp_path / "model", shards=2)
    (directory / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(CheckpointError, match=message):
        open_source(directory)


def test_a_tensor_in_two_shards_is_refused(tmp_path: Path) -> None:
    directory = write_hf(tmp_path / "model", shards=2)
    (directory / "model.safetensors.index.json").unlink()
    first = directory / "model-00001-of-00002.safetensors"
    (directory / "model-00002-of-00002.safetensors").write_bytes(first.read_bytes())
    with pytest.raises(CheckpointError, match=r"is in both model-00001-of-00002.safetensors and model-00002"):
        open_source(directory)


REFUSALS: dict[str, tuple[dict[str, Any], type[SkyworkError], str]] = {
    "gemma": (
        {"model_type": "gemma"},
        UnsupportedError,
        "model_type 'gemma' is not supported; known are llama, mis.*1 \\+ weight.*no conversion makes a Llama of it",
    ),
    "phi3": ({"model_type": "phi3"}, UnsupportedError, "'phi3' is not supported.*converted to LlamaForCausalLM"),
    "qwen2 moe": (
        {"model_type": "qwen2_moe"},
        UnsupportedError,
        "'qwen2_moe' is not.*mixture of experts; take a dense",
    ),
    "unheard of": ({"model_type": "abc"}, UnsupportedError, "'abc' is not supported; known are [a-z0-9, ]*$"),
    "no model_type": ({"model_type": None}, UnsupportedError, "model_type None"),
    "classifier": (
        {"architectures": ["LlamaForSequenceClassification"]},
        UnsupportedError,
        "LlamaForSequenceClassification.* expected LlamaForCausalLM",
    ),
    "no biases": ({"attention_bias": True}, CheckpointError, "lacks 8 of 29 tensors .*q_proj.bias"),
    "no mlp biases": ({"mlp_bias": True}, CheckpointError, "lacks 6 of 27 tensors .*gate_proj.bias"),
    "bias is text": ({"attention_bias": "yes"}, CheckpointError, "attention_bias = 'yes'; expected true or false"),
    "norms are missing": (
        {"model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"]},
        CheckpointError,
        "lacks 4 of 25 tensors .*q_norm.weight",
    ),
    "short list of layers": (
        {"model_type": "smollm3", "architectures": ["SmolLM3ForCausalLM"], "no_rope_layers": [1]},
        CheckpointError,
        r"no_rope_layers = \[1\]; expected 0 or 1 for each of 2 layers",
    ),
    "odd list of layers": (
        {"model_type": "smollm3", "architectures": ["SmolLM3ForCausalLM"], "no_rope_layers": [1, 2]},
        CheckpointError,
        "expected 0 or 1 for each of 2 layers",
    ),
    "layers of another type": (
        {"model_type": "ministral", "architectures": ["MinistralForCausalLM"], "layer_types": ["linear", "linear"]},
        UnsupportedError,
        "layers of type 'linear', which are not supported",
    ),
    "too few layer types": (
        {"model_type": "ministral", "architectures": ["MinistralForCausalLM"], "layer_types": ["full_attention"]},
        CheckpointError,
        "expected a name for each of 2",
    ),
    "max_window_layers is text": (
        {
            "model_type": "qwen2",
            "architectures": ["Qwen2ForCausalLM"],
            "use_sliding_window": True,
            "max_window_layers": "all",
        },
        CheckpointError,
        "max_window_layers = 'all'; expected a whole number of at least 0",
    ),
    "gelu": ({"hidden_act": "gelu"}, UnsupportedError, "hidden_act 'gelu'"),
    "softcap": ({"final_logit_softcapping": 30.0}, UnsupportedError, "final_logit_softcapping = 30.0"),
    "attention softcap": ({"attn_logit_softcapping": 50.0}, UnsupportedError, "attn_logit_softcapping"),
    "partial rotary": ({"partial_rotary_factor": 0.5}, UnsupportedError, "partial_rotary_factor = 0.5"),
    "experts": ({"num_local_experts": 8}, UnsupportedError, "num_local_experts = 8"),
    "skywork moe": (
        {"model_type": "skywork", "architectures": ["SkyworkForCausalLM"], "num_experts": [16]},
        UnsupportedError,
        "num_experts",
    ),
    "moe option": ({"moe_use_skywork_gating": True}, UnsupportedError, "moe_use_skywork_gating: mixtures of experts"),
    "gptq": ({"quantization_config": {"quant_method": "gptq"}}, UnsupportedError, "quantization_config.*unquantised"),
    "longrope": ({"rope_scaling": {"type": "longrope", "factor": 2.0}}, CheckpointError, "'longrope' lacks 'long_f"),
    "mrope": ({"rope_scaling": {"type": "mrope"}}, UnsupportedError, "'mrope' is not supported; known are default, "),
    "endless rope": ({"rope_scaling": {"type": "linear", "factor": 1e20}}, CheckpointError, "max_length is 10995116"),
    "factor beyond float32": (
        {"rope_scaling": {"type": "linear", "factor": 1e300}},
        CheckpointError,
        r"factor = 1e\+300; it must be a positive",
    ),
    "layered rope": (
        {"rope_parameters": {"full_attention": {"rope_type": "default"}}},
        UnsupportedError,
        "differ between kinds of layers",
    ),
    "rope is text": ({"rope_scaling": "linear"}, CheckpointError, "rope scaling is 'linear'"),
    "no layers": ({"num_hidden_layers": None}, CheckpointError, "lacks num_hidden_layers"),
    "text layers": ({"num_hidden_layers": "2"}, CheckpointError, "num_hidden_layers = '2'"),
    "bool heads": ({"num_attention_heads": True}, CheckpointError, "num_attention_heads = True"),
    "odd heads": ({"num_attention_heads": 3, "head_dim": None}, CheckpointError, "64 is not a multiple of 3"),
    "eps": ({"rms_norm_eps": -1.0}, CheckpointError, "rms_norm_eps = -1.0"),
    "theta": ({"rope_theta": 0}, CheckpointError, "rope_theta = 0"),
    "eos outside": ({"eos_token_id": [2, 600]}, CheckpointError, "eos id 600 is outside the vocabulary of 512"),
    "eos text": ({"eos_token_id": "2"}, CheckpointError, "eos_token_id is '2'"),
    "more layers": ({"num_hidden_layers": 3}, CheckpointError, "lacks 9 of 30 tensors .*layers.2"),
    "fewer layers": ({"num_hidden_layers": 1}, CheckpointError, "9 tensors that do not belong .*layers.1"),
    "other width": (
        {"intermediate_size": 128},
        CheckpointError,
        r"gate_proj.weight has shape \[160, 64\]; its configuration asks for \[128, 64\]",
    ),
    "qwen2 without biases": (
        {"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"]},
        CheckpointError,
        "lacks 6 of 27 tensors .*q_proj.bias",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_what_cannot_be_run_is_refused_by_name(tmp_path: Path, case: str) -> None:
    changes, error, message = REFUSALS[case]
    directory = write_hf(tmp_path / "model")
    edit_json(directory / "config.json", **changes)
    with pytest.raises(error, match=message):
        open_source(directory)


def test_remote_code_of_a_skywork_directory_is_never_run(tmp_path: Path) -> None:
    directory = write_hf(tmp_path / "model", model_type="skywork")
    evidence = tmp_path / "ran"
    for name in ("modeling_skywork.py", "configuration_skywork.py", "tokenization_skywork.py", "__init__.py"):
        (directory / name).write_text(f"open({str(evidence)!r}, 'w').close()\n")
    assert json.loads((directory / "config.json").read_text())["auto_map"]
    assert open_source(directory).tensor("norm").shape == (64,)
    assert not evidence.exists()


@pytest.mark.parametrize(
    ("changes", "generation", "expected"),
    [
        ({}, None, (2,)),
        ({"eos_token_id": [2, 7, 2]}, None, (2, 7)),
        ({}, {"eos_token_id": [9, 2]}, (9, 2)),
        ({}, {"eos_token_id": 9}, (9, 2)),
        ({}, {"temperature": 0.6}, (2,)),
        ({"eos_token_id": None}, None, ()),
    ],
)
def test_end_ids_are_those_of_generation_config_and_of_config(
    tmp_path: Path, changes: dict[str, Any], generation: dict[str, Any] | None, expected: tuple[int, ...]
) -> None:
    directory = write_hf(tmp_path / "model")
    edit_json(directory / "config.json", **changes)
    if generation is not None:
        (directory / "generation_config.json").write_text(json.dumps(generation))
    source = open_source(directory)
    assert source.config.eos_ids == expected
    assert source.generation_config() == generation


def test_a_negative_pad_id_means_none(tmp_path: Path) -> None:
    directory = write_hf(tmp_path / "model")
    edit_json(directory / "config.json", pad_token_id=-1)
    assert open_source(directory).config.pad_id is None


@pytest.mark.parametrize(
    ("scaling", "kind"),
    [
        ({"type": "linear", "factor": 2.0}, "linear"),
        ({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}, "yarn"),
        ({"rope_type": "default"}, "default"),
        (
            {
                "rope_type": "llama3",
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 64,
            },
            "llama3",
        ),
    ],
)
def test_rope_scaling_in_old_and_new_spelling(tmp_path: Path, scaling: dict[str, Any], kind: str) -> None:
    old = open_source(write_hf(tmp_path / "old", rope_scaling=scaling)).config.rope
    directory = write_hf(tmp_path / "new")
    edit_json(
        directory / "config.json",
        rope_scaling=None,
        rope_theta=None,
        rope_parameters={**scaling, "rope_theta": 10000.0},
    )
    assert old == open_source(directory).config.rope
    assert old.type == kind


@pytest.mark.parametrize(
    ("scaling", "length"),
    [
        ({"type": "linear", "factor": 4.0}, 1024),
        ({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 256}, 1024),
        ({"rope_type": "yarn", "factor": 2.0}, 512),
        ({"rope_type": "longrope", "factor": 8.0, "original_max_position_embeddings": 64,
          "short_factor": [1.0] * 8, "long_factor": [2.0] * 8}, 512),
    ],
)  # fmt: skip
def test_scaling_goes_past_max_position_embeddings(tmp_path: Path, scaling: dict[str, Any], length: int) -> None:
    directory = write_hf(tmp_path / "model", rope_scaling=scaling)
    assert open_source(directory).config.max_length == length
    assert open_source(directory, length).config.max_length == length
    with pytest.raises(
        InvalidArgumentError, match=f"{length + 1} is more than {length}, the length that the model was"
    ):
        open_source(directory, length + 1)


def test_longropes_factors_are_chosen_by_the_length_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    scaling = {"rope_type": "longrope", "short_factor": [1.0] * 8, "long_factor": [2.0] * 8}
    directory = write_hf(tmp_path / "model", rope_scaling=scaling)
    edit_json(directory / "config.json", original_max_position_embeddings=64)
    plain = np.array(small().rope.inverse_frequencies, np.float32)
    np.testing.assert_array_equal(open_source(directory, 64).config.rope.inverse_frequencies, plain)
    assert not caplog.text
    np.testing.assert_array_equal(open_source(directory).config.rope.inverse_frequencies, plain / 2)
    assert (
        "longrope's factors for long texts, as its max_length 256 is over the original 64; --max-length 64"
        in caplog.text
    )


@pytest.mark.parametrize("model_type", ["llama", "qwen3", "smollm3"])
def test_attention_bias_is_on_the_output_too(tmp_path: Path, model_type: HuggingFaceType) -> None:
    biases = {"qkv_bias": True, "output_bias": True, "mlp_bias": model_type != "qwen3"}
    config = family(model_type, name="model", **biases)
    source = open_source(write_hf(tmp_path / "model", config=config, model_type=model_type))
    assert source.config == config
    expected = SyntheticSource(config, SEED)
    for name in ("layers.1.o_bias", *(["layers.0.gate_bias", "layers.1.down_bias"] if config.mlp_bias else [])):
        np.testing.assert_array_equal(source.tensor(name), expected.tensor(name))


def test_what_smollm3_and_qwen3_leave_out_is_what_transformers_takes(tmp_path: Path) -> None:
    config = family("smollm3", layers=9, layers_without_rope=(3, 7), kv_heads=4, tied_embeddings=True)
    directory = write_hf(tmp_path / "smollm3", config=config, model_type="smollm3")
    for key in ("no_rope_layers", "num_key_value_heads", "rope_theta", "tie_word_embeddings", "attention_bias"):
        edit_json(directory / "config.json", **{key: None})
    found = open_source(directory).config
    assert (found.layers_without_rope, found.kv_heads, found.tied_embeddings) == ((3, 7), 4, True)
    assert found.rope.theta == 2e6
    edit_json(directory / "config.json", no_rope_layer_interval=3)
    assert open_source(directory).config.layers_without_rope == (2, 5, 8)
    edit_json(directory / "config.json", no_rope_layers=[1, 0, 1, 1, 1, 1, 1, 1, 1])
    assert open_source(directory).config.layers_without_rope == (1,)
    qwen3 = write_hf(tmp_path / "qwen3", config=family("qwen3", head_dim=128), model_type="qwen3")
    edit_json(qwen3 / "config.json", head_dim=None)
    assert open_source(qwen3).config.head_dim == 128


def test_mistral_without_key_value_heads_has_8_and_with_null_as_many_as_heads(tmp_path: Path) -> None:
    directory = write_hf(
        tmp_path / "a", config=family("mistral", heads=8, kv_heads=8, head_dim=8), model_type="mistral"
    )
    edit_json(directory / "config.json", num_key_value_heads=None)
    assert open_source(directory).config.kv_heads == 8
    directory = write_hf(tmp_path / "b", config=family("mistral", kv_heads=4), model_type="mistral")
    body = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps(body | {"num_key_value_heads": None}))
    assert open_source(directory).config.kv_heads == 4


def test_dynamic_scaling_holds_the_length_to_the_original(tmp_path: Path) -> None:
    directory = write_hf(tmp_path / "model", rope_scaling={"type": "dynamic", "factor": 4.0})
    config = open_source(directory).config
    assert (config.max_length, config.rope.inverse_frequencies) == (256, small().rope.inverse_frequencies)
    with pytest.raises(InvalidArgumentError, match="257 is more than 256"):
        open_source(directory, 257)


@pytest.mark.parametrize(
    ("model_type", "changes", "length"),
    [
        ("mistral", {"sliding_window": 100}, 100),
        ("mistral", {}, 256),
        ("qwen2", {"sliding_window": 100, "use_sliding_window": False}, 256),
        ("qwen2", {"sliding_window": 100, "use_sliding_window": True, "max_window_layers": 1}, 100),
        ("qwen2", {"sliding_window": 100, "use_sliding_window": True, "max_window_layers": 2}, 256),
        ("qwen3", {"sliding_window": 100, "use_sliding_window": True, "max_window_layers": 0}, 100),
        ("qwen3", {"sliding_window": 100, "use_sliding_window": True, "layer_types": ["full_attention"] * 2}, 256),
        ("ministral", {"sliding_window": 100}, 100),
        ("ministral", {"sliding_window": 100, "layer_types": ["full_attention", "sliding_attention"]}, 100),
        ("ministral", {"sliding_window": 100, "layer_types": ["full_attention"] * 2}, 256),
        ("smollm3", {"sliding_window": 100}, 256),
        ("smollm3", {"sliding_window": 100, "use_sliding_window": True}, 100),
        ("smollm3", {"sliding_window": 100, "use_sliding_window": True, "no_rope_layers": [1] * 4}, 256),
    ],
)
def test_a_sliding_window_limits_the_length(
    tmp_path: Path, model_type: HuggingFaceType, changes: dict[str, Any], length: int, caplog: pytest.LogCaptureFixture
) -> None:
    directory = write_hf(tmp_path / "model", config=family(model_type), model_type=model_type)
    edit_json(directory / "config.json", **changes)
    assert open_source(directory).config.max_length == length
    assert ("its sliding window, instead of 256" in caplog.text) == (length == 100)
    with pytest.raises(InvalidArgumentError, match=f"{length + 1} is more than {length}"):
        open_source(directory, length + 1)


def test_an_old_mistral_without_the_key_has_its_window_of_4096(tmp_path: Path) -> None:
    directory = write_hf(
        tmp_path / "model", config=small(max_length=32768, tied_embeddings=False), model_type="mistral"
    )
    body = json.loads((directory / "config.json").read_text())
    del body["sliding_window"]
    (directory / "config.json").write_text(json.dumps(body))
    assert open_source(directory).config.max_length == 4096


def test_a_stored_copy_of_a_tied_head_and_old_frequencies_are_passed_over(tmp_path: Path) -> None:
    directory = write_hf(tmp_path / "model")
    edit_json(directory / "config.json", tie_word_embeddings=True)
    source = open_source(directory)
    assert source.config.tied_embeddings
    assert "lm_head" not in source.tensor_names()


def test_an_empty_directory_and_a_missing_path_say_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"has no config.json: a Hugging Face directory has one"):
        open_source(tmp_path)
    with pytest.raises(CheckpointError, match=r"does not exist; give a .gguf file, a directory"):
        open_source(tmp_path / "nothing")
    directory = write_hf(tmp_path / "model")
    (directory / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"model has no weights: none of model.safetensors"):
        open_source(directory)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "config.json is not JSON: .* line 1 column 2"),
        (b"[]", "holds a JSON list"),
        (b"\xff{}", "not UTF-8: byte 0 is 0xff"),
        (b'{"a":' * 100_000, "not usable JSON|not JSON"),
    ],
)
def test_a_broken_config_is_located(tmp_path: Path, content: bytes, message: str) -> None:
    directory = write_hf(tmp_path / "model")
    (directory / "config.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        open_source(directory)
