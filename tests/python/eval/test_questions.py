"""Published files become the recipe's prompts; everything that is wrong with a file is told with its place."""

from __future__ import annotations

import tarfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from question_sets import csv_bytes, files_of, path_of, write_directory, write_tar, write_zip

from skywork_rt import InvalidArgumentError
from skywork_rt.evaluate.prompts import prompts_of
from skywork_rt.evaluate.questions import SubjectData, read_task
from skywork_rt.evaluate.statistics import mean_of_shares, share
from skywork_rt.evaluate.tasks import TASKS

TWO = {"ceval": ("law", "logic"), "mmlu": ("anatomy", "marketing"), "cmmlu": ("arts", "logical")}


def read(kind: str, path: Path, *, shots: int = 5, limit: int | None = None) -> list[SubjectData]:
    task = TASKS[kind]
    return read_task(task, path, task.chosen(TWO[kind]), task.layout.default_split, shots, limit)


def small(kind: str) -> dict[str, bytes]:
    return files_of(kind, dict.fromkeys(TWO[kind], 4))


def test_the_tables_are_the_published_ones() -> None:
    def counts(kind: str) -> dict[str, int]:
        return dict(Counter(name for subject in TASKS[kind].subjects for name in subject.categories))

    assert [len(TASKS[kind].subjects) for kind in ("ceval", "mmlu", "cmmlu")] == [52, 57, 67]
    assert counts("ceval") == {"STEM": 20, "Social Science": 10, "Humanities": 11, "Other": 11, "Hard": 8}
    assert counts("mmlu") == {"STEM": 19, "Humanities": 13, "Social Sciences": 12, "Other": 13}
    assert counts("cmmlu") == {
        "STEM": 17, "Humanities": 13, "Social Science": 22, "Other": 15, "China specific": 15
    }  # fmt: skip
    for task in TASKS.values():
        assert len({subject.name for subject in task.subjects}) == len(task.subjects)
        assert {name for subject in task.subjects for name in subject.categories} == set(task.categories)


LAW = "以下是中国关于法学考试的单项选择题，请选出其中的正确答案。\n\n"
ARTS = "以下是关于艺术学的单项选择题，请直接给出正确答案的选项。\n\n题目："
WATER = "水的化学式是什么？ ({})\nA. H2O\nB. CO2\nC. NaCl\nD. O2\n答案："
FRANCE = "Question: What is the capital of France? ({})\nChoices:\nA. Paris\nB. Rome\nC. Madrid\nD. Berlin\nAnswer:"
PROMPTS = {
    "ceval": LAW + WATER.format("3-1000") + "A\n\n" + LAW + WATER.format("3-0"),
    "cmmlu": ARTS + WATER.format("4-1000") + "A\n\n" + ARTS + WATER.format("4-0"),
    "mmlu": "The following are multiple choice questions (with answers) about anatomy.\n\n"
    + (FRANCE.format("7-1000") + " A\n\n" + FRANCE.format("7-0")),
}


@pytest.mark.parametrize("kind", PROMPTS)
def test_prompts_are_the_recipes(kind: str, tmp_path: Path) -> None:
    found = read(kind, write_directory(tmp_path, small(kind)), shots=1)
    data = next(entry for entry in found if entry.subject.name == TWO[kind][0])
    parts = next(prompts_of(TASKS[kind], data))
    assert parts.text(1) == PROMPTS[kind]
    ending = PROMPTS[kind].rindex("Question" if kind == "mmlu" else "以下是")
    start = PROMPTS[kind].index("Question") if kind == "mmlu" else 0
    assert parts.text(0) == PROMPTS[kind][:start] + PROMPTS[kind][ending:]


@pytest.mark.parametrize("kind", TWO)
def test_downloads_are_read_as_they_are(kind: str, tmp_path: Path) -> None:
    files = small(kind)
    below = {f"data/{name}": data for name, data in files.items()}
    wanted = read(kind, write_directory(tmp_path / "directory", files))
    assert [len(entry.questions) for entry in wanted] == [4, 4]
    assert wanted[0].questions[2].text.count("\n") == (1 if kind == "mmlu" else 0)
    (tmp_path / "downloads").mkdir()
    paths = [
        write_directory(tmp_path / "above", below),
        write_zip(tmp_path / "ceval-exam.zip", files),
        write_zip(tmp_path / "below.zip", below),
        write_tar(tmp_path / "data.tar", {f"./{name}": data for name, data in below.items()}),
        write_tar(tmp_path / "data.tar.gz", below, "w:gz"),
        write_zip(tmp_path / "downloads" / "a.zip", files).parent,
    ]
    for path in paths:
        assert read(kind, path) == wanted, path
    assert read(kind, paths[1], limit=2)[0].questions == wanted[0].questions[:2]
    assert read(kind, paths[1], shots=0)[0].examples == ()


Change = Callable[[dict[str, bytes]], None]


def replacing(old: bytes, new: bytes) -> Change:
    def change(files: dict[str, bytes]) -> None:
        name = path_of("ceval", "val", "law")
        assert old in files[name]
        files[name] = files[name].replace(old, new, 1)

    return change


