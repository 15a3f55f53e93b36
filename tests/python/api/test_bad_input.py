"""Bad input gets a typed exception with the number in it; never a crash, a hang or a silent truncation."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import skywork_rt
from skywork_rt import Generator, InvalidArgumentError, SamplingParams, SkyworkError

GREEDY = SamplingParams(temperature=0, max_tokens=4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda g: g.generate([5, 512], GREEDY), r"token id 512 at index 1 .*\[0, 512\)"),
        (lambda g: g.generate([5, -1], GREEDY), "token id -1 at index 1"),
        (lambda g: g.generate(np.array([2**40]), GREEDY), str(2**40)),
        (lambda g: g.generate([[5], [6, 999]], GREEDY), "prompt 1 of 2: token id 999 at index 1"),
        (lambda g: g.generate([], GREEDY), "empty"),
        (lambda g: g.generate([[]], GREEDY), "empty"),
        (lambda g: g.generate("", GREEDY), r"empty \(0 tokens\)"),
        (lambda g: g.generate([5, True], GREEDY), "bool"),
        (lambda g: g.generate([5.0], GREEDY), "float"),
        (lambda g: g.generate(np.ones(3, np.float32), GREEDY), "float32"),
        (lambda g: g.generate("\ud800", GREEDY), "surrogate"),
        (lambda g: g.generate([5] * 257, GREEDY), "257.*256"),
        (lambda g: g.generate([5] * 250, GREEDY, max_tokens=7), "250.*7.*256"),
        (lambda g: g.generate([5] * 256, GREEDY, max_tokens=None), "256"),
        (lambda g: g.generate([5], temperature=-1), "temperature.*-1"),
        (lambda g: g.generate([5], top_p=0), r"top_p.*0.*\(0, 1\]"),
        (lambda g: g.generate([5], top_p=5), r"top_p.*5.*\(0, 1\]"),
        (lambda g: g.generate([5], max_new_tokens=5), "'max_new_tokens'; did you mean 'max_tokens'"),
        (lambda g: g.generate([5], GREEDY, stop_token_ids=[512]), "stop_token_ids.*512"),
        (lambda g: g.generate([5], GREEDY, logit_bias={700: 1.0}), "logit_bias.*700"),
        (lambda g: g.generate([5], GREEDY, bad_words_ids=[[3, 513]]), "bad_words_ids.*513"),
        (lambda g: g.generate([5], max_tokens=0), "max_tokens.*0"),
        (lambda g: g.generate([5], min_tokens=8, max_tokens=4), "min_tokens"),
        (lambda g: g.generate(None), "NoneType"),
        (lambda g: g.score([5], []), "empty"),
        (lambda g: g.score([[5], [6]], [[7]]), "2 prompts need as many continuations, but there are 1"),
        (lambda g: g.score("the", ""), "at least 1"),
        (lambda g: g.decode([512]), "512"),
        (lambda g: g.decode([-3]), "-3"),
        (lambda g: g.decode([1.5]), "1.5"),
        (lambda g: g.chat([{"role": "wizard", "content": "x"}]), "unknown role wizard"),
        (lambda g: g.chat([]), "messages is empty"),
    ],
)
def test_a_bad_call_raises_a_value_error_with_the_number(
    generator: Generator, call: Callable[[Generator], Any], message: str
) -> None:
    with pytest.raises(InvalidArgumentError, match=message) as caught:
        call(generator)
    assert isinstance(caught.value, SkyworkError)
    assert isinstance(caught.value, ValueError)
    # The generator is as good as before.
    assert len(generator.generate([5], GREEDY, ignore_eos=True).token_ids) == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bakcend": "lite"}, "'bakcend'; did you mean 'backend'"),
        ({"n_ctx": 5}, "'n_ctx'"),
        ({"backend": "cuda"}, "cuda"),
        ({"backend": 5}, "backend is 5"),
        ({"device": "gpu"}, "gpu"),
        ({"threads": 0}, "threads is 0"),
        ({"threads": -1}, "threads.*-1"),
        ({"threads": 1.5}, "threads is 1.5"),
        ({"threads": True}, "threads is True"),
        ({"max_length": 257}, "257.*256"),
        ({"max_length": 0}, "max_length is 0"),
        ({"max_length": -5}, "max_length"),
        ({"max_length": "long"}, "max_length is 'long'"),
        ({"max_batch": 0}, "max_batch.*0"),
        ({"prefill_budget": 0}, "prefill_budget.*0"),
        ({"max_queue": 0}, "max_queue.*0"),
        ({"prefix_cache": 1}, "prefix_cache is 1"),
    ],
)
def test_a_bad_option_is_refused(tiny_bundle: Path, backend: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises((InvalidArgumentError, skywork_rt.UnsupportedError), match=message):
        Generator(tiny_bundle, **{"backend": backend, **options})


def test_a_directory_that_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(skywork_rt.BundleNotFoundError, match=r"model\.json") as caught:
        Generator(tmp_path)
    assert isinstance(caught.value, FileNotFoundError)
    with pytest.raises(skywork_rt.BundleNotFoundError, match="nowhere"):
        Generator(tmp_path / "nowhere")
    (tmp_path / "file").write_text("x")
    with pytest.raises(SkyworkError, match="file"):
        Generator(tmp_path / "file")


@pytest.fixture
def broken(tiny_bundle: Path, tmp_path: Path) -> Path:
    """A copy of the tiny bundle that a test may damage."""
    return Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))


def change_manifest(bundle: Path, change: Callable[[dict[str, Any]], None]) -> None:
    manifest = json.loads((bundle / "model.json").read_text())
    change(manifest)
    (bundle / "model.json").write_text(json.dumps(manifest))


def files_of(bundle: Path, role: str) -> list[str]:
    files = json.loads((bundle / "model.json").read_text())["files"]
    return [name for name, entry in files.items() if entry["role"] == role]


def test_a_newer_format_is_refused(broken: Path, backend: str) -> None:
    change_manifest(broken, lambda m: m.update(version=4))
    with pytest.raises(
        skywork_rt.UnsupportedError, match="format version 4, but this version of skywork_rt reads 1 to 3"
    ):
        Generator(broken, backend=backend)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"format": "other"}', "\x00\x01", "{" * 100_000])
def test_a_manifest_that_is_no_manifest(broken: Path, backend: str, text: str) -> None:
    (broken / "model.json").write_text(text)
    with pytest.raises((skywork_rt.CorruptBundleError, skywork_rt.BundleNotFoundError, skywork_rt.UnsupportedError)):
        Generator(broken, backend=backend)


def test_a_missing_file_is_named(broken: Path, backend: str) -> None:
    name = files_of(broken, "graph" if backend == "lite" else "weights")[0]
    (broken / name).unlink()
    with pytest.raises(skywork_rt.CorruptBundleError, match=name):
        Generator(broken, backend=backend)


def test_a_truncated_file_is_named_with_both_sizes(broken: Path, backend: str) -> None:
    name = files_of(broken, "graph" if backend == "lite" else "weights")[0]
    size = (broken / name).stat().st_size
    with (broken / name).open("r+b") as file:
        file.truncate(size - 1)
    with pytest.raises(skywork_rt.CorruptBundleError, match=rf"(?s){name}.*{size - 1}"):
        Generator(broken, backend=backend)


def test_a_flipped_bit_is_found(broken: Path, backend: str) -> None:
    name = {"lite": (files_of(broken, "graph") or [""])[0], "native": "weights-f32.safetensors"}[backend]
    data = bytearray((broken / name).read_bytes())
    data[len(data) // 2] ^= 1
    (broken / name).write_bytes(data)
    weights = {"lite": "auto", "native": "f32"}[backend]
    with pytest.raises(skywork_rt.CorruptBundleError, match=name):
        Generator(broken, backend=backend, weights=weights, verify=True)


def test_a_damaged_tokenizer_is_found(broken: Path, backend: str) -> None:
    (name,) = files_of(broken, "tokenizer")
    data = bytearray((broken / name).read_bytes())
    data[len(data) // 2] ^= 1
    (broken / name).write_bytes(data)
    with Generator(broken, backend=backend) as generator, pytest.raises(skywork_rt.CorruptBundleError, match=name):
        generator.encode("x")


@pytest.mark.parametrize("name", ["../model.json", "/etc/passwd", "..", "a/b", ""])
def test_file_names_cannot_leave_the_bundle(broken: Path, backend: str, name: str) -> None:
    def change(manifest: dict[str, Any]) -> None:
        manifest["files"][name] = {"role": "tokenizer", "size": 1, "sha256": "0" * 64}
        manifest["tokenizer"]["file"] = name

    change_manifest(broken, change)
    with pytest.raises(skywork_rt.CorruptBundleError):
        Generator(broken, backend=backend).encode("x")


def test_a_bundle_without_tokenizer_takes_ids_only(bare_bundle: Path, backend: str) -> None:
    with Generator(bare_bundle, backend=backend) as generator:
        assert generator.tokenizer is None
        result = generator.generate([5, 6], GREEDY, ignore_eos=True)
        assert len(result.token_ids) == 4
        assert result.text == ""
        for call in (lambda: generator.generate("text"), lambda: generator.encode("text")):
            with pytest.raises(skywork_rt.UnsupportedError, match="tokenizer"):
                call()
        with pytest.raises(skywork_rt.UnsupportedError):
            generator.chat([{"role": "user", "content": "x"}])
        with pytest.raises(SkyworkError, match="stop"):
            generator.generate([5], GREEDY, stop=["x"])
        with pytest.raises(skywork_rt.UnsupportedError):
            generator.decode([5])


def test_a_request_that_could_never_fit_the_cache(tiny_bundle: Path, backend: str) -> None:
    with Generator(tiny_bundle, backend=backend, max_cached_tokens=64, max_length=256) as generator:
        with pytest.raises(SkyworkError, match="64"):
            generator.generate([5] * 60, GREEDY, max_tokens=100)
        assert len(generator.generate([5] * 30, GREEDY, ignore_eos=True).token_ids) == 4
