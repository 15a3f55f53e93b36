"""The command line through real processes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import skywork_rt


def cli(*arguments: str, stdin: str | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "skywork_rt", *arguments],
        input=stdin, capture_output=True, text=True, timeout=120, check=False, env={**os.environ, **environment},
    )  # fmt: skip


def assert_error(result: subprocess.CompletedProcess[str], status: int, *words: str) -> None:
    """One line that begins with `error:`, at most one hint, no traceback."""
    lines = result.stderr.splitlines()
    assert result.returncode == status, result.stderr
    assert lines[0].startswith("error: "), result.stderr
    assert len(lines) <= 2
    assert all(line.startswith("hint: ") for line in lines[1:])
    for word in words:
        assert word in lines[0]


def test_generate_streams_one_prompt(tiny_bundle: Path, backend: str) -> None:
    options = ("--backend", backend, "--temperature", "0", "--max-tokens", "8", "--ignore-eos")
    streamed = cli("generate", str(tiny_bundle), "the quick", *options)
    whole = cli("generate", str(tiny_bundle), "the quick", "--no-stream", *options)
    with skywork_rt.Generator(tiny_bundle, backend=backend) as generator:
        expected = generator.generate("the quick", temperature=0, max_tokens=8, ignore_eos=True)
    assert (streamed.returncode, streamed.stderr) == (0, "")
    assert streamed.stdout == whole.stdout == f"the quick{expected.text}\n"


def test_generate_gives_json_a_prompt(tiny_bundle: Path, backend: str) -> None:
    result = cli(
        "generate", str(tiny_bundle), "the", "quick", "--json", "--backend", backend, "--max-tokens", "4",
        "--seed", "3", "--ignore-eos", "-n", "2", "--logprobs", "1",
    )  # fmt: skip
    assert (result.returncode, result.stderr) == (0, "")
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [row["prompt"] for row in rows] == ["the", "quick"]
    assert all(row["seed"] == 3 and len(row["outputs"]) == 2 for row in rows)
    assert all(len(output["logprobs"]) == 4 for row in rows for output in row["outputs"])
    assert rows[0]["timings"]["tokens_per_second"] > 0


def test_generate_reads_a_prompt_from_standard_input(tiny_bundle: Path, backend: str) -> None:
    options = ("--backend", backend, "--temperature", "0", "--max-tokens", "4")
    piped = cli("generate", str(tiny_bundle), "-", *options, stdin="the quick")
    assert piped.returncode == 0
    assert piped.stdout == cli("generate", str(tiny_bundle), "the quick", *options).stdout


def test_chat_answers_each_line_and_keeps_the_conversation(tiny_bundle: Path, backend: str) -> None:
    options = ("--backend", backend, "--temperature", "0", "--max-tokens", "6")
    result = cli(
        "chat", str(tiny_bundle), *options, stdin="Hello\nAgain\n/reset\nHello\n/system Be kind\nHello\n/nothing\n"
    )
    assert result.returncode == 0
    with skywork_rt.Generator(tiny_bundle, backend=backend) as generator:
        first = [{"role": "user", "content": "Hello"}]
        one = generator.chat(first, temperature=0, max_tokens=6).text
        second = [*first, {"role": "assistant", "content": one}, {"role": "user", "content": "Again"}]
        two = generator.chat(second, temperature=0, max_tokens=6).text
        kind = [{"role": "system", "content": "Be kind"}, *first]
        three = generator.chat(kind, temperature=0, max_tokens=6).text
    assert result.stdout == f"{one}\n{two}\n{one}\n{three}\n"
    assert "there is no command /nothing" in result.stderr


def test_info_shows_what_the_bundle_holds(tiny_bundle: Path) -> None:
    result = cli("info", str(tiny_bundle), "--verify")
    assert result.returncode == 0
    for word in ("tiny", "vocabulary", "512", "4 heads, 2 for keys", "tokenizer.json"):
        assert word in result.stdout
    shown = json.loads(cli("info", str(tiny_bundle), "--json").stdout)
    assert shown["model"]["vocab_size"] == 512
    assert shown["problems"] == []


def test_info_finds_damage(tiny_bundle: Path, tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))
    data = bytearray((bundle / "tokenizer.json").read_bytes())
    data[10] ^= 1
    (bundle / "tokenizer.json").write_bytes(data)
    assert cli("info", str(bundle)).returncode == 0
    assert_error(cli("info", str(bundle), "--verify"), 1, "tokenizer.json", "SHA-256")
    (bundle / "tokenizer.json").unlink()
    assert_error(cli("info", str(bundle)), 1, "tokenizer.json is missing")


def test_doctor_tells_what_is_there(tiny_bundle: Path) -> None:
    result = cli("doctor", "--json")
    assert result.returncode == 0
    facts = json.loads(result.stdout)
    for name in ("python", "skywork_rt", "cpu", "cpu features", "memory", "mindspore lite", "libraries", "cache"):
        assert facts[name]
    assert skywork_rt.__version__ in facts["skywork_rt"]
    assert "cores usable" in cli("doctor").stdout


def test_doctor_says_how_to_get_lite(tmp_path: Path) -> None:
    result = cli("doctor", SKYWORK_RT_CACHE=str(tmp_path), LITE_HOME="")
    assert "skywork-rt lite install" in result.stdout


@pytest.mark.slow
def test_errors_are_one_line_and_a_status(tiny_bundle: Path, tmp_path: Path, backend: str) -> None:
    bundle = str(tiny_bundle)
    assert_error(cli("generate", str(tmp_path), "x"), 1, "model.json")
    assert_error(cli("generate", bundle, "x", "--top-p", "7"), 2, "top_p", "7", "(0, 1]")
    assert_error(cli("generate", bundle, "x", "--top-q", "7"), 2, "--top-q")
    assert_error(cli("generate", bundle), 2, "prompts")
    assert_error(cli("generate", bundle, ""), 2, "empty")
    assert_error(cli("generate", bundle, "x", "--backend", "cuda"), 2, "cuda")
    assert_error(cli("generate", bundle, "x", "--backend", backend, "--max-length", "9999"), 2, "9999", "256")
    assert_error(cli("info", str(tmp_path / "nowhere")), 1, "nowhere")
    assert_error(cli("export", str(tmp_path / "nowhere"), str(tmp_path / "out")), 1, "nowhere")
    assert_error(cli("frobnicate"), 2, "frobnicate")
    assert not (tmp_path / "out").exists()


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    result = cli("--debug", "info", str(tmp_path))
    assert result.returncode == 1
    assert "Traceback" in result.stderr


def test_version_and_cmakedir() -> None:
    assert cli("version").stdout.strip() == skywork_rt.__version__
    result = cli("--cmakedir")
    if result.returncode == 0:
        assert (Path(result.stdout.strip()) / "skywork_rt-config.cmake").is_file()
    else:
        assert result.stderr.startswith("error: ")


@pytest.mark.slow
def test_export_makes_a_bundle_that_generates(tmp_path: Path) -> None:
    from bundles import tiny_source

    source = tiny_source(tmp_path / "source")
    result = cli("export", str(source), str(tmp_path / "out"), "--for", "native", "--weights", "int8")
    assert result.returncode == 0, result.stderr
    assert "MB" in result.stdout
    assert_error(cli("export", str(source), str(tmp_path / "out"), "--for", "native"), 2, "out")
    assert cli("generate", str(tmp_path / "out"), "the", "--max-tokens", "3").returncode == 0
