"""Opening a model on MindSpore: what is refused and how, what is told before, and whole processes."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from random_models import CASES

from bundles import BACKENDS, tiny_source
from skywork_rt import Generator, errors
from skywork_rt.bundle.info import BundleInfo
from skywork_rt.mindspore_backend.backend import MindSporeBackend
from skywork_rt.mindspore_backend.bundled import describe_choices, weights_choices
from skywork_rt.mindspore_backend.opening import _open
from skywork_rt.mindspore_backend.sizes import chunk_size, least_at_least, row_counts, slot_counts, work_bytes

MakeBackend = Callable[[str, int, int, int], MindSporeBackend]


def on_mindspore(path: Path, **options: Any) -> Generator:
    return Generator(path, backend="mindspore", **options)


def test_without_mindspore_the_error_names_the_pip_command(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "mindspore" else find(name))
    with pytest.raises(errors.BackendUnavailableError, match=r"not installed: pip install 'skywork-rt\[export\]'"):
        on_mindspore(tiny_bundle)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        (
            {"activations": "int8"},
            errors.UnsupportedError,
            'mindspore computes with activations "f32" only, not "int8"',
        ),
        ({"kv_cache": "f16"}, errors.UnsupportedError, 'kv_cache "f32" only'),
        ({"mmap": True}, errors.UnsupportedError, "mindspore has no use for the option mmap"),
        ({"affinity": [0]}, errors.UnsupportedError, "mindspore has no use for the option affinity"),
        ({"weights": "int4"}, errors.UnsupportedError, "has for the backend mindspore: f32"),
        ({"max_length": 1 << 20}, errors.InvalidArgumentError, "max_length is 1048576, but must be in"),
        ({"max_length": "long"}, errors.InvalidArgumentError, "max_length is 'long'"),
        ({"max_batch": 0}, errors.InvalidArgumentError, "max_batch is 0, but must be in"),
        ({"nonsense": 1}, errors.InvalidArgumentError, "no option 'nonsense'"),
    ],
)
def test_what_would_be_ignored_or_cannot_be_is_refused_by_name(
    tiny_bundle: Path, options: dict[str, Any], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        on_mindspore(tiny_bundle, **options)


def test_memory_is_told_before_anything_is_loaded() -> None:
    def load() -> Any:
        raise AssertionError("weights are read after memory was found")

    large = dataclasses.replace(CASES["mha"].config, layers=1000, hidden_size=1 << 16, intermediate_size=1 << 18)
    said = r"the model needs [\d.]+ GiB .* MindSpore's work buffers grow with max_length, 256, too"
    with pytest.raises(errors.CapacityError, match=said):
        _open(load, large, {"backend": "mindspore"}, full_only=False)


def test_sizes_are_few_and_hold_what_they_must() -> None:
    assert slot_counts(8192) == (128, 512, 2048, 8192)
    assert slot_counts(1000) == (128, 512, 1000)
    assert slot_counts(64) == (64,)
    assert row_counts(24) == (1, 4, 16, 24)
    assert row_counts(1) == (1,)
    assert [least_at_least(slot_counts(1000), n) for n in (0, 128, 129, 1000)] == [128, 128, 512, 1000]
    assert [chunk_size(n, 128, singles=False) for n in (1, 16, 17, 64)] == [16, 16, 64, 64]
    assert [chunk_size(n, 2048, singles=True) for n in (1, 2, 64)] == [1, 16, 16]
    config = CASES["mha"].config
    assert work_bytes(config, 128, 1) < work_bytes(config, 128, 16) < work_bytes(config, 2048, 16)


@pytest.mark.skipif("native" not in BACKENDS, reason="SKYWORK_RT_TEST_BACKENDS leaves out native")
def test_info_says_what_is_dequantised(tiny_bundle: Path) -> None:
    bundle = BundleInfo.open(tiny_bundle)
    assert list(weights_choices(bundle)) == ["f32", "int8"]
    assert describe_choices(bundle) == "computes in float32, with weights f32 (or: int8, dequantised)"
    manifest = {**bundle.manifest, "weights": {"int4": "weights-int4.safetensors"}, "graphs": []}
    assert describe_choices(BundleInfo(tiny_bundle, manifest)) == "computes in float32, with weights int4, dequantised"
    assert "nothing that it reads" in describe_choices(BundleInfo(tiny_bundle, {"weights": {}}))


@pytest.mark.parametrize("file", ["weights-int8.safetensors", "full.ms"])
def test_a_flipped_bit_in_a_file_is_found(tiny_bundle: Path, tmp_path: Path, file: str) -> None:
    if not (tiny_bundle / file).exists():
        pytest.skip("SKYWORK_RT_TEST_BACKENDS leaves it out")
    copy = tmp_path / "bundle"
    shutil.copytree(tiny_bundle, copy)
    manifest = json.loads((copy / "model.json").read_text())
    if file == "full.ms":  # then the graph is the only place of float32 weights
        manifest["weights"] = {}
        (copy / "model.json").write_text(json.dumps(manifest))
    content = bytearray((copy / file).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / file).write_bytes(content)
    with pytest.raises(errors.CorruptBundleError, match=rf"{file} has SHA-256 .*, but model.json says"):
        on_mindspore(copy, weights="f32" if file == "full.ms" else "int8")


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(errors.SkyworkError, match="does not exist"):
        on_mindspore(tmp_path / "nothing")
    (tmp_path / "text.txt").write_text("no model")
    with pytest.raises(errors.SkyworkError, match=r"text\.txt"):
        on_mindspore(tmp_path / "text.txt")
    with pytest.raises(errors.SkyworkError, match="config"):
        on_mindspore(tmp_path)


@pytest.mark.slow
def test_a_device_that_this_mindspore_lacks_is_refused(tiny_bundle: Path) -> None:
    with pytest.raises(errors.BackendUnavailableError, match="does not compute on the device 'Ascend'"):
        on_mindspore(tiny_bundle, device="Ascend")


@pytest.mark.slow
def test_two_generators_at_once_and_the_programs_own_mode(make_backend: MakeBackend) -> None:
    import mindspore as ms

    mode = ms.get_context("mode")
    found: dict[str, list[int]] = {}
    alone: dict[str, list[int]] = {}
    request: dict[str, Any] = {"temperature": 0, "max_tokens": 30, "ignore_eos": True}
    names = ("mha", "qkv-bias")
    for name in names:
        with Generator(None, backend=make_backend(name, 2, 128, 256)) as generator:
            alone[name] = generator.generate([5, 6], **request).token_ids

    def run(name: str) -> None:
        with Generator(None, backend=make_backend(name, 2, 128, 256)) as generator:
            found[name] = generator.generate([5, 6], **request).token_ids

    threads = [threading.Thread(target=run, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == alone
    assert ms.get_context("mode") == mode


@pytest.mark.slow
def test_a_hugging_face_directory_is_generated_from_with_its_tokenizer(tmp_path: Path, tiny_bundle: Path) -> None:
    source = tiny_source(tmp_path / "tiny")
    with on_mindspore(source, max_batch=1, max_length=128) as generator:
        ours = generator.generate("The capital", temperature=0, max_tokens=8, ignore_eos=True)
        assert generator.chat([{"role": "user", "content": "Hi"}], temperature=0, max_tokens=2).prompt_token_ids
    with Generator(tiny_bundle) as generator:
        theirs = generator.generate("The capital", temperature=0, max_tokens=8, ignore_eos=True)
    if "native" in BACKENDS:
        with Generator(tiny_bundle, backend="native", weights="f32") as generator:
            theirs = generator.generate("The capital", temperature=0, max_tokens=8, ignore_eos=True)
    assert (ours.token_ids, ours.text) == (theirs.token_ids, theirs.text)


PROGRAM = """
import sys, skywork_rt
generators = {name: skywork_rt.Generator(sys.argv[1], backend=name, max_batch=1, max_length=128)
              for name in sys.argv[2:]}
