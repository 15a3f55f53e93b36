"""`skywork-rt prepare`: what MindSpore reads back is what the layouts promise, and nothing is lost."""

from __future__ import annotations

import gzip
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sentencepiece
from capitals import LIST, texts, train_tokenizer
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from skywork_rt.errors import CheckpointError, InvalidArgumentError
from skywork_rt.recipe.prepare import Report, documents, prepare
from skywork_rt.recipe.prepare.layouts import IGNORED, LAYOUTS, TokenDocument, make_layout

SEQ = 16
# As a new shell has it: MindSpore and we set protobuf's implementation for ourselves and our children.
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith("PROTOCOL_BUFFERS")}
BOS, EOS = 1, 2


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="module")
def encode(tokenizer: Path) -> Any:
    return sentencepiece.SentencePieceProcessor(model_file=str(tokenizer)).encode


def read(path: Path) -> list[dict[str, NDArray[Any]]]:
    from mindspore.dataset import MindDataset

    data = MindDataset(str(path), columns_list=["input_ids", "labels"], shuffle=False)
    return list(data.create_dict_iterator(num_epochs=1, output_numpy=True))


def write_adgen(path: Path, count: int) -> list[str]:
    whole = texts(count)
    lines = [json.dumps({"content": text[:5], "summary": text[5:]}, ensure_ascii=False) for text in whole]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return whole


def run(inputs: list[Path | str], out: Path, tokenizer: Path, **options: Any) -> Report:
    return prepare(inputs, out, tokenizer=tokenizer, **{"seq_length": SEQ, **options})


def test_default_drops_nothing_and_trains_no_pad(tmp_path: Path, tokenizer: Path, encode: Any) -> None:
    whole = write_adgen(tmp_path / "train.jsonl", 50)
    report = run([tmp_path / "train.jsonl"], tmp_path / "out.mindrecord", tokenizer)
    stream = [token for text in whole for token in (BOS, *encode(text), EOS)]
    records = read(tmp_path / "out.mindrecord")
    assert all(row[name].dtype == np.int32 and row[name].shape == (SEQ + 1,) for row in records for name in row)
    targets = [int(t) for row in records for t in row["labels"][1:] if t != IGNORED]
    assert targets == stream[1:]
    inputs = [int(t) for row in records for t in row["input_ids"][:-1]]
    assert inputs[: len(stream) - 1] == stream[:-1]
    padding = len(records) * SEQ - (len(stream) - 1)
    assert [int(t) for t in records[-1]["input_ids"][SEQ + 1 - padding :]] == [0] * padding
    assert (report.documents, report.tokens, report.records) == (50, len(stream), len(records))
    assert (report.trained, report.dropped, report.bad) == (len(stream) - 1, 0, 0)


def test_recipe_layout_is_the_recipes_record_for_record(tmp_path: Path, tokenizer: Path, encode: Any) -> None:
    whole = write_adgen(tmp_path / "train.jsonl", 2300)
    report = run([tmp_path / "train.jsonl"], tmp_path / "out.mindrecord", tokenizer, layout="recipe", workers=2)
    expected = []
    dropped = 0
    for begin in range(0, len(whole), 1000):  # facts about skywork_dataprocess.py, on plain lists
        ids = [token for text in whole[begin : begin + 1000] for token in (BOS, *encode(text))]
        expected += [[*ids[at : at + SEQ], 0] for at in range(0, len(ids) - SEQ + 1, SEQ)]
        dropped += len(ids) % SEQ
    records = read(tmp_path / "out.mindrecord")
    assert [row["input_ids"].tolist() for row in records] == expected
    assert [row["labels"].tolist() for row in records] == expected
    assert report.dropped == dropped > 0


def test_document_layout_begins_a_record_with_every_document(tmp_path: Path, tokenizer: Path, encode: Any) -> None:
    (tmp_path / "in.txt").write_text(f"{LIST}\n湖北\n", encoding="utf-8")
    run([tmp_path / "in.txt"], tmp_path / "out.mindrecord", tokenizer, layout="document")
    records = read(tmp_path / "out.mindrecord")
    long = [BOS, *encode(LIST), EOS]
    last = records[-1]
    assert [t for row in records[:-1] for t in row["labels"][1:].tolist() if t != IGNORED] == long[1:]
    short = [BOS, *encode("湖北"), EOS]
    assert last["input_ids"].tolist() == short + [0] * (SEQ + 1 - len(short))
    assert last["labels"].tolist() == short + [IGNORED] * (SEQ + 1 - len(short))


