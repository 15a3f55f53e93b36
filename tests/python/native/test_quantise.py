"""Quantising and packing: what lands in the weights file means what the checkpoint meant."""

from __future__ import annotations

import json
import resource
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGMLQuantizationType
from gguf.quants import dequantize, quantize
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors import safe_open

from skywork_rt.checkpoints.model import Float32Array, ModelConfig, RawTensor
from skywork_rt.checkpoints.synthetic.presets import preset, with_changes
from skywork_rt.checkpoints.synthetic.source import SyntheticSource
from skywork_rt.errors import CheckpointError, InvalidArgumentError
from skywork_rt.export.quantise import RANDOM_WEIGHTS, ROUNDED_WEIGHTS, WEIGHTS, quantise_weights, write_random_weights
from skywork_rt.export.quantise.codes import dequantised
from skywork_rt.export.quantise.types import TYPES, int4, int8


def unpacked(packed: NDArray[np.uint8], kind: str, rows: int, columns: int) -> Float32Array:
    """The weights of a packed matrix, one at a time, straight from the words of docs/bundle-format.md."""
    groups = -(-columns // 32)
    flat = [panel.tobytes() for panel in packed]
    scale_bytes = {"f32": 0, "bf16": 0, "int8": 32, "int4": 64}[kind]
    code_bytes = {"f32": 2048, "bf16": 1024, "int8": 512, "int4": 256}[kind]
    start = -(-groups * scale_bytes // 64) * 64

    def number(panel: bytes, at: int, dtype: str) -> float:
        return float(np.frombuffer(panel, dtype, 1, at)[0])

    out = np.zeros((rows, columns), np.float32)
    for row in range(rows):
        panel, lane = flat[row // 16], row % 16
        for column in range(columns):
            group, k = divmod(column, 32)
            codes = start + group * code_bytes
            if kind == "f32":
                value = np.float32(number(panel, codes + k * 64 + lane * 4, "<f4"))
            elif kind == "bf16":
                bits = np.frombuffer(panel, "<u2", 1, codes + k // 2 * 64 + lane * 4 + k % 2 * 2)
                value = (bits.astype(np.uint32) << 16).view(np.float32)[0]
            else:
                scale = np.float32(number(panel, group * scale_bytes + 2 * lane, "<f2"))
                if kind == "int8":
                    value = scale * np.float32(number(panel, codes + k // 4 * 64 + lane * 4 + k % 4, "i1"))
                else:
                    minimum = np.float32(number(panel, group * scale_bytes + 32 + 2 * lane, "<f2"))
                    byte = panel[codes + k // 8 * 64 + lane * 4 + k % 4]
                    value = scale * np.float32(byte & 15 if k % 8 < 4 else byte >> 4) + minimum
            out[row, column] = value
    return out


def weights(rows: int, columns: int, seed: int = 0) -> Float32Array:
    return np.random.default_rng(seed).standard_normal((rows, columns), np.float32)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 40), st.integers(1, 80), st.integers(0, 1000), st.sampled_from(ROUNDED_WEIGHTS))
def test_unpacking_gives_what_the_format_says(rows: int, columns: int, seed: int, kind: str) -> None:
    packed = TYPES[kind].pack(weights(rows, columns, seed), "w")
    found = TYPES[kind].unpack(packed, columns)
    assert found.shape == (16 * len(packed), columns)
    np.testing.assert_array_equal(found[:rows], unpacked(packed, kind, rows, columns))


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.integers(1, 80), st.integers(0, 1000))
def test_packing_keeps_every_weight_of_shapes_that_no_block_divides(rows: int, columns: int, seed: int) -> None:
    matrix = weights(rows, columns, seed)
    eight, four = int8.quantised(matrix, "w"), int4.quantised(matrix, "w")
    truncated = (matrix.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)
    for name, rows_given, expected in [
        ("f32", matrix, matrix),
        ("bf16", truncated, truncated),
        ("int8", matrix, dequantised(eight, columns)),
        ("int4", matrix, dequantised(four, columns)),
    ]:
        packed = TYPES[name].pack(rows_given, "w")
        assert packed.shape == TYPES[name].packed_shape(rows, columns)
        np.testing.assert_array_equal(unpacked(packed, name, rows, columns), expected, err_msg=name)


def test_bfloat16_rounds_to_nearest_with_ties_to_even() -> None:
    values = np.array([[1.0, 1 + 2.0**-8, 1 + 3 * 2.0**-8, 1 + 2.0**-8 + 2.0**-20, -1.005]], np.float32)
    expected = np.array([[1.0, 1.0, 1 + 4 * 2.0**-8, 1 + 2 * 2.0**-8, -(1 + 2.0**-7)]], np.float32)
    np.testing.assert_array_equal(unpacked(TYPES["bf16"].pack(values, "w"), "bf16", 1, 5), expected)


def test_int8_is_off_by_half_a_step_at_most() -> None:
    matrix = weights(64, 256)
    codes = int8.quantised(matrix, "w")
    step = np.repeat(codes.scales.astype(np.float32), 32, axis=1)
    # A scale is rounded to 11 bits, which moves the ends of a group by up to 127 * 2**-11 of a step.
    assert (np.abs(dequantised(codes, 256) - matrix) <= step * (0.5 + 127 * 2**-11)).all()


def test_int4_fits_better_than_from_smallest_to_largest() -> None:
    matrix = weights(64, 256)
    groups = matrix.reshape(64, 8, 32)
    low, high = groups.min(-1, keepdims=True), groups.max(-1, keepdims=True)
    plain = np.rint((groups - low) / (high - low) * 15) * (high - low) / 15 + low
    fitted = dequantised(int4.quantised(matrix, "w"), 256)
    assert np.square(fitted - matrix).mean() < 0.97 * np.square(plain.reshape(64, 256) - matrix).mean()


@pytest.mark.parametrize("value", [0.0, 0.25, -3.0])
def test_groups_of_equal_weights_survive(value: float) -> None:
    matrix = np.full((3, 40), value, np.float32)
    np.testing.assert_allclose(dequantised(int8.quantised(matrix, "w"), 40), matrix, rtol=1e-3)
    np.testing.assert_array_equal(dequantised(int4.quantised(matrix, "w"), 40), matrix)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38])
def test_weights_that_cannot_be_quantised_are_refused_by_name(value: float) -> None:
    matrix = weights(4, 64)
    matrix[2, 33] = value
    for quantise in (int8.quantised, int4.quantised):
        with pytest.raises(CheckpointError, match=r"layers\.3\.q_proj has weights that are not finite or too large"):
            quantise(matrix, "layers.3.q_proj")


@pytest.mark.parametrize("kind", ["Q4_0", "Q4_1", "Q8_0"])
def test_gguf_blocks_are_carried_over_without_loss(kind: Any) -> None:
    blocks = quantize(weights(48, 96, 3), GGMLQuantizationType[kind])
    expected = dequantize(blocks, GGMLQuantizationType[kind])
    from_raw = int8.from_raw if kind == "Q8_0" else int4.from_raw
    codes = from_raw(RawTensor(kind, (48, 96), blocks), 16, 40)
    np.testing.assert_array_equal(dequantised(codes, 96), expected[16:40])


class RawSource(SyntheticSource):
    """A random model whose layers are Q4_1 and whose vocabulary is Q8_0, as in SmolLM2's file."""

    def raw_type(self, name: str) -> str | None:
        if len(self.config.tensor_shapes()[name]) != 2:
            return None
        return "Q8_0" if name in ("embed_tokens", "lm_head") else "Q4_1"

    def raw(self, name: str) -> RawTensor | None:
        shape, kind = self.config.tensor_shapes()[name], self.raw_type(name)
        if kind is None:
            return None
        return RawTensor(kind, (shape[0], shape[1]), quantize(self.tensor(name), GGMLQuantizationType[kind]))


def read(path: Path) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    with safe_open(str(path), "numpy") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118


def tiny() -> ModelConfig:
    return with_changes(preset("tiny"), hidden_size=96, intermediate_size=72, vocab_size=131)


@pytest.mark.parametrize("name", ["f32", "bf16", "int8", "int4"])
def test_a_file_holds_every_tensor_and_is_sound_safetensors(tmp_path: Path, name: str) -> None:
    config = tiny()
    source = SyntheticSource(config, 3)
    stages: list[tuple[str, int, int]] = []
    quantise_weights(source, name, tmp_path / "w", lambda *step: stages.append(step))
    tensors, metadata = read(tmp_path / "w")
    assert metadata["format"] == "skywork_rt.weights"
    expected = {}
    for tensor, shape in config.tensor_shapes().items():
        kind = "int8" if name == "int4" and tensor == "embed_tokens" else name
        expected[tensor if len(shape) == 1 else f"{tensor}.{kind}"] = shape
    assert set(tensors) == set(expected)
    for tensor, shape in expected.items():
        if len(shape) == 1:
            np.testing.assert_array_equal(tensors[tensor], source.tensor(tensor))
    loose = {"f32": 0.0, "bf16": 2.0**-8, "int8": 0.02, "int4": 0.25}[name]
    down = "layers.1.down_proj"
    found = unpacked(tensors[f"{down}.{name}"], name, 96, 72)
    assert np.abs(found - source.tensor(down)).max() <= loose * np.abs(source.tensor(down)).max()
    total = len(config.tensor_shapes())
    assert stages == [(f"weights {name}", i, total) for i in range(total + 1)]


def test_int4_of_a_gguf_file_keeps_its_blocks_and_says_so(tmp_path: Path) -> None:
    source = RawSource(with_changes(tiny(), intermediate_size=96), 3)
    quantise_weights(source, "int4", tmp_path / "w")
    tensors, metadata = read(tmp_path / "w")
    assert metadata["lossless"] == "true"
    head = source.raw("embed_tokens")
    layer = source.raw("layers.0.o_proj")
    assert head is not None and layer is not None
    np.testing.assert_array_equal(
        unpacked(tensors["embed_tokens.int8"], "int8", 131, 96), dequantize(head.blocks, GGMLQuantizationType.Q8_0)
    )
    rows, columns = layer.shape
    np.testing.assert_array_equal(
        unpacked(tensors["layers.0.o_proj.int4"], "int4", rows, columns),
        dequantize(layer.blocks, GGMLQuantizationType.Q4_1),
    )
    quantise_weights(source, "int8", tmp_path / "w8")
    assert read(tmp_path / "w8")[1]["lossless"] == "false"


def test_an_unknown_name_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError, match=f"unknown weights 'int3'; known are {', '.join(WEIGHTS)}"):
        quantise_weights(SyntheticSource(tiny()), "int3", tmp_path / "w")
    with pytest.raises(InvalidArgumentError, match=f"random weights are {' or '.join(RANDOM_WEIGHTS)}, not 'f32'"):
        write_random_weights(tiny(), "f32", tmp_path / "w")
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_export_leaves_no_file(tmp_path: Path) -> None:
    def interrupt(stage: str, done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        quantise_weights(SyntheticSource(tiny()), "int8", tmp_path / "w", interrupt)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["int8", "int4"])
def test_random_weights_are_a_model_of_that_shape_with_calm_activations(tmp_path: Path, name: str) -> None:
    config = tiny()
    write_random_weights(config, name, tmp_path / "w", seed=5)
    tensors, _ = read(tmp_path / "w")
    quantise_weights(SyntheticSource(config, 3), name, tmp_path / "real")
    real, _ = read(tmp_path / "real")
    assert {n: (t.shape, t.dtype) for n, t in tensors.items()} == {n: (t.shape, t.dtype) for n, t in real.items()}
    values = unpacked(tensors[f"layers.0.q_proj.{name}"], name, 64, 96)
    assert 0.9 < values.std() * 96**0.5 < 1.1
    assert abs(values.mean()) < 0.1 * values.std()


def test_quantising_streams_so_that_memory_does_not_grow_with_the_model(tmp_path: Path) -> None:
    config = with_changes(preset("tiny"), vocab_size=200_000, hidden_size=256, layers=1, heads=4, head_dim=64)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    quantise_weights(SyntheticSource(config), "int4", tmp_path / "w")
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert grown < 180, f"quantising a matrix of {200_000 * 256 * 4 >> 20} MB took {grown:.0f} MB"


@pytest.mark.slow
def test_the_header_survives_models_of_many_tensors(tmp_path: Path) -> None:
    config = with_changes(preset("tiny"), layers=120, hidden_size=32, intermediate_size=32, vocab_size=32)
    quantise_weights(SyntheticSource(config), "int8", tmp_path / "w")
    raw = (tmp_path / "w").read_bytes()
    size = int.from_bytes(raw[:8], "little")
    assert (8 + size) % 64 == 0
    assert len(json.loads(raw[8 : 8 + size])) == len(config.tensor_shapes()) + 1