def setting(name: str, data: bytes | None) -> Change:
    def change(files: dict[str, bytes]) -> None:
        if data is None:
            del files[name]
        else:
            files[name] = data

    return change


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (replacing(",B,因".encode(), ",E,因".encode()), r"law_val\.csv, line 3: the answer is 'E'"),
        (replacing(",B,因".encode(), ",,因".encode()), r"law_val\.csv, line 3: the answer is ''"),
        (replacing(b"answer", b"key"), r"law_val\.csv, line 1: the columns 'answer' are missing; there are 'id'"),
        (replacing("兰州".encode(), "兰,州".encode()), r"law_val\.csv, line 3 has 9 columns, but must have 8"),
        (replacing("兰州".encode(), '"兰州'.encode()), r"law_val\.csv, line .*is a quotation mark missing"),
        (replacing("兰州".encode(), "兰州".encode("gb18030")), r"law_val\.csv, line 3: byte 0x.* iconv"),
        (setting("val/law_val.csv", b""), r"law_val\.csv has no question"),
        (setting("val/law_val.csv", None), r"lacks 1 of 4 files: val/law_val\.csv; .*--subjects"),
        (setting("dev/logic_dev.csv", csv_bytes("ceval", [])), r"logic_dev\.csv has no question"),
    ],
)
def test_what_is_wrong_with_a_file_is_told_with_its_place(change: Change, told: str, tmp_path: Path) -> None:
    files = small("ceval")
    change(files)
    with pytest.raises(InvalidArgumentError, match=told):
        read("ceval", write_directory(tmp_path / "directory", files))
    with pytest.raises(InvalidArgumentError, match=told):
        read("ceval", write_zip(tmp_path / "archive.zip", files))


def test_archives_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    files = small("mmlu")
    for name in ("../../evil.csv", "/etc/evil.csv", "a\\..\\..\\evil.csv"):
        with pytest.raises(InvalidArgumentError, match="leads out of the archive"):
            read("mmlu", write_zip(tmp_path / "evil.zip", {**files, name: b"x"}))
    with pytest.raises(InvalidArgumentError, match="leads out of the archive"):
        read("mmlu", write_tar(tmp_path / "evil.tar", {**files, "../evil.csv": b"x"}))
    whole = write_zip(tmp_path / "whole.zip", files).read_bytes()
    (tmp_path / "cut.zip").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InvalidArgumentError, match="neither a directory nor"):
        read("mmlu", tmp_path / "cut.zip")
    (tmp_path / "bad.zip").write_bytes(whole.replace(whole[60:70], b"\0" * 10, 1))
    with pytest.raises(InvalidArgumentError, match=r"bad\.zip"):
        read("mmlu", tmp_path / "bad.zip")
    tar = write_tar(tmp_path / "whole.tar.gz", files, "w:gz").read_bytes()
    (tmp_path / "cut.tar.gz").write_bytes(tar[: len(tar) // 2])
    with pytest.raises(InvalidArgumentError, match="cut"):
        read("mmlu", tmp_path / "cut.tar.gz")
    with tarfile.open(tmp_path / "link.tar", "w") as archive:
        info = tarfile.TarInfo("test/anatomy_test.csv")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(info)
    with pytest.raises(InvalidArgumentError, match="has no file of MMLU"):
        read("mmlu", tmp_path / "link.tar")


def test_what_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError, match="does not exist"):
        read("ceval", tmp_path / "nowhere")
    with pytest.raises(InvalidArgumentError, match="has no file of C-Eval such as dev/"):
        read("ceval", tmp_path)
    deeper = {**small("ceval"), "again/val/law_val.csv": b""}
    assert len(read("ceval", write_directory(tmp_path / "deeper", deeper))) == 2
    twice = {f"{place}/{name}": data for place in ("a", "b") for name, data in small("ceval").items()}
    with pytest.raises(InvalidArgumentError, match="has C-Eval twice, in a/ and b/"):
        read("ceval", write_directory(tmp_path / "twice", twice))
    with pytest.raises(InvalidArgumentError, match=r"has 5 examples, but --shots asks for 6"):
        read("ceval", write_directory(tmp_path / "few", small("ceval")), shots=6)
    with pytest.raises(InvalidArgumentError, match="did you mean 'anatomy'"):
        TASKS["mmlu"].chosen(["anatomi"])
    with pytest.raises(InvalidArgumentError, match="use --split val"):
        TASKS["ceval"].check_split("test")
    with pytest.raises(InvalidArgumentError, match="CMMLU has dev, test"):
        TASKS["cmmlu"].check_split("val")


def test_intervals_are_wilsons_and_of_the_mean() -> None:
    """Against values that R's prop.test(correct=FALSE) prints, and a sum by hand."""
    found = share(45, 200)
    assert (found.low, found.high) == pytest.approx((0.1726237, 0.2877412), abs=1e-6)
    assert share(0, 10).low == 0.0 and share(0, 10).high == pytest.approx(0.2775328, abs=1e-6)
    assert share(10, 10).high == 1.0
    mean = mean_of_shares([(0, 6), (6, 6)])
    assert mean.value == 0.5
    assert mean.high - mean.value == pytest.approx(1.959964 * (2 * 0.2 * 0.8 / 10) ** 0.5 / 2, abs=1e-6)
