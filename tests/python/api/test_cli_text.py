"""The command line and text that is not the terminal's: every end of it gives one clear line, never a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

GREEDY = ("--temperature", "0", "--max-tokens", "5", "--ignore-eos", "--backend", "native")
UTF8 = {"PYTHONIOENCODING": "utf-8"}


def cli(*arguments: str, stdin: bytes = b"", **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "skywork_rt", *arguments],
        input=stdin, capture_output=True, timeout=120, check=False, env={**os.environ, **environment},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("encoding", "prompt", "shown"),
    [
        ("gbk", "Say \U0001f600", b"Say \\U0001f600"),
        ("latin-1", "\u4f60 \xe9", b"\\u4f60 \xe9"),
        ("ascii", "\xe9", b"\\xe9"),
    ],
)
def test_what_a_terminal_cannot_show_is_written_as_an_escape(
    tiny_bundle: Path, encoding: str, prompt: str, shown: bytes
) -> None:
    result = cli("generate", str(tiny_bundle), prompt, *GREEDY, PYTHONIOENCODING=encoding)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(shown)
    (line,) = result.stderr.decode().splitlines()
    assert line.startswith("note: the output's encoding ")
    assert line.endswith("which are written as escapes; PYTHONIOENCODING=utf-8 writes them")


def test_an_encoding_that_the_user_made_lenient_is_left_alone(tiny_bundle: Path) -> None:
    result = cli("generate", str(tiny_bundle), "\u4f60", *GREEDY, PYTHONIOENCODING="ascii:replace")
    assert result.stdout.startswith(b"?")
    assert result.stderr == b""


def test_input_that_is_no_text_is_told_with_its_place(tiny_bundle: Path) -> None:
    result = cli("generate", str(tiny_bundle), "-", *GREEDY, stdin=b"un caf\xe9 noir", **UTF8)
    error, _hint = result.stderr.decode().splitlines()
    assert (result.returncode, result.stdout) == (2, b"")
    assert error.startswith("error: standard input is not utf-8: byte 0xe9 after 'un caf'; convert it, or set ")
    read = cli("generate", str(tiny_bundle), "-", *GREEDY, stdin=b"un caf\xe9 noir", PYTHONIOENCODING="latin-1")
    assert read.stdout.startswith(b"un caf\xe9 noir")


def test_a_line_of_a_chat_that_is_no_text_is_told(tiny_bundle: Path) -> None:
    result = cli("chat", str(tiny_bundle), *GREEDY, stdin=b"hello\ncaf\xe9\n", **UTF8)
    assert result.returncode == 2
    assert b"Traceback" not in result.stderr
    assert b"error: standard input is not utf-8: byte 0xe9 after 'caf'" in result.stderr


@pytest.mark.slow
def test_echo_and_printf_give_the_same_prompt(tiny_bundle: Path) -> None:
    plain = cli("generate", str(tiny_bundle), "-", *GREEDY, stdin=b"the quick", **UTF8)
    for ending in (b"\n", b"\r\n"):
        assert (
            cli("generate", str(tiny_bundle), "-", *GREEDY, stdin=b"the quick" + ending, **UTF8).stdout == plain.stdout
        )
    kept = cli("generate", str(tiny_bundle), "-", *GREEDY, stdin=b"the quick\n\n", **UTF8)
    assert kept.stdout.startswith(b"the quick\n"), "one line break is the shell's, the other the user's"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a disk that is always full")
@pytest.mark.parametrize(
    "arguments", [("generate", "BUNDLE", "the", *GREEDY), ("info", "BUNDLE", "--json"), ("version",)]
)
def test_a_full_disk_is_one_line(tiny_bundle: Path, arguments: tuple[str, ...]) -> None:
    command = [str(tiny_bundle) if word == "BUNDLE" else word for word in arguments]
    with Path("/dev/full").open("wb") as full:
        result = subprocess.run(
            [sys.executable, "-m", "skywork_rt", *command],
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=120,
            check=False,
        )
    assert result.returncode == 1
    assert result.stderr == b"error: the output cannot be written: No space left on device\n"


def test_info_prints_what_begins_and_ends(tiny_bundle: Path) -> None:
    result = cli("info", str(tiny_bundle), **UTF8)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.decode().splitlines()
    rows = {line.split()[0]: line.split(maxsplit=1)[1].strip() for line in lines if len(line.split()) > 1}
    assert rows["prompts"] == "begin with 1 '<s>'"
    assert rows["special"].startswith("bos 1 '<s>'")
    assert rows["ends"] == "2 '</s>'"
