"""`export`: real bundles of the native target, and what is refused before or during the work."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import shutil
import tracemalloc
from collections import namedtuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoints import SEED, GgufBuilder, edit_json, names_in, small, write_hf
from gguf import GGMLQuantizationType
from vocab_file import read_vocab

import skywork_rt
from skywork_rt.checkpoints.gguf.source import gguf_name
from skywork_rt.checkpoints.model import Float32Array, ModelConfig
from skywork_rt.checkpoints.synthetic.presets import preset, with_changes
from skywork_rt.checkpoints.synthetic.source import SyntheticSource, random_rows
from skywork_rt.errors import CapacityError, CheckpointError, InvalidArgumentError
from skywork_rt.export import WEIGHTS, export
from skywork_rt.export.graph import graph_bytes
from skywork_rt.export.quantise import ROUNDED_WEIGHTS, largest_weights_bytes
from skywork_rt.export.targets import LITE_BYTES, choose_targets


def _manifest(bundle: Path) -> dict[str, Any]:
    body: dict[str, Any] = json.loads((bundle / "model.json").read_text(encoding="utf-8"))
    return body


def _native(source: Any, out: Path, **arguments: Any) -> Path:
    return export(source, out, **{"targets": ["native"], "weights": ["int8"], **arguments})


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_hf(tmp_path / "sources" / "model", tokenizer="byte-level")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "bundles" / "tiny"


def test_a_bundle_holds_what_its_description_says(source: Path, out: Path) -> None:
    (source / "generation_config.json").write_text(json.dumps({"temperature": 0.6, "eos_token_id": [2, 5]}))
    assert _native(source, out, weights=["int8", "f32"]) == out
    body = _manifest(out)
    assert (body["format"], body["version"], body["graphs"]) == ("skywork_rt.bundle", 1, [])
    assert body["producer"].startswith("skywork_rt ")
    assert body["weights"] == {"int8": "weights-int8.safetensors", "f32": "weights-f32.safetensors"}
    assert body["source"] == {"kind": "huggingface", "name": "model", "sha256": None}
    roles = {name: file["role"] for name, file in body["files"].items()}
    assert roles == {
        "tokenizer.json": "tokenizer",
        "vocab.bin": "vocabulary",
        "generation_config.json": "generation_config",
        "weights-int8.safetensors": "weights",
        "weights-f32.safetensors": "weights",
    }
    assert names_in(out) == sorted([*roles, "model.json"])
    for name, file in body["files"].items():
        content = (out / name).read_bytes()
        assert (file["size"], file["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
    config = ModelConfig.from_json(body["model"])
    assert config == small(name="model", tied_embeddings=False, eos_ids=(2, 5))
    assert body["tokenizer"]["kind"] == "tokenizers"
    assert body["tokenizer"]["add_bos"] is True
    assert len(read_vocab((out / "vocab.bin").read_bytes()).texts) == config.vocab_size
    assert str(source.parent) not in (out / "model.json").read_text()
    assert names_in(out.parent) == ["tiny"]


def test_a_gguf_file_exports_with_its_hash(tmp_path: Path, out: Path) -> None:
    path = GgufBuilder(small()).write(tmp_path / "a.Q4_0.gguf")
    body = _manifest(_native(path, out, max_length=100))
    assert body["source"] == {
        "kind": "gguf",
        "name": "a.Q4_0.gguf",
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }
    assert (body["model"]["name"], body["model"]["max_length"]) == ("a", 100)
    assert "tokenizer" not in body


def test_an_open_source_exports_and_gives_the_same_weights_as_its_files(source: Path, tmp_path: Path) -> None:
    made = _native(SyntheticSource(small(tied_embeddings=False), SEED), tmp_path / "made")
    read = _native(source, tmp_path / "read")
    assert (made / "weights-int8.safetensors").read_bytes() == (read / "weights-int8.safetensors").read_bytes()
    assert _manifest(made)["source"]["kind"] == "synthetic"


def test_a_checkpoint_in_floats_gets_int8_unasked_and_a_gguf_file_what_is_in_it(
    source: Path, out: Path, tmp_path: Path
) -> None:
    assert set(_manifest(_native(source, out, weights=[]))["weights"]) == {"int8"}
    builder = GgufBuilder(small())
    floats = _native(builder.write(tmp_path / "f.gguf"), tmp_path / "f", weights=[])
    assert set(_manifest(floats)["weights"]) == {"gguf"}
    builder.types = {gguf_name("layers.0.up_proj"): GGMLQuantizationType.Q4_1}
    quantised = _native(builder.write(tmp_path / "q.gguf"), tmp_path / "q", weights=[])
    assert set(_manifest(quantised)["weights"]) == {"gguf"}


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("mindspore") is None, reason="graphs need MindSpore")
def test_small_models_are_exported_for_both_backends_unless_told_otherwise(source: Path, out: Path) -> None:
    body = _manifest(export(source, out))
    assert set(body["weights"]) == {"int8"}
    assert {graph["contract"] for graph in body["graphs"]} == {"host-cache/full", "host-cache/incremental"}


def test_graphs_are_written_unasked_up_to_the_size_of_smollm2s() -> None:
    smollm2 = preset("smollm2-135m")
    assert 0.6e9 < graph_bytes(smollm2) < LITE_BYTES
    assert choose_targets(None, smollm2) in (("lite", "native"), ("native",))  # without MindSpore the latter
    narrow = {"hidden_size": 896, "intermediate_size": 4864, "heads": 14, "kv_heads": 2, "head_dim": 64}
    half_a_billion = with_changes(preset("qwen2-7b"), layers=24, tied_embeddings=True, **narrow)
    assert graph_bytes(half_a_billion) > 1.6 * LITE_BYTES
    assert choose_targets(None, half_a_billion) == ("native",)


@pytest.mark.parametrize(
    ("changes", "version"),
    [
        ({}, 1),
        ({"qkv_bias": True}, 1),
        ({"qkv_bias": True, "output_bias": True}, 2),
        ({"mlp_bias": True}, 2),
        ({"qk_norm": True}, 2),
        ({"layers_without_rope": (1,)}, 2),
    ],
)
def test_a_bundle_has_the_lowest_version_whose_readers_compute_its_model(
    out: Path, changes: dict[str, Any], version: int
) -> None:
    config = small(**changes)
    body = _manifest(_native(SyntheticSource(config, SEED), out))
    assert body["version"] == version
    assert ModelConfig.from_json(body["model"]) == config


def test_a_bundle_of_version_1_still_opens_and_gives_its_ids() -> None:
    """data/bundle-v1 was written by the last version that knew no other."""
    bundle = Path(__file__).parents[1] / "data" / "bundle-v1"
    assert _manifest(bundle)["version"] == 1
    assert "output_bias" not in _manifest(bundle)["model"]
    with skywork_rt.Generator(bundle, threads=1) as generator:
        ids = generator.generate([3, 4, 5, 6], temperature=0.0, max_tokens=12, ignore_eos=True).token_ids
    assert ids == [32, 21, 21, 21, 21, 21, 21, 21, 21, 21, 21, 3]


def test_without_mindspore_the_default_is_native_and_says_so(
    source: Path, out: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "mindspore" else real(name))
    body = _manifest(export(source, out))
    assert (body["graphs"], set(body["weights"])) == ([], {"int8"})
    assert "without graphs for MindSpore Lite: " in caplog.text
    assert "pip install" in caplog.text


def test_a_model_that_lite_cannot_convert_is_refused_before_its_native_weights_are_written(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(2**50, 0, 2**50))
    with pytest.raises(CapacityError, match=r"about 191\.\d GiB of memory for 51\.61 GiB of float32 weights"):
        export(SyntheticSource(preset("skywork-13b")), out, targets=["lite", "native"])
    assert not out.parent.exists()


class _Wide(SyntheticSource):
    """A layer as wide as Skywork's. Every matrix repeats one piece, so that a test need not wait for random numbers."""

    def __init__(self) -> None:
        super().__init__(with_changes(preset("skywork-13b"), layers=1))
        self.largest_piece = 0

    def rows(self, name: str, start: int, stop: int) -> Float32Array:
        columns = self.config.tensor_shapes()[name][1]
        self.largest_piece = max(self.largest_piece, 4 * (stop - start) * columns)
        piece = random_rows(0, "piece", (16, columns), 0, 16)
        return np.tile(piece, (-(-(stop - start) // 16), 1))[: stop - start]

    def tensor(self, name: str) -> Float32Array:
        assert len(self.config.tensor_shapes()[name]) == 1, f"{name} was read whole"
        return super().tensor(name)


@pytest.mark.slow
def test_a_model_of_skyworks_width_is_exported_for_native_without_graphs_and_in_bounded_memory(
    out: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = _Wide()
    written: set[str] = set()
    tracemalloc.start()
    try:
        export(
            source, out, weights=["int8"],
            progress=lambda *_: written.update(file.name for file in out.parent.rglob("*") if file.is_file()),
        )  # fmt: skip
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert graph_bytes(source.config) > LITE_BYTES
    assert written == {"weights-int8.safetensors"}
    assert names_in(out) == ["model.json", "weights-int8.safetensors"]
    assert source.largest_piece <= 16 << 20
    assert peak < 150e6, f"{peak / 1e6:.0f} MB for a model of {source.config.parameter_count() / 1e6:.0f} M parameters"
    assert "exporting for native only" in caplog.text
    assert "they would add 3.4 GB to the bundle, more than the 1.5 GB" in caplog.text
    assert "(--for lite,native adds them)" in caplog.text


def test_progress_goes_from_nothing_to_all_in_every_stage(source: Path, out: Path) -> None:
    stages: dict[str, list[tuple[int, int]]] = {}
    _native(source, out, progress=lambda stage, done, total: stages.setdefault(stage, []).append((done, total)))
    assert set(stages) == {"weights int8", "hash"}
    for steps in stages.values():
        assert steps[0][0] == 0
        assert steps[-1][0] == steps[-1][1] > 0
        assert [done for done, _ in steps] == sorted(done for done, _ in steps)


def test_an_existing_bundle_is_replaced_only_on_request(source: Path, out: Path) -> None:
    _native(source, out)
    with pytest.raises(InvalidArgumentError, match="exists; give another name, or overwrite=True"):
        _native(source, out)
    before = (out / "model.json").read_bytes()
    _native(source, out, overwrite=True, max_length=64)
    assert (out / "model.json").read_bytes() != before
    assert _manifest(out)["model"]["max_length"] == 64


def test_overwrite_never_costs_files_that_are_no_bundle(source: Path, out: Path) -> None:
    out.mkdir(parents=True)
    (out / "thesis.tex").write_text("years of work")
    with pytest.raises(InvalidArgumentError, match="not empty and no bundle; it is not replaced"):
        _native(source, out, overwrite=True)
    (out / "thesis.tex").unlink()
    _native(source, out, overwrite=True)
    link = out.with_name("link")
    link.symlink_to(out)
    with pytest.raises(InvalidArgumentError, match="is no directory"):
        _native(source, link, overwrite=True)


class _Stop:
    """Raises at the given step of the given stage."""

    def __init__(self, error: BaseException, stage: str, step: int) -> None:
        self._error, self._stage, self._step = error, stage, step

    def __call__(self, stage: str, done: int, total: int) -> None:
        if (stage, done) == (self._stage, self._step):
            raise self._error


@pytest.mark.parametrize(("stage", "step"), [("weights int8", 0), ("weights int8", 7), ("hash", 0)])
def test_ctrl_c_at_any_stage_leaves_nothing(source: Path, out: Path, stage: str, step: int) -> None:
    with pytest.raises(KeyboardInterrupt):
        _native(source, out, progress=_Stop(KeyboardInterrupt(), stage, step))
    assert names_in(out.parent) == []


def test_a_failed_overwrite_leaves_the_old_bundle(source: Path, out: Path) -> None:
    _native(source, out)
    before = {name: (out / name).read_bytes() for name in names_in(out)}
    with pytest.raises(KeyboardInterrupt):
        _native(source, out, overwrite=True, progress=_Stop(KeyboardInterrupt(), "weights int8", 5))
    assert {name: (out / name).read_bytes() for name in names_in(out)} == before
    assert names_in(out.parent) == ["tiny"]


def test_weights_that_vanish_halfway_leave_nothing(source: Path, out: Path) -> None:
    def cut(stage: str, done: int, total: int) -> None:
        if done == 3:
            (source / "model.safetensors").write_bytes(b"")

    with pytest.raises(CheckpointError, match=r"model\.safetensors is truncated"):
        _native(source, out, progress=cut)
    assert names_in(out.parent) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"targets": ["gpu"]}, "unknown target 'gpu'; known are lite, native"),
        ({"targets": []}, "no target"),
        ({"targets": "native"}, "target is the text 'native'; give a list"),
        ({"targets": ["native", "native"]}, "names one twice"),
        ({"weights": ["int3"]}, f"unknown weights 'int3'; known are {', '.join(WEIGHTS)}"),
        ({"targets": ["lite"], "weights": ["int8"]}, "weights int8 are for the target native"),
        ({"max_length": 257}, "max_length 257 is more than 256"),
        ({"max_length": -1}, "max_length is -1"),
    ],
)
def test_wrong_arguments_are_refused_before_any_work(
    source: Path, out: Path, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        _native(source, out, **arguments)
    assert not out.parent.exists()


def test_a_model_that_does_not_fit_on_the_disk_is_refused_before_it_is_read(out: Path) -> None:
    huge = preset("skywork-13b").to_json() | {"layers": 4096, "intermediate_size": 1 << 22, "name": "huge"}
    with pytest.raises(CapacityError, match=r"writing tiny needs about \d+\.\d\d GB beside it, \d+\.\d\d GB are free"):
        _native(SyntheticSource(ModelConfig.from_json(huge)), out)
    assert names_in(out.parent) == []


def test_an_open_source_has_chosen_its_length(out: Path) -> None:
    with pytest.raises(InvalidArgumentError, match="this one is already open"):
        _native(SyntheticSource(small()), out, max_length=10)


def test_a_harmful_template_does_not_reach_the_bundle(source: Path, out: Path) -> None:
    edit_json(source / "tokenizer_config.json", chat_template="{{ ''.__class__.__mro__ }}")
    _native(source, out)
    section = json.loads((out / "model.json").read_text())["tokenizer"]
    assert section["chat_template"] is None
    assert "unsafe" in section["chat_template_error"]


def test_a_tokenizer_larger_than_the_model_is_noticed(
    tmp_path: Path, out: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = write_hf(tmp_path / "model", config=small(vocab_size=300), tokenizer="byte-level")
    (source / "tokenizer.json").write_bytes(
        (write_hf(tmp_path / "larger", tokenizer="byte-level") / "tokenizer.json").read_bytes()
    )
    _native(source, out)
    assert "tokens more than the model" in caplog.text
    assert len(read_vocab((out / "vocab.bin").read_bytes()).texts) == 300


def test_the_disk_check_asks_for_what_the_files_take(tmp_path: Path) -> None:
    source = SyntheticSource(small(hidden_size=256, intermediate_size=704, head_dim=64, layers=4))
    bundle = _native(source, tmp_path / "out", weights=list(ROUNDED_WEIGHTS))
    for name, file in _manifest(bundle)["weights"].items():
        size = (bundle / file).stat().st_size
        assert size <= largest_weights_bytes(source.config, name) <= 1.05 * size