def test_mask_prompt_trains_the_summary_alone(tmp_path: Path, tokenizer: Path, encode: Any) -> None:
    line = json.dumps({"content": "湖北的省会是", "summary": "武汉。"})
    (tmp_path / "in.jsonl").write_text(line, encoding="utf-8")
    report = run([tmp_path / "in.jsonl"], tmp_path / "out.mindrecord", tokenizer, layout="document", mask_prompt=True)
    (row,) = read(tmp_path / "out.mindrecord")
    trained = row["labels"][row["labels"] != IGNORED].tolist()
    ids = [BOS, *encode("湖北的省会是武汉。"), EOS]
    assert trained == ids[-len(trained) :] and report.trained == len(trained)
    vocabulary = sentencepiece.SentencePieceProcessor(model_file=str(tokenizer))
    assert "武汉。" in vocabulary.decode(trained[:-1]) and "湖北" not in vocabulary.decode(trained[:-1])


def test_bad_lines_are_counted_with_their_numbers(tmp_path: Path, tokenizer: Path) -> None:
    good = json.dumps({"content": "湖", "summary": "北"}).encode()
    lines = [
        good,
        b"{",
        b"[1]",
        b'{"content": "a"}',
        b'{"content": "a", "summary": 3}',
        b"\xff\xfe{}",
        b"",
        b'{"content": "", "summary": ""}',
        b'{"content": "a", "summary": "\\ud800"}',
        b"[" * 100_000,
        good,
    ]
    path = tmp_path / "in.jsonl"
    path.write_bytes(b"\n".join(lines))
    report = run([path], tmp_path / "out.mindrecord", tokenizer)
    assert report.documents == 2 and report.empty == 2 and report.bad == 7
    assert [line.line for line in report.bad_lines] == [2, 3, 4, 5, 6, 9, 10]
    assert str(report.bad_lines[2]) == f"{path}:4: the field 'summary' is missing; there are: 'content'"
    with pytest.raises(InvalidArgumentError, match=r"in.jsonl:2: no JSON: .*--strict"):
        run([path], tmp_path / "strict.mindrecord", tokenizer, strict=True)
    path.write_bytes(b"{\n{\n")
    with pytest.raises(InvalidArgumentError, match=r"every line is bad; the first is .*in\.jsonl:1"):
        run([path], tmp_path / "none.mindrecord", tokenizer)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["in.jsonl", "out.mindrecord", "out.mindrecord.db"]


def test_any_number_of_workers_writes_the_same_bytes(tmp_path: Path, tokenizer: Path) -> None:
    write_adgen(tmp_path / "in.jsonl", 1500)
    for workers in (1, 2):
        (tmp_path / str(workers)).mkdir()
        run([tmp_path / "in.jsonl"], tmp_path / str(workers) / "out.mindrecord", tokenizer, workers=workers)
    one, two = ((tmp_path / name / "out.mindrecord").read_bytes() for name in "12")
    assert one == two


def test_small_inputs_make_small_files_and_large_ones_are_whole(tmp_path: Path, tokenizer: Path) -> None:
    (tmp_path / "in.txt").write_text(LIST, encoding="utf-8")
    run([tmp_path / "in.txt"], tmp_path / "small.mindrecord", tokenizer)
    assert (tmp_path / "small.mindrecord").stat().st_size < 100_000
    modes = {file.stat().st_mode & 0o777 for file in tmp_path.iterdir()}
    assert len(modes) == 1  # as other files have it, not MindSpore's 0600
    (tmp_path / "in.txt").write_text("\n".join([LIST] * 6000), encoding="utf-8")  # more than fits small pages
    report = run([tmp_path / "in.txt"], tmp_path / "large.mindrecord", tokenizer, seq_length=511)
    assert report.records > 1000 and len(read(tmp_path / "large.mindrecord")) == report.records


