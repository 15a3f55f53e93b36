"""Files that a download leaves in place of the right ones: each is told by what it is."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from checkpoints import write_hf

from skywork_rt.checkpoints.open import open_source
from skywork_rt.errors import CheckpointError, UnsupportedError

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 14500438\n"
PAGES = {
    "plain": b"<!DOCTYPE html>\n<html><head><title>Sign in</title></head></html>",
    "lower case": b"<!doctype html><html>",
    "no type": b"<html lang='zh'>",
    "byte order mark": b"\xef\xbb\xbf<!DOCTYPE html>",
    "comment first": b"\n <!-- saved from url -->\n<html>",
    "xhtml": b'<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE html PUBLIC "">',
}
FILES = ["config.json", "tokenizer.json", "tokenizer.model", "tokenizer_config.json", "generation_config.json"]
FILES += ["model.safetensors", "special_tokens_map.json", "added_tokens.json", "chat_template.jinja"]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return write_hf(tmp_path / "model", tokenizer="sentencepiece")


@pytest.mark.parametrize("name", FILES)
def test_a_pointer_of_git_lfs_is_told(directory: Path, name: str) -> None:
    (directory / name).write_bytes(POINTER)
    with pytest.raises(CheckpointError, match=rf"^{name} is a pointer of Git LFS, not the file itself; run 'git lfs"):
        open_source(directory)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("page", PAGES)
def test_a_web_page_is_told(directory: Path, name: str, page: str) -> None:
    (directory / name).write_bytes(PAGES[page])
    with pytest.raises(CheckpointError, match=rf"^{name} is a web page: .* download the file itself"):
        open_source(directory)


@pytest.mark.parametrize("name", FILES)
def test_an_empty_file_is_told(directory: Path, name: str) -> None:
    (directory / name).write_bytes(b"")
    with pytest.raises(CheckpointError, match=f"^{name} is empty; its download did not finish"):
        open_source(directory)


@pytest.mark.parametrize("layout", ["safetensors", "bin"])
def test_a_shard_that_is_a_pointer_is_told(tmp_path: Path, layout: str) -> None:
    directory = write_hf(tmp_path / "model", layout=layout, shards=2)
    shard = sorted(directory.glob("*-00002-of-*"))[0]
    shard.write_bytes(POINTER)
    with pytest.raises(CheckpointError, match=f"^{shard.name} is a pointer of Git LFS"):
        open_source(directory)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (POINTER, "is a pointer of Git LFS"),
        (PAGES["plain"], "is a web page"),
        (b"", "is empty"),
        (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "is a big-endian GGUF file, .* convert it with gguf_convert_endian"),
        (b"FUGG" + bytes(40), "is a GGUF file of another byte order"),
        (b"GGUF" + struct.pack("<IQQ", 1, 0, 0), "is GGUF version 1, of 2023; convert the model again"),
        (b"PK\x03\x04" + bytes(40), "is no GGUF file .* of other files give the directory"),
    ],
)
def test_a_file_that_is_no_gguf_is_told(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "m.gguf").write_bytes(content)
    for path in (tmp_path / "m.gguf", tmp_path):
        with pytest.raises((CheckpointError, UnsupportedError), match=f"^m.gguf {message}"):
            open_source(path)


def test_a_directory_without_config_json_says_what_belongs_there(directory: Path) -> None:
    (directory / "config.json").unlink()
    with pytest.raises(
        CheckpointError, match=r"^model has no config\.json: .* give that directory, a \.gguf file, or a \.ckpt"
    ):
        open_source(directory)
