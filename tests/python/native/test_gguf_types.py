"""GGUF files run as they are: every type, in every place, from the file's own codes and scales."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import gguf
import make_gguf_types
import numpy as np
import pytest
from checkpoints import GgufBuilder, small
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

import skywork_rt
from cores import ONE_CORE
from kquant_files import kquant_file
from skywork_rt._core import RawBackend
from skywork_rt.bundle.weights_header import WeightsHeader
from skywork_rt.checkpoints.model import Float32Array
from skywork_rt.checkpoints.open import open_source
from skywork_rt.errors import InvalidArgumentError, UnsupportedError
from skywork_rt.export import export
from skywork_rt.export.graph.reference import ReferenceLlama
from skywork_rt.export.quantise.types import TYPES
from skywork_rt.export.quantise.weights import kind_of

GOLDEN = Path(make_gguf_types.__file__).parent
IDS = [1, 17, 200, 33, 5, 91, 140, 7]
WIDE = small(hidden_size=256, intermediate_size=512, heads=4, kv_heads=2, head_dim=64, tied_embeddings=False)
REFUSED = ("IQ2_XXS", "IQ3_S", "TQ2_0")


class BlockBuilder(GgufBuilder):
    """Matrices of blocks of any type, scaled so that activations stay near 1."""

    def __init__(self, kinds: tuple[str, ...], seed: int = 0) -> None:
        super().__init__(WIDE)
        self._generator = np.random.default_rng(seed)
        matrices = [name for name, values in self.tensors.items() if values.ndim == 2]
        self.kinds = {name: kinds[place % len(kinds)] for place, name in enumerate(matrices)}

    def write(self, path: Path) -> Path:
        writer = gguf.GGUFWriter(path, "llama")
        for key, value in self.metadata.items():
            add = writer.add_float32 if isinstance(value, float) else writer.add_uint32
            add(f"llama.{key}", value)
        for name, values in self.tensors.items():
            if values.ndim == 1:
                writer.add_tensor(name, values)
            else:
                kind = GGMLQuantizationType[self.kinds[name]]
                writer.add_tensor(name, self._blocks(kind, *values.shape), raw_dtype=kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path

    def _blocks(self, kind: GGMLQuantizationType, rows: int, columns: int) -> Any:
        """Any bytes but for the float16 numbers, which make weights of deviation columns ** -0.5 or about it."""
        if kind.name in ("F32", "F16", "BF16"):
            return gguf.quants.quantize(self._normal(rows, columns) * columns**-0.5, kind)
        block, size = GGML_QUANT_SIZES[kind]
        blocks = self._generator.integers(0, 256, (rows, columns // block, size), dtype=np.uint8)
        places = make_gguf_types.HALVES.get(kind.name, ())
        scale = 1.0
        for _ in range(2):  # the second time with what brings the deviation to where it shall be
            for at in places:
                blocks[..., at : at + 2] = np.full((*blocks.shape[:2], 1), scale, "<f2").view(np.uint8)
            if places:
                scale = columns**-0.5 / float(np.std(gguf.quants.dequantize(blocks.reshape(rows, -1), kind)))
        return blocks.reshape(rows, -1)

    def _normal(self, rows: int, columns: int) -> Float32Array:
        return self._generator.standard_normal((rows, columns)).astype(np.float32)


def logits(bundle: Path, **options: Any) -> Float32Array:
    backend = RawBackend(str(bundle), {"backend": "native", "threads": 1, "max_batch": 1, **options})
    return backend.forward([(backend.open(len(IDS)), IDS, list(range(len(IDS))))])


def off(found: Float32Array, exact: Float32Array) -> float:
    """The largest difference, in parts of the range."""
    return float(np.abs(found - exact).max() / (exact.max() - exact.min()))


def test_the_golden_file_is_what_its_maker_writes() -> None:
    assert make_gguf_types.FILE.read_bytes() == make_gguf_types.content()


@pytest.mark.parametrize("kind", make_gguf_types.NAMES)
def test_unpacking_gives_what_gguf_dequantises(kind: str) -> None:
    raw = make_gguf_types.random_blocks(kind)
    stored, panels = make_gguf_types.packed(raw)
    exact = make_gguf_types.dequantised(raw)
    found = TYPES[stored].unpack(panels, exact.shape[1])[: len(exact)]
    np.testing.assert_allclose(found, exact, rtol=0, atol=float(np.abs(exact).max()) * 2**-20)


@pytest.mark.parametrize("kind", make_gguf_types.NAMES)
def test_a_model_of_each_type_gives_the_answer_of_its_dequantised_weights(tmp_path: Path, kind: str) -> None:
    source = open_source(BlockBuilder((kind,)).write(tmp_path / "model.gguf"))
    bundle = export(source, tmp_path / "out", targets=["native"])
    exact = ReferenceLlama(source).forward(IDS)
    assert off(logits(bundle), exact) < 1e-5
    if TYPES[kind_of("gguf", "", kind)].scale_bytes:
        assert off(logits(bundle, activations="int8"), exact) < 0.05
    header = WeightsHeader.read(bundle / "weights-gguf.safetensors")
    assert header.lossless and set(header.types()) == {kind_of("gguf", "", kind)}


def test_types_mix_freely_and_floats_keep_their_own_kernels(tmp_path: Path) -> None:
    source = open_source(BlockBuilder(make_gguf_types.NAMES).write(tmp_path / "model.gguf"))
    bundle = export(source, tmp_path / "out", targets=["native"])
    exact = ReferenceLlama(source).forward(IDS)
    assert off(logits(bundle), exact) < 1e-5
    assert off(logits(bundle, activations="int8"), exact) < 0.05
    counts = WeightsHeader.read(bundle / "weights-gguf.safetensors").types()
    assert set(counts) == {kind_of("gguf", "", name) for name in make_gguf_types.NAMES}
    told = subprocess.run(
        [sys.executable, "-m", "skywork_rt", "info", str(bundle)], capture_output=True, text=True, check=True
    ).stdout
    line = " ".join(told.split("weights", 1)[1].split("mindspore", 1)[0].split())
    assert line.startswith("gguf (") and "1 q4_k" in line and line.endswith("nothing was rounded)")


def test_types_without_a_kernel_are_named_with_what_to_do(tmp_path: Path) -> None:
    for kind in REFUSED:
        source = BlockBuilder((kind, "Q8_0")).write(tmp_path / f"{kind}.gguf")
        with pytest.raises(UnsupportedError, match=rf"GGUF's type {kind}, which no kernel .* --weights int8"):
            export(source, tmp_path / "out", targets=["native"])
        assert not (tmp_path / "out").exists()


def test_what_is_no_gguf_file_has_no_gguf_weights(tmp_path: Path) -> None:
    from skywork_rt.checkpoints.synthetic.source import SyntheticSource

    with pytest.raises(InvalidArgumentError, match="weights gguf are those of a GGUF file as they are"):
        export(SyntheticSource(small(), 0), tmp_path / "out", targets=["native"], weights=["gguf"])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["Q4_K_M", "Q2_K"])
def test_real_k_quants_answer_as_transformers_does_with_the_same_file(tmp_path: Path, name: str) -> None:
    file = kquant_file(name)
    bundle = export(file, tmp_path / "out", targets=["native"], verify=False)
    golden = json.loads((GOLDEN / "smollm2_kquants.json").read_text())["files"][name]
    prompts = [answer["ids"] for answer in golden]
    with skywork_rt.Generator(bundle, **ONE_CORE) as generator:
        assert generator.options["weights"] == "gguf"
        results = generator.generate(prompts, temperature=0, max_tokens=20, ignore_eos=True)
    assert [list(result.token_ids) for result in results] == [answer["greedy"] for answer in golden]
    backend = RawBackend(str(bundle), {"backend": "native", **ONE_CORE})
    for answer in golden:
        ids = answer["ids"]
        row = backend.forward([(backend.open(len(ids)), ids, [len(ids) - 1])])[0]
        assert np.abs(row[answer["columns"]] - answer["logits"]).max() < 1e-3 * answer["range"]
    tensors = sum(
        math.prod(tensor.shape) * GGML_QUANT_SIZES[tensor.type][1] / GGML_QUANT_SIZES[tensor.type][0]
        for tensor in open_source(file)._file.tensors.values()  # type: ignore[attr-defined]
    )
    assert (bundle / "weights-gguf.safetensors").stat().st_size < 1.05 * tensors