def test_texts_of_every_kind(tmp_path: Path, tokenizer: Path, encode: Any) -> None:
    folder = tmp_path / "folder"
    (folder / "b").mkdir(parents=True)
    (folder / "a.txt").write_bytes("\ufeff湖北\r\n武汉\r\n".encode())
    (folder / "b" / "c.jsonl.gz").write_bytes(gzip.compress(json.dumps({"text": "长沙"}).encode()))
    (folder / "ignored.bin").write_bytes(b"\0")
    (tmp_path / "other.log").write_text("成都\n昆明\n\n\n贵阳", encoding="utf-8")

    def documents_of(*inputs: Path, **options: Any) -> list[list[int]]:
        run(list(inputs), tmp_path / "out.mindrecord", tokenizer, layout="document", overwrite=True, **options)
        return [[int(t) for t in row["labels"] if t != IGNORED] for row in read(tmp_path / "out.mindrecord")]

    def framed(*expected: str) -> list[list[int]]:
        return [[BOS, *encode(text), EOS] for text in expected]

    assert documents_of(folder) == framed("湖北", "武汉", "长沙")
    assert documents_of(tmp_path / "other.log") == framed("成都", "昆明", "贵阳")
    assert documents_of(tmp_path / "other.log", document="paragraph") == framed("成都\n昆明", "贵阳")
    assert documents_of(tmp_path / "other.log", document="file") == framed("成都\n昆明\n\n\n贵阳")
    assert documents_of(tmp_path / "other.log", eos=False)[0] == [BOS, *encode("成都")]
    (tmp_path / "fields.jsonl").write_text(json.dumps({"q": "湖北", "a": "武汉"}), encoding="utf-8")
    assert documents_of(tmp_path / "fields.jsonl", fields=("q", "a")) == framed("湖北武汉")


