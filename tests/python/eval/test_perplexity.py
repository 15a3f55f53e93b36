"""Windows, bytes, long files and bad files of skywork-rt eval ppl, on the tiny models."""

from __future__ import annotations

import json
import math
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from skywork_rt import Generator, InvalidArgumentError, UnsupportedError
from skywork_rt.bundle.info import BundleInfo
from skywork_rt.cli.app import run
from skywork_rt.evaluate.perplexity import measure_perplexity
from skywork_rt.evaluate.text_tokens import stream_ids
from skywork_rt.text.tokenizer import load_tokenizer

MORE = "  and more\n\n"
TEXT = "".join(f"第{n}行：the quick brown fox, {n * n} 次。\n{'' if n % 3 else MORE}" for n in range(60))


@pytest.fixture(scope="module")
def generator(tiny_bundle: Path) -> Iterator[Generator]:
    with Generator(tiny_bundle, backend="native") as opened:
        yield opened


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text(TEXT, encoding="utf-8", newline="")
    return path


@pytest.mark.parametrize(("window", "stride"), [(255, None), (100, 30), (64, 64), (255, 1)])
def test_windows_score_every_token_once(generator: Generator, file: Path, window: int, stride: int | None) -> None:
    """Against `score` with each window written out."""
    if stride == 1:
        file.write_text(TEXT[:300], encoding="utf-8")
    ids = generator.encode(file.read_text(encoding="utf-8"))
    step = window // 2 if stride is None else stride
    total, tokens, previous = 0.0, 0, 0
    for begin in range(0, len(ids), step):
        end = min(begin + window, len(ids))
        start = max(previous, begin + 1)
        if start < end:
            total += generator.score(ids[begin:start], ids[start:end]).logprob
            tokens += end - start
        previous = end
        if end == len(ids):
            break
    found = measure_perplexity(generator, file, window=window, stride=stride)
    assert found.tokens == tokens
    assert found.nll == pytest.approx(-total, rel=1e-5)
    assert found.per_token == pytest.approx(math.exp(-total / tokens), rel=1e-4)
    spelled = sum(map(len, ids_bytes(generator, ids)))
    if step < window:
        assert found.bytes == spelled == file.stat().st_size  # bos alone is not scored


def ids_bytes(generator: Generator, ids: list[int]) -> list[bytes]:
    assert generator.model.bos_id == ids[0]
    return [file.encode() for file in [generator.decode(ids)]]


@pytest.mark.parametrize("kind", ["byte-level", "sentencepiece"])
def test_long_texts_have_the_same_ids_piece_by_piece(kind: str, tiny_bundle: Path, sentencepiece_bundle: Path) -> None:
    tokenizer = load_tokenizer(BundleInfo.open(tiny_bundle if kind == "byte-level" else sentencepiece_bundle))
    assert tokenizer is not None
    text = TEXT * 20
    pieces = list(stream_ids((text[i : i + 700] for i in range(0, len(text), 700)), tokenizer, piece=2000))
    assert len(pieces) > 10
    assert [token for piece in pieces for token in piece] == tokenizer.encode(text)
    whole = "no end of a line " * 900
    assert [t for piece in stream_ids([whole[:9000], whole[9000:]], tokenizer, piece=2000) for t in piece] == (
        tokenizer.encode(whole)
    )


def test_documents_of_json_lines_are_measured_each_by_itself(generator: Generator, tmp_path: Path) -> None:
    texts = [TEXT[:500], "短文", TEXT[500:900]]
    total, tokens = 0.0, 0
    for text in texts:
        ids = generator.encode(text)
        total -= generator.score(ids[:1], ids[1:]).logprob if len(ids) < 256 else 0.0
        tokens += len(ids) - 1
    path = tmp_path / "texts.jsonl"
    path.write_text("".join(json.dumps({"body": text}) + "\n\n" for text in ["", *texts]), encoding="utf-8")
    found = measure_perplexity(generator, path, field="body", window=255, stride=200)
    assert (found.documents, found.tokens) == (3, tokens)
    assert found.bytes == sum(len(text.encode()) for text in texts)
    if all(len(generator.encode(text)) < 256 for text in texts):
        assert found.nll == pytest.approx(total, rel=1e-5)


@pytest.mark.slow
def test_a_long_file_is_not_held(generator: Generator, tmp_path: Path) -> None:
    path = tmp_path / "long.txt"
    with path.open("w", encoding="utf-8") as written:
        for _ in range(400):
            written.write(TEXT.replace("fox", "fox " + "x" * 200))
    assert path.stat().st_size > 5_000_000
    tracemalloc.start()
    try:
        blocks = iter(lambda: opened.read(100_000), "")
        with path.open(encoding="utf-8", newline="") as opened:
            count = sum(map(len, stream_ids(blocks, generator.tokenizer, piece=200_000)))  # type: ignore[arg-type]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 * count, f"the list of {count} ids alone would take that; the peak was {peak}"


def test_what_cannot_be_measured_is_told(generator: Generator, bare_bundle: Path, file: Path, tmp_path: Path) -> None:
    def refused(match: str, path: Path, **options: object) -> None:
        with pytest.raises(InvalidArgumentError, match=match):
            measure_perplexity(generator, path, **options)  # type: ignore[arg-type]

    refused("window is 256, but must be 2 to 255", file, window=256)
    refused("stride is 65, but must be 1 to 64", file, window=64, stride=65)
    refused("is no file", tmp_path)
    refused("format is 'csv'", file, kind="csv")
    (tmp_path / "empty.txt").write_bytes(b"")
    refused("has no text of two tokens", tmp_path / "empty.txt")
    (tmp_path / "gb.txt").write_bytes("水的化学式".encode("gb18030") * 100_000)
    refused("not UTF-8.*iconv", tmp_path / "gb.txt")
    (tmp_path / "cut.txt").write_bytes("水的".encode()[:-1])
    refused("ends within a character", tmp_path / "cut.txt")
    (tmp_path / "a.jsonl").write_text('{"text": "a b"}\n{"content": "x", "n": 1}\n')
    refused(r"line 2 has no text 'text'; there is 'content', 'n': name its field", tmp_path / "a.jsonl")
    (tmp_path / "b.jsonl").write_text('{"text": "a b"}\n{')
    refused("line 2 is no JSON", tmp_path / "b.jsonl")
    with Generator(bare_bundle, backend="native") as bare, pytest.raises(UnsupportedError, match="--tokenizer"):
        measure_perplexity(bare, file)


def test_the_command_prints_both_kinds(tiny_bundle: Path, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["eval", "ppl", str(tiny_bundle), str(file), "--backend", "native", "--window", "128", "--stride", "64"]
    assert run([*arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["token_perplexity"] == pytest.approx(math.exp(found["nll"] / found["tokens"]))
    assert found["byte_perplexity"] == pytest.approx(2 ** found["bits_per_byte"])
    assert run([*arguments, "--bytes"]) == 0
    assert capsys.readouterr().out.startswith(f"perplexity per byte   {found['byte_perplexity']:.4f}")
    assert run([*arguments, "--tokens"]) == 0
    assert capsys.readouterr().out.startswith(f"perplexity per token  {found['token_perplexity']:.4f}")
