"""GGUF files: a real one against the gguf package, random ones against their own weights, damaged ones refused."""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from checkpoints import SEED, GgufBuilder, family, small
from gguf.quants import dequantize

from skywork_rt.checkpoints.gguf.source import ARCHITECTURES, GgufSource, gguf_name
from skywork_rt.checkpoints.model import RopeConfig
from skywork_rt.checkpoints.open import open_source
from skywork_rt.checkpoints.synthetic.source import SyntheticSource
from skywork_rt.errors import CheckpointError, InvalidArgumentError, SkyworkError, UnsupportedError

Q = gguf.GGMLQuantizationType


def half_split(rows: np.ndarray[Any, Any], heads: int) -> np.ndarray[Any, Any]:
    """The published inverse of the converter's permutation, written as its definition."""
    return rows.reshape(heads, rows.shape[0] // heads // 2, 2, -1).swapaxes(1, 2).reshape(rows.shape)


def test_smollm2_has_its_published_shape(smollm2_file: Path) -> None:
    config = open_source(smollm2_file).config
    assert (config.layers, config.hidden_size, config.intermediate_size) == (30, 576, 1536)
    assert (config.heads, config.kv_heads, config.head_dim) == (9, 3, 64)
    assert (config.vocab_size, config.max_length, config.rms_norm_eps) == (49152, 8192, 1e-5)
    assert (config.bos_id, config.pad_id, config.eos_ids) == (1, 2, (2, 0, 4))
    assert config.tied_embeddings
    assert not config.qkv_bias
    assert (config.name, config.rope.theta) == ("SmolLM2-135M-Instruct", 1e5)


@pytest.mark.slow
def test_smollm2_weights_equal_the_gguf_package_reading(smollm2_file: Path) -> None:
    source = open_source(smollm2_file)
    theirs = {tensor.name: tensor for tensor in gguf.GGUFReader(smollm2_file).tensors}
    for name in (
        "embed_tokens",
        "norm",
        "layers.0.q_proj",
        "layers.7.k_proj",
        "layers.29.v_proj",
        "layers.3.down_proj",
    ):
        expected = dequantize(theirs[gguf_name(name)].data, theirs[gguf_name(name)].tensor_type)
        if name.endswith(("q_proj", "k_proj")):
            expected = half_split(expected, 9 if name.endswith("q_proj") else 3)
        found = source.tensor(name)
        assert found.dtype == np.float32
        assert found.flags.c_contiguous
        np.testing.assert_array_equal(found, expected)


def test_smollm2_raw_blocks_dequantise_to_its_tensors(smollm2_file: Path) -> None:
    source = open_source(smollm2_file)
    for name, kind in (("embed_tokens", "Q8_0"), ("layers.0.q_proj", "Q4_1"), ("layers.5.k_proj", "Q4_1")):
        raw = source.raw(name)
        assert raw is not None
        assert raw.type == kind
        np.testing.assert_array_equal(dequantize(raw.blocks, Q[raw.type]), source.tensor(name))
    assert source.raw("norm") is None


def test_smollm2_hash_is_of_the_file(smollm2_file: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    digest = open_source(smollm2_file).sha256(lambda stage, done, total: seen.append((stage, done, total)))
    assert digest == "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
    assert seen[0][1] == 0
    assert seen[-1][1] == seen[-1][2] == smollm2_file.stat().st_size


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("bias", [False, True])
def test_random_files_give_their_weights_back(tmp_path: Path, architecture: str, bias: bool) -> None:
    # qwen2 without biases is none of Qwen's, but llama.cpp takes it.
    config = family(architecture, qkv_bias=bias, output_bias=bias, mlp_bias=bias, tied_embeddings=not bias, name="a")
    builder = GgufBuilder(dataclasses.replace(config, bos_id=None, pad_id=None, eos_ids=()), architecture)
    source, expected = open_source(builder.write(tmp_path / "a.gguf")), SyntheticSource(config, SEED)
    assert source.config == builder.config
    for name in expected.tensor_names():
        np.testing.assert_array_equal(source.tensor(name), expected.tensor(name))


@pytest.mark.parametrize("kind", [Q.F16, Q.BF16, Q.Q8_0, Q.Q4_0, Q.Q4_1, Q.Q5_0, Q.Q5_1])
def test_every_written_type_is_dequantised(tmp_path: Path, kind: gguf.GGMLQuantizationType) -> None:
    builder = GgufBuilder(small())
    builder.types = {gguf_name("layers.0.q_proj"): kind, gguf_name("layers.0.up_proj"): kind}
    source = open_source(builder.write(tmp_path / "a.gguf"))
    stored = builder.tensors[gguf_name("layers.0.q_proj")]
    expected = half_split(dequantize(gguf.quants.quantize(stored, kind), kind), 4)
    np.testing.assert_array_equal(source.tensor("layers.0.q_proj"), expected)
    raw = source.raw("layers.0.q_proj")
    assert raw is not None and raw.type == kind.name == source.raw_type("layers.0.q_proj")


def test_rows_equal_the_whole_tensor_also_where_rows_are_permuted(tmp_path: Path) -> None:
    source = open_source(GgufBuilder(small()).write(tmp_path / "a.gguf"))
    for name in ("embed_tokens", "layers.1.q_proj", "layers.1.k_proj", "layers.0.down_proj"):
        whole = source.tensor(name)
        for start, stop in ((0, 1), (3, 20), (15, 17), (0, whole.shape[0])):
            np.testing.assert_array_equal(source.rows(name, start, stop), whole[start:stop])


def test_rope_factors_and_yarn_are_folded_in(tmp_path: Path) -> None:
    factors = GgufBuilder(small())
    factors.tensors["rope_freqs.weight"] = np.linspace(1, 8, 8, dtype=np.float32)
    plain = small().rope.inverse_frequencies
    found = open_source(factors.write(tmp_path / "a.gguf")).config.rope
    assert found.type == "llama3"
    np.testing.assert_allclose(found.inverse_frequencies, np.array(plain) / np.linspace(1, 8, 8), rtol=2e-7)
    yarn = GgufBuilder(small())
    yarn.metadata |= {"rope.scaling.type": "yarn", "rope.scaling.factor": 4.0}
    yarn.metadata |= {"rope.scaling.original_context_length": 64}
    scaled = open_source(yarn.write(tmp_path / "b.gguf")).config.rope
    assert scaled.type == "yarn"
    assert scaled.attention_factor == pytest.approx(1.1386294)


def rope_of(path: Path, length: int | None = None, **metadata: Any) -> tuple[RopeConfig, int]:
    """Rope and length of a small file with this metadata (dots are written as __); 8 frequencies, context 256."""
    builder = GgufBuilder(small())
    builder.metadata |= {key.replace("__", "."): value for key, value in metadata.items()}
    for name, values in (("long", np.arange(2, 10)), ("short", np.arange(1, 9))):
        if metadata.get("rope__scaling__type") == "longrope":
            builder.tensors[f"rope_factors_{name}.weight"] = values.astype(np.float32)
    config = open_source(builder.write(path), length).config
    return config.rope, config.max_length


PLAIN = np.array(small().rope.inverse_frequencies, np.float32)


@pytest.mark.parametrize(
    ("metadata", "length", "divisor", "attention"),
    [
        ({"rope__scaling__type": "linear", "rope__scaling__factor": 4.0}, 1024, 4, 1.0),
        ({"rope__scaling__factor": 4.0}, 1024, 4, 1.0),  # llama.cpp takes no type for linear
        ({"rope__scale_linear": 2.0}, 512, 2, 1.0),
        ({"rope__scaling__type": "none", "rope__scaling__factor": 4.0}, 256, 1, 1.0),
        ({"rope__scaling__type": "linear", "rope__scaling__factor": 0.0}, 256, 1, 1.0),
        ({"rope__scaling__type": "linear"}, 256, 1, 1.0),
        ({"rope__scaling__attn_factor": 1.5}, 256, 1, 1.5),
        (
            {"rope__scaling__type": "yarn", "rope__scaling__factor": 4.0, "rope__scaling__yarn_ext_factor": 0.0,
             "rope__scaling__attn_factor": 0.5}, 1024, 4, 0.5,
        ),
        (
            {"rope__scaling__type": "longrope", "rope__scaling__original_context_length": 64,
             "rope__scaling__attn_factor": 1.19}, 256, np.arange(2, 10), 1.19,
        ),
        # without an original length it is the context's, which nothing is longer than
        ({"rope__scaling__type": "longrope"}, 256, np.arange(1, 9), 1.0),
        ({"rope__scaling__type": "longrope", "rope__scaling__factor": 2.0}, 512, 2 * np.arange(2, 10), 1.0),
    ],
)  # fmt: skip
def test_scaling_is_what_llama_cpp_takes_it_for(
    tmp_path: Path, metadata: dict[str, Any], length: int, divisor: Any, attention: float
) -> None:
    rope, found = rope_of(tmp_path / "a.gguf", **metadata)
    assert found == length
    np.testing.assert_allclose(rope.inverse_frequencies, PLAIN / np.asarray(divisor, np.float32), rtol=3e-7)
    assert rope.attention_factor == pytest.approx(attention, rel=1e-6)


def test_a_shorter_bundle_of_longrope_has_the_short_factors(tmp_path: Path) -> None:
    metadata = {"rope__scaling__type": "longrope", "rope__scaling__original_context_length": 64}
    rope, length = rope_of(tmp_path / "a.gguf", 64, **metadata)
    assert (length, rope.type) == (64, "longrope")
    np.testing.assert_allclose(rope.inverse_frequencies, PLAIN / np.arange(1, 9), rtol=3e-7)


def test_yarn_without_an_original_length_has_the_contexts_and_attn_factor_multiplies_its_own(tmp_path: Path) -> None:
    yarn = {"rope__scaling__type": "yarn", "rope__scaling__factor": 4.0}
    missing, length = rope_of(tmp_path / "a.gguf", **yarn)
    stated, same = rope_of(tmp_path / "b.gguf", **yarn, rope__scaling__original_context_length=256)
    assert (missing, length) == (stated, same)
    assert length == 1024
    assert missing.attention_factor == pytest.approx(1.1386294)
    scaled, _ = rope_of(tmp_path / "c.gguf", **yarn, rope__scaling__attn_factor=0.5)
    assert scaled.attention_factor == pytest.approx(0.5 * 1.1386294)
    assert scaled.inverse_frequencies == missing.inverse_frequencies


def test_smollm3_has_no_rotary_in_every_fourth_layer(tmp_path: Path) -> None:
    config = family("smollm3", layers=9)
    found = open_source(GgufBuilder(config, "smollm3").write(tmp_path / "a.gguf")).config
    assert found.layers_without_rope == (3, 7)


def test_max_length_can_be_lowered_and_not_raised(tmp_path: Path) -> None:
    path = GgufBuilder(small()).write(tmp_path / "a.gguf")
    assert open_source(path, 100).config.max_length == 100
    with pytest.raises(InvalidArgumentError, match="max_length 257 is more than 256, the length that the model was"):
        open_source(path, 257)
    with pytest.raises(InvalidArgumentError, match="max_length is 0"):
        open_source(path, 0)


def test_a_sliding_window_limits_the_length_with_a_notice(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    builder = GgufBuilder(small())
    builder.metadata["attention.sliding_window"] = 64
    path = builder.write(tmp_path / "a.gguf")
    assert open_source(path).config.max_length == 64
    assert "max_length of a.gguf is 64, its sliding window, instead of 256" in caplog.text
    with pytest.raises(InvalidArgumentError, match="65 is more than 64, the sliding window"):
        open_source(path, 65)


def _set(key: str, value: Any) -> Callable[[GgufBuilder], None]:
    return lambda builder: builder.metadata.__setitem__(key, value)


def _tensor(name: str, values: np.ndarray[Any, Any] | None) -> Callable[[GgufBuilder], None]:
    def change(builder: GgufBuilder) -> None:
        if values is None:
            del builder.tensors[name]
        else:
            builder.tensors[name] = values

    return change


REFUSALS: dict[str, tuple[Callable[[GgufBuilder], None], type[SkyworkError], str]] = {
    "architecture": (lambda b: setattr(b, "architecture", "gemma2"), UnsupportedError, "architecture 'gemma2' is not"),
    "experts": (_set("expert_count", 8), UnsupportedError, "llama.expert_count = 8 is not supported"),
    "softcap": (_set("final_logit_softcapping", 30.0), UnsupportedError, "final_logit_softcapping = 30.0"),
    "partial rotary": (_set("rope.dimension_count", 8), UnsupportedError, "turns 8 of 16 dimensions"),
    "phi3": (lambda b: setattr(b, "architecture", "phi3"), UnsupportedError, "'phi3' is not.*LlamaForCausalLM"),
    "longrope": (
        _set("rope.scaling.type", "longrope"),
        CheckpointError,
        "lacks the tensor rope_factors_short.weight, which its rope scaling asks for",
    ),
    "unknown scaling": (
        _set("rope.scaling.type", "ntk"),
        UnsupportedError,
        "'ntk' is not supported; known are none, l",
    ),
    "yarn's share": (
        lambda b: b.metadata.update({"rope.scaling.type": "yarn", "rope.scaling.yarn_ext_factor": 0.5}),
        UnsupportedError,
        "yarn_ext_factor = 0.5 is not supported",
    ),
    "attn_factor": (
        _set("rope.scaling.attn_factor", -1.0),
        CheckpointError,
        "attn_factor is -1.0; expected a positive",
    ),
    "factors of another scheme": (
        _tensor("rope_factors_long.weight", np.ones(8, np.float32)),
        CheckpointError,
        "do not belong to its architecture: rope_factors_long.weight",
    ),
    "value length": (_set("attention.value_length", 8), UnsupportedError, "value_length differs"),
    "uneven heads": (_set("attention.head_count_kv", [2, 4]), UnsupportedError, "head_count_kv differs between"),
    "no layers": (lambda b: b.metadata.pop("block_count"), CheckpointError, "lacks llama.block_count"),
    "text for a number": (_set("embedding_length", "64"), CheckpointError, "embedding_length is 64"),
    "missing tensor": (
        _tensor("blk.1.ffn_up.weight", None),
        CheckpointError,
        "lacks 1 of 20 tensors .* blk.1.ffn_up.weight",
    ),
    "no embeddings": (_tensor("token_embd.weight", None), CheckpointError, "lacks the tensor token_embd.weight"),
    "bias of one layer": (
        _tensor("blk.0.attn_output.bias", np.zeros(64, np.float32)),
        CheckpointError,
        "lacks 1 of 22 tensors .* blk.1.attn_output.bias",
    ),
    "norms of q": (
        _tensor("blk.0.attn_q_norm.weight", np.ones(16, np.float32)),
        CheckpointError,
        "1 tensors that do not belong to its architecture: blk.0.attn_q_norm.weight",
    ),
    "wrong shape": (
        _tensor("blk.0.attn_k.weight", np.zeros((64, 64), np.float32)),
        CheckpointError,
        r"blk.0.attn_k.weight has shape \[64, 64\]; its configuration asks for \[32, 64\]",
    ),
    "bad factors": (
        _tensor("rope_freqs.weight", np.zeros(8, np.float32)),
        CheckpointError,
        "rope_freqs has a factor that is not",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_what_cannot_be_run_is_refused_by_name(tmp_path: Path, case: str) -> None:
    change, error, message = REFUSALS[case]
    builder = GgufBuilder(small())
    change(builder)
    with pytest.raises(error, match=message):
        open_source(builder.write(tmp_path / "a.gguf"))


def test_a_type_without_dequantisation_is_refused_by_name(tmp_path: Path) -> None:
    path = GgufBuilder(small()).write(tmp_path / "a.gguf")
    raw = path.read_bytes()
    name = b"blk.0.attn_norm.weight"
    at = raw.index(name) + len(name) + 4 + 8
    path.write_bytes(raw[:at] + struct.pack("<I", int(Q.I64)) + raw[at + 4 :])
    with pytest.raises((UnsupportedError, CheckpointError), match=r"I64|truncated"):
        open_source(path)
    path.write_bytes(raw[:at] + struct.pack("<I", 999) + raw[at + 4 :])
    with pytest.raises(UnsupportedError, match=r"blk.0.attn_norm.weight' has the unknown type 999"):
        open_source(path)


def test_a_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    raw = GgufBuilder(small(layers=1)).write(tmp_path / "a.gguf").read_bytes()
    cut = tmp_path / "cut.gguf"
    for size in [*range(4, 40, 3), *range(40, len(raw), len(raw) // 60), len(raw) - 40]:
        cut.write_bytes(raw[:size])
        with pytest.raises(CheckpointError, match=r"truncated"):
            open_source(cut)


def test_flipped_bits_never_crash_the_reader(tmp_path: Path) -> None:
    raw = bytearray(GgufBuilder(small(layers=1)).write(tmp_path / "a.gguf").read_bytes())
    header = raw.index(b"output_norm.weight") + 64
    random, path, refused = np.random.default_rng(7), tmp_path / "flipped.gguf", 0
    for _ in range(200):
        position, bit = int(random.integers(header)), int(random.integers(8))
        raw[position] ^= 1 << bit
        path.write_bytes(raw)
        try:
            open_source(path).tensor("norm")
        except SkyworkError:
            refused += 1
        raw[position] ^= 1 << bit
    assert refused > 100


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"GGUF" + struct.pack("<IQQ", 3, 2**40, 0), "1099511627776 tensors"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 2**63), "metadata entries"),
        (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 2**62), "truncated"),
        (
            b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1) + b"a" + struct.pack("<IIQ", 9, 0, 2**60),
            "states 1152921504606846976",
        ),
        (
            b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1) + b"a" + struct.pack("<IIQ", 9, 9, 1) * 9,
            "nests arrays|truncated",
        ),
        (b"GGUF" + struct.pack("<IQQ", 1, 0, 0), "version 1"),
        (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "is a big-endian GGUF file"),
        (b"GGML" + bytes(40), "no GGUF file"),
        (b"", "is empty"),
    ],
)
def test_hostile_counts_are_refused_before_memory_is_taken(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(content)
    with pytest.raises((CheckpointError, UnsupportedError), match=message):
        open_source(path)


def test_only_declared_tensors_can_be_asked_for(tmp_path: Path) -> None:
    source = GgufSource(GgufBuilder(small()).write(tmp_path / "a.gguf"))
    with pytest.raises(KeyError):
        source.tensor("lm_head")
    assert source.generation_config() is None
    assert source.tokenizer() is None
