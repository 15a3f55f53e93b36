"""Small sets in the files' published layouts, of questions of our own, as directories and as downloaded archives."""

from __future__ import annotations

import csv
import io
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

#: (question, A, B, C, D, answer)
Row = tuple[str, str, str, str, str, str]

_FACTS: list[Row] = [
    ("水的化学式是什么？", "H2O", "CO2", "NaCl", "O2", "A"),
    ("下列城市中，哪一个是陕西省的省会？", "兰州", "西安", "郑州", "武汉", "B"),
    ("一年有多少个月？", "10", "11", "12", "13", "C"),
    ("“床前明月光”的作者是谁？", "杜甫", "王维", "白居易", "李白", "D"),
    ("下面说法正确的是\n①地球绕太阳转\n②太阳绕地球转", "①", "②", "①②", "都不对", "A"),
    ('他说："好,走吧"，这句话里有几个逗号？', "0", "1", "2", "3", "B"),
    ("若 x+2=5，则 x 等于", "1", "2", "3", "4.50", "C"),
    ("声音在下列哪种介质中不能传播？", "水", "钢铁", "空气", "真空", "D"),
]
_ENGLISH: list[Row] = [
    ("What is the capital of France?", "Paris", "Rome", "Madrid", "Berlin", "A"),
    ('Which of these is a "prime", in mathematics?', "4", "7", "8", "9", "B"),
    ("Which planet is the largest?\nChoose one.", "Mars", "Venus", "Jupiter", "Mercury", "C"),
    ("Ice is a form of", "iron", "sand", "oil", "water", "D"),
]


def rows_of(kind: str, subject: str, count: int, start: int = 0) -> list[Row]:
    """Questions that differ by a number in them; the answers go round."""
    facts = _ENGLISH if kind == "mmlu" else _FACTS
    made = []
    for number in range(start, start + count):
        question, a, b, c, d, answer = facts[number % len(facts)]
        made.append((f"{question} ({len(subject)}-{number})", a, b, c, d, answer))
    return made


def csv_bytes(kind: str, rows: list[Row], *, bom: bool = False) -> bytes:
    """A file as `kind` is published."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n" if kind == "ceval" else "\n")
    if kind == "ceval":
        writer.writerow(["id", "question", "A", "B", "C", "D", "answer", "explanation"])
        writer.writerows([number, *row, "因为如此"] for number, row in enumerate(rows))
    elif kind == "cmmlu":
        writer.writerow(["", "Question", "A", "B", "C", "D", "Answer"])
        writer.writerows([number, *row] for number, row in enumerate(rows))
    else:
        writer.writerows(rows)
    return (b"\xef\xbb\xbf" if bom else b"") + text.getvalue().encode()


SPLIT = {"ceval": "val", "mmlu": "test", "cmmlu": "test"}


def path_of(kind: str, split: str, subject: str) -> str:
    return f"{split}/{subject}.csv" if kind == "cmmlu" else f"{split}/{subject}_{split}.csv"


def files_of(kind: str, counts: Mapping[str, int]) -> dict[str, bytes]:
    """Five examples of each subject, and so many questions, by the files' names."""
    files = {}
    for subject, count in counts.items():
        files[path_of(kind, "dev", subject)] = csv_bytes(kind, rows_of(kind, subject, 5, 1000))
        files[path_of(kind, SPLIT[kind], subject)] = csv_bytes(kind, rows_of(kind, subject, count), bom=kind == "ceval")
    return files


def write_directory(folder: Path, files: Mapping[str, bytes]) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def write_zip(path: Path, files: Mapping[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("dev/", b"")
        for name, data in files.items():
            archive.writestr(name, data)
            archive.writestr(f"__MACOSX/{name}", b"resource fork")
    return path


def write_tar(path: Path, files: Mapping[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]  # one of its modes
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path
