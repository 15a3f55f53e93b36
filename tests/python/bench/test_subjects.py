from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from skywork_rt.bench.subjects import count_parameters, list_subjects, select_subjects
from skywork_rt.errors import BundleNotFoundError, CorruptBundleError, InvalidArgumentError

SMOLLM2 = {
    "layers": 30, "hidden_size": 576, "intermediate_size": 1536, "heads": 9, "kv_heads": 3, "head_dim": 64,
    "vocab_size": 49152, "qkv_bias": False, "tied_embeddings": True,
}  # fmt: skip
SKYWORK = {
    "layers": 52, "hidden_size": 4608, "intermediate_size": 12288, "heads": 36, "kv_heads": 36, "head_dim": 128,
    "vocab_size": 65519, "qkv_bias": False, "tied_embeddings": False,
}  # fmt: skip
GRAPHS = [
    {"file": "full.ms", "contract": "host-cache/full"},
    {"file": "incremental.ms", "contract": "host-cache/incremental"},
]


def write_weights(path: Path, size: int, embedding: tuple[str, int]) -> None:
    """The header of a weights file, and no data: the file is as long as `size`, but takes no room."""
    name, count = embedding
    header = json.dumps({"lm_head.int8": {"data_offsets": [0, 7]}, name: {"data_offsets": [64, 64 + count]}}).encode()
    with path.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(size)


def write_bundle(directory: Path, model: dict[str, Any], graphs: list[dict[str, str]], weights: dict[str, int]) -> Path:
    sizes = {f"weights-{name}.safetensors": size for name, size in weights.items()}
    sizes |= {graph["file"]: 4_000_000 for graph in graphs}
    manifest = {
        "model": model,
        "files": {name: {"size": size} for name, size in sizes.items()},
        "graphs": graphs,
        "weights": {name: f"weights-{name}.safetensors" for name in weights},
    }
    (directory / "model.json").write_text(json.dumps(manifest))
    return directory


def test_parameters_are_counted_as_the_model_cards_do() -> None:
    assert count_parameters(SMOLLM2) == 134_515_008
    assert count_parameters(SKYWORK) == 13_854_113_280
    assert count_parameters({**SMOLLM2, "qkv_bias": True}) == 134_515_008 + 30 * (576 + 2 * 192)


def test_every_runtime_that_the_bundle_has_parts_for(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path, SMOLLM2, GRAPHS, {"f32": 538_060_032, "int4": 96_600_000})
    assert [(s.runtime, s.weights) for s in list_subjects(bundle)] == [
        ("skywork_rt:lite", "f32/f32"),
        ("lite:predict", "f32/f32"),
        ("recipe:python-loop", "f32/f32"),
        ("skywork_rt:native", "f32/f32"),
        ("skywork_rt:native", "int4/f32"),
        ("skywork_rt:native", "int4/int8"),
    ]


def device_graphs(precision: str) -> list[dict[str, str]]:
    return [
        {"file": f"{role}/graph.mindir", "contract": f"device-cache/{role}", "flavour": "ge", "precision": precision}
        for role in ("full", "incremental")
    ]


@pytest.mark.parametrize(("precision", "weights", "width"), [("float16", "f16/f16", 2), ("float32", "f32/f32", 4)])
def test_ascend_comes_last_and_reads_weights_and_cache_in_its_graphs_precision(
    tmp_path: Path, precision: str, weights: str, width: int
) -> None:
    bundle = write_bundle(tmp_path, SKYWORK, device_graphs(precision), {"int4": 8_924_696_768})
    write_weights(bundle / "weights-int4.safetensors", 8_924_696_768, ("embed_tokens.int8", 320_790_528))
    *native, subject = list_subjects(bundle)
    assert [s.runtime for s in native] == ["skywork_rt:native", "skywork_rt:native"]
    assert (subject.runtime, subject.weights) == ("skywork_rt:ascend", weights)
    assert subject.bits_per_weight == 8 * width
    assert subject.weight_bytes == width * (13_854_113_280 - 65_519 * 4608)  # but the embedding, of which a row is read
    assert subject.cache_bytes == width * 2 * 52 * 36 * 128
    assert subject.files == ("full/graph.mindir", "incremental/graph.mindir")
    assert subject.options == {"backend": "ascend"}
    assert select_subjects(list_subjects(bundle), ["skywork_rt:ascend*"]) == [subject]


def test_a_tied_embedding_is_read_whole_on_ascend_too(tmp_path: Path) -> None:
    (subject,) = list_subjects(write_bundle(tmp_path, SMOLLM2, device_graphs("float16"), {}))
    assert subject.weight_bytes == 2 * 134_515_008


def test_bits_of_a_weight_come_from_the_files_size(tmp_path: Path) -> None:
    (subject, _) = list_subjects(write_bundle(tmp_path, SMOLLM2, [], {"int4": 96_600_000}))
    assert subject.bits_per_weight == pytest.approx(8 * 96_600_000 / 134_515_008)
    assert subject.weight_bytes == 96_600_000  # tied: the table is the head, and read whole


def test_an_embedding_of_its_own_is_not_read_whole(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path, SKYWORK, [], {"int4": 8_924_696_768})
    write_weights(bundle / "weights-int4.safetensors", 8_924_696_768, ("embed_tokens.int8", 320_790_528))
    subject, _ = list_subjects(bundle)
    assert subject.weight_bytes == 8_924_696_768 - 320_790_528
    assert subject.file_bytes == 8_924_696_768
    assert subject.cache_bytes == 1_916_928


@pytest.mark.parametrize("content", [b"", b"\xff" * 8, b"\x02" + bytes(7) + b"{}", b"\x05" + bytes(7) + b"[1,2]"])
def test_weights_that_do_not_say_what_is_the_embedding_are_refused_by_name(tmp_path: Path, content: bytes) -> None:
    bundle = write_bundle(tmp_path, SKYWORK, [], {"int4": 8_924_696_768})
    (bundle / "weights-int4.safetensors").write_bytes(content)
    with pytest.raises(CorruptBundleError, match=r"weights-int4\.safetensors is no file of packed weights"):
        list_subjects(bundle)


def test_patterns_choose_runtimes_and_weights(tmp_path: Path) -> None:
    subjects = list_subjects(write_bundle(tmp_path, SMOLLM2, GRAPHS, {"int8": 1, "int4": 1}))
    assert [s.label for s in select_subjects(subjects, ["skywork_rt:native int4*", "lite:predict"])] == [
        "lite:predict f32/f32",
        "skywork_rt:native int4/f32",
        "skywork_rt:native int4/int8",
    ]
    assert len(select_subjects(subjects, ["skywork_rt:native"])) == 4
    assert select_subjects(subjects, []) == subjects
    with pytest.raises(InvalidArgumentError, match=r"no runtime of this bundle matches 'vllm'.*skywork_rt:lite"):
        select_subjects(subjects, ["vllm"])


def test_a_directory_that_is_no_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleNotFoundError):
        list_subjects(tmp_path)


def test_a_file_that_is_not_listed_is_refused_by_name(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path, SMOLLM2, [], {"int8": 1})
    manifest = json.loads((bundle / "model.json").read_text())
    manifest["files"] = {}
    (bundle / "model.json").write_text(json.dumps(manifest))
    with pytest.raises(CorruptBundleError, match=r"weights-int8\.safetensors"):
        list_subjects(bundle)