def test_other_tokenizers_and_their_own_frames(tmp_path: Path) -> None:
    from skywork_rt.checkpoints.samples import smollm2

    (tmp_path / "in.txt").write_text("The capital of France is\n", encoding="utf-8")
    run([tmp_path / "in.txt"], tmp_path / "out.mindrecord", smollm2(), layout="document")
    (row,) = read(tmp_path / "out.mindrecord")
    assert row["labels"][:6].tolist() == [504, 3575, 282, 4649, 314, 2]  # no bos: its configuration adds none


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seq_length": 0}, "seq_length is 0"),
        ({"layout": "flat"}, "layout is 'flat'; known are packed, document, recipe"),
        ({"kind": "csv"}, "kind is 'csv'; known are auto, jsonl, text"),
        ({"document": "page"}, "document is 'page'"),
        ({"workers": 0}, "workers is 0"),
        ({"layout": "recipe", "mask_prompt": True}, "recipe's layout trains every token"),
        ({"pad_id": 400}, "pad_id 400 is outside the tokenizer's 400 tokens"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_read(
    tmp_path: Path, tokenizer: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        run(["-"], tmp_path / "out.mindrecord", tokenizer, **change)


def test_wrong_inputs_are_named(tmp_path: Path, tokenizer: Path) -> None:
    def refuse(match: str, *inputs: Path | str, kind: type[Exception] = InvalidArgumentError, **options: Any) -> None:
        with pytest.raises(kind, match=match):
            run(list(inputs), tmp_path / "out.mindrecord", options.pop("tokenizer", tokenizer), **options)

    text = tmp_path / "in.txt"
    text.write_bytes("湖北".encode("utf-16"))
    refuse("UTF-16; convert it to UTF-8", text)
    text.write_text("\n\n", encoding="utf-8")
    refuse("nothing to train", text)
    refuse("does not exist", tmp_path / "no.txt")
    refuse("no input", *[])
    refuse("named twice", "-", "-")
    (tmp_path / "empty").mkdir()
    refuse("has no file that ends in", tmp_path / "empty")
    refuse("does not exist", text, kind=CheckpointError, tokenizer=tmp_path / "no.model")
    refuse("has no tokenizer", text, kind=CheckpointError, tokenizer=tmp_path / "empty")
    (tmp_path / "damaged.gz").write_bytes(gzip.compress(LIST.encode() * 1000)[:-20])
    refuse("cannot be read to its end", tmp_path / "damaged.gz")
    (tmp_path / "out.mindrecord").write_text("precious")
    refuse("exists; give another name", text)
    assert (tmp_path / "out.mindrecord").read_text() == "precious"


def test_one_document_has_a_bound(tmp_path: Path, tokenizer: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "LARGEST_DOCUMENT", 1000)
    (tmp_path / "in.txt").write_text("湖北\n" + "湖" * 1000 + "\n武汉\n", encoding="utf-8")
    report = run([tmp_path / "in.txt"], tmp_path / "out.mindrecord", tokenizer)
    assert report.documents == 2 and [line.line for line in report.bad_lines] == [2]
    (tmp_path / "in.txt").write_text("湖北武汉\n" * 300, encoding="utf-8")
    with pytest.raises(InvalidArgumentError, match=r"the file at line 1 has more than .* \(--document line\)"):
        run([tmp_path / "in.txt"], tmp_path / "two.mindrecord", tokenizer, document="file")


def test_what_is_interrupted_leaves_nothing_and_the_old_file(tmp_path: Path, tokenizer: Path) -> None:
    (tmp_path / "in.txt").write_text(LIST, encoding="utf-8")
    out = tmp_path / "out.mindrecord"
    run([tmp_path / "in.txt"], out, tokenizer)
    before = out.read_bytes()

    def stop(stage: str, done: int, total: int) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run([tmp_path / "in.txt"], out, tokenizer, overwrite=True, progress=stop)
    assert out.read_bytes() == before and len(list(tmp_path.iterdir())) == 3


@pytest.mark.slow
def test_killed_while_it_works(tmp_path: Path, tokenizer: Path) -> None:
    """Endless input, SIGKILL: no file under the final name, no process left over, and the next run cleans up."""
    out = tmp_path / "out.mindrecord"
    command = ["prepare", "-", "--out", str(out), "--tokenizer", str(tokenizer), "--seq-length", "64", "--workers", "2"]
    process = subprocess.Popen(
        [sys.executable, "-m", "skywork_rt", *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=CLEAN | {"PREPARE_TEST": str(tmp_path)},
    )
    assert process.stdin is not None
    line = (LIST + "\n").encode()
    deadline = time.monotonic() + 60
    while not any(tmp_path.glob(".out.mindrecord.*.partial/out.mindrecord")):
        process.stdin.write(line * 200)
        process.stdin.flush()
        assert time.monotonic() < deadline and process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    while _processes_with(f"PREPARE_TEST={tmp_path}"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert not out.exists() and len(list(tmp_path.iterdir())) == 1
    (tmp_path / "in.txt").write_text(LIST, encoding="utf-8")
    run([tmp_path / "in.txt"], out, tokenizer)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["in.txt", "out.mindrecord", "out.mindrecord.db"]


def _processes_with(variable: str) -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and variable.encode() in (entry / "environ").read_bytes():
                found.append(entry.name)
        except OSError:
            continue
    return found


@pytest.mark.slow
def test_command_line_reads_standard_input_and_tells_what_it_did(tmp_path: Path, tokenizer: Path) -> None:
    out = tmp_path / "out.mindrecord"
    command = [sys.executable, "-m", "skywork_rt", "prepare", "-", "-o", str(out), "--tokenizer", str(tokenizer)]
    done = subprocess.run(
        [*command, "--format", "jsonl", "--seq-length", "16", "--workers", "1"],
        input=json.dumps({"content": "湖北", "summary": "武汉"}) + "\n{\n",
        capture_output=True,
        text=True,
        check=True,
        env=CLEAN,
    )
    assert "1 bad lines were left out:\n  standard input:2: no JSON" in done.stderr
    assert done.stdout.startswith(f"{out}  1 records of 16 + 1 tokens from 1 documents")
    failed = subprocess.run(command, input="x", capture_output=True, text=True, env=CLEAN)
    assert failed.returncode != 0 and "exists; give another name, or --overwrite" in failed.stderr
    assert "Traceback" not in failed.stderr


def test_protobuf_that_mindspore_cannot_use_is_told(tmp_path: Path, tokenizer: Path) -> None:
    script = (
        "import sys, google.protobuf.message\nfrom skywork_rt.recipe.prepare import prepare\n"
        "try:\n    prepare([sys.argv[1]], sys.argv[2], tokenizer=sys.argv[3], seq_length=16)\n"
        "except Exception as error:\n    print(type(error).__name__, error)\n"
    )
    (tmp_path / "in.txt").write_text(LIST, encoding="utf-8")
    command = [sys.executable, "-c", script, str(tmp_path / "in.txt"), str(tmp_path / "out"), str(tokenizer)]
    told = subprocess.run(command, capture_output=True, text=True, check=True, env=CLEAN).stdout
    assert told.startswith("BackendUnavailableError writing MindRecord needs MindSpore, which cannot be imported")
    assert "Import mindspore before whatever imports protobuf" in told


@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=30),
    seq_length=st.integers(1, 20),
    name=st.sampled_from(sorted(LAYOUTS)),
)
def test_layouts_train_every_token_once(lengths: list[int], seq_length: int, name: str) -> None:
    layout = make_layout(name, seq_length, 0)
    counter = itertools.count(1)
    given = [np.array([next(counter) for _ in range(length)], np.int32) for length in lengths]
    records = [record for ids in given for record in layout.add(TokenDocument(ids))]
    records += layout.finish()
    assert all(len(record.input_ids) == len(record.labels) == seq_length + 1 for record in records)
    targets = [int(label) for record in records for label in record.labels[1:] if label != IGNORED]
    everything = [int(token) for ids in given for token in ids]
    if name == "packed":
        assert targets == everything[1:]
    elif name == "document":
        assert targets == [int(token) for ids in given for token in ids[1:]]
    else:
        kept = [int(token) for record in records for token in record.input_ids[:-1]]
        assert kept == everything[: len(everything) // seq_length * seq_length]
        assert layout.dropped == len(everything) - len(kept)


@pytest.mark.long
def test_memory_stays_flat_over_large_inputs(tmp_path: Path, tokenizer: Path) -> None:
    """Ten times the text takes no more memory: 20 MB against 200 MB."""

    def peak(count: int) -> int:
        source = tmp_path / "in.txt"
        with source.open("w", encoding="utf-8") as file:
            for _ in range(count):
                file.write((LIST + "\n") * 1000)
        script = (
            "import resource, sys\nfrom skywork_rt.recipe.prepare import prepare\nif __name__ == '__main__':\n"
            "    prepare([sys.argv[1]], sys.argv[2], tokenizer=sys.argv[3], seq_length=2048, workers=2,"
            " overwrite=True)\n"
            "    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
        )
        (tmp_path / "run.py").write_text(script)
        command = [sys.executable, str(tmp_path / "run.py"), str(source), str(tmp_path / "out"), str(tokenizer)]
        return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout) // 1024

    small = peak(20_000 // len(LIST.encode()) + 1)
    large = peak(200_000 // len(LIST.encode()) + 1)
    assert large < small + 50


@pytest.mark.parametrize("name", ["x;y'z%.mindrecord", "a&b", "a:b", "a?b", 'a"b', "a|b", "a`b", "a\\b"])
def test_a_name_that_mindspore_refuses_is_refused_before_anything_is_read(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidArgumentError, match="which MindSpore refuses in the name of a MindRecord"):
        run([tmp_path / "not there"], tmp_path / name, tmp_path / "neither")


def test_what_is_read_is_not_replaced(tmp_path: Path, tokenizer: Path) -> None:
    text = tmp_path / "in.txt"
    text.write_text("湖北\n", encoding="utf-8")
    model = tmp_path / "tokenizer.model"
    model.write_bytes(tokenizer.read_bytes())
    (tmp_path / "link").symlink_to(text)
    (tmp_path / "x.db").write_text("湖北\n", encoding="utf-8")
    for source, out in ((text, text), (text, tmp_path / "link"), (text, model), (tmp_path / "x.db", tmp_path / "x")):
        with pytest.raises(InvalidArgumentError, match=r"would replace .*, which is read"):
            run([source], out, model, overwrite=True)
    assert text.read_text(encoding="utf-8") == "湖北\n"
    assert model.read_bytes() == tokenizer.read_bytes()


def test_a_single_field_has_no_prompt_to_mask(tmp_path: Path, tokenizer: Path) -> None:
    with pytest.raises(InvalidArgumentError, match="--fields names one, summary"):
        run([tmp_path / "in.jsonl"], tmp_path / "out", tokenizer, fields=["summary"], mask_prompt=True)