request = dict(temperature=0, max_tokens=12, ignore_eos=True)
ids = {str(generator.generate([5, 6], **request).token_ids)
       for _ in range(2) for generator in generators.values()}
assert len(ids) == 1, ids
stream = generators["mindspore"].stream([5], temperature=0, max_tokens=None, ignore_eos=True)
print(len(next(stream).token_ids))
"""


@pytest.mark.slow
@pytest.mark.skipif("lite" not in BACKENDS, reason="SKYWORK_RT_TEST_BACKENDS leaves out lite")
@pytest.mark.parametrize("order", [("lite", "mindspore"), ("mindspore", "lite")], ids="-".join)
def test_lite_and_mindspore_generate_in_one_process(order: tuple[str, str], tiny_bundle: Path) -> None:
    """And the process ends well while MindSpore computes."""
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tiny_bundle), *order],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert (ended.returncode, ended.stdout) == (0, "1\n"), ended.stderr[-3000:]


@pytest.mark.slow
def test_the_command_line_generates_from_a_checkpoint_with_a_sentencepiece_tokenizer(
    tmp_path: Path, sentencepiece_bundle: Path
) -> None:
    """In a process of its own, in which the tokenizer's reader would import protobuf in a way that MindSpore cannot."""
    source = tiny_source(tmp_path / "tiny", kind="sentencepiece")
    command = [sys.executable, "-m", "skywork_rt", "generate", str(source), "abc", "--json", "--temperature", "0"]
    options = ["--backend", "mindspore", "--max-tokens", "4", "--max-batch", "1", "--max-length", "64", "--ignore-eos"]
    ended = subprocess.run([*command, *options], capture_output=True, text=True, timeout=300, check=False)
    assert ended.returncode == 0, ended.stderr[-3000:]
    (output,) = json.loads(ended.stdout)["outputs"]
    others = {"lite": {"backend": "lite"}, "native": {"backend": "native", "weights": "f32"}}
    with Generator(sentencepiece_bundle, **others[BACKENDS[0]]) as generator:
        result = generator.generate("abc", temperature=0, max_tokens=4, ignore_eos=True)
    assert (output["token_ids"], output["text"]) == (result.token_ids, result.text)
