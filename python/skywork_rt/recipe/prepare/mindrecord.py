"""Writes records as one MindRecord file and its index, which appear whole or not at all.

A MindRecord is X and X.db, an index in SQLite, which knows its file's name: the pair may be moved to another folder,
but not renamed. So both are written in a folder beside the target, and moved. X.db comes last: X without it is refused
by MindSpore's reader.
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from skywork_rt.errors import CapacityError, InternalError, InvalidArgumentError
from skywork_rt.recipe.prepare.layouts import Record
from skywork_rt.support.atomic_directory import AtomicDirectory
from skywork_rt.support.mindspore_import import import_mindspore
from skywork_rt.support.publish import file_mode_mask, sync

__all__ = ["check_target", "read_count", "write_mindrecord"]

_PURPOSE, _EXTRA = "writing MindRecord", "recipe"
_INDEX = ".db"
_SCHEMA = {"input_ids": {"type": "int32", "shape": [-1]}, "labels": {"type": "int32", "shape": [-1]}}
_DESCRIPTION = "text"
_BATCH = 256
_REFUSED = frozenset("\\/:*?\"<>|`&;'")
"""As `check_filename` of mindspore.mindrecord has them."""

# MindSpore's own pages make every file 50 MB long. Small ones need a large header, though, once there are many pages:
# it lists them. So few records get small pages, and many the usual ones.
_FEW_RECORDS_BYTES = 1 << 20
_SMALL_HEADER, _SMALLEST_PAGE = 1 << 14, 1 << 15
_RECORDS_A_PAGE = 4


def check_target(path: Path, overwrite: bool) -> None:
    """Refuses a place that is taken, and a name that MindSpore does not write. Raises InvalidArgumentError."""
    refused = sorted(set(path.name) & _REFUSED)
    if refused:
        raise InvalidArgumentError(
            f"the name {path.name} has {' '.join(refused)} in it, which MindSpore refuses in the name of a MindRecord "
            f"(and {' '.join(sorted(_REFUSED - set(refused)))}); give another name"
        )
    if path.is_dir():
        raise InvalidArgumentError(f"{path} is a folder; give the file to write, such as {path / 'train.mindrecord'}")
    taken = [file for file in (path, _index_of(path)) if file.exists()]
    if taken and not overwrite:
        raise InvalidArgumentError(f"{taken[0]} exists; give another name, or --overwrite to replace it")


def write_mindrecord(path: Path, records: Iterable[Record], *, seq_length: int, overwrite: bool) -> int:
    """Writes all records, reads the count and both ends back, and gives the pair its place. Returns the count.

    Raises InvalidArgumentError when there is no record, CapacityError when the disk is full, BackendUnavailableError
    when MindSpore is not installed.
    """
    file_writer = import_mindspore(_PURPOSE, _EXTRA, "mindspore.mindrecord").FileWriter
    with AtomicDirectory(path, overwrite=True) as directory:
        inside = directory.path / path.name
        try:
            count, first, last = _write(file_writer, inside, records, seq_length)
        except RuntimeError as error:  # MindSpore has no other
            _refuse_full_disk(directory.path, error)
            raise InternalError(f"MindSpore could not write {path.name}: {_first_line(error)}") from error
        _verify(inside, count, first, last)
        _move(inside, path, overwrite)
    return count


def read_count(path: Path) -> int:
    """Records of a MindRecord."""
    return int(_dataset().MindDataset(str(path)).get_dataset_size())


def _dataset() -> Any:
    return import_mindspore(_PURPOSE, _EXTRA, "mindspore.dataset")


def _write(file_writer: Any, path: Path, records: Iterable[Record], seq_length: int) -> tuple[int, Record, Record]:
    given = iter(records)
    record_bytes = 2 * 4 * (seq_length + 1)
    ahead = list(itertools.islice(given, max(1, _FEW_RECORDS_BYTES // record_bytes)))
    if not ahead:
        raise InvalidArgumentError("there is nothing to train in the input: no record was made of it")
    following = next(given, None)
    writer = file_writer(str(path), 1)
    if following is None:
        writer.set_header_size(_SMALL_HEADER)
        writer.set_page_size(max(_SMALLEST_PAGE, 1 << math.ceil(math.log2(_RECORDS_A_PAGE * record_bytes))))
    writer.add_schema(_SCHEMA, _DESCRIPTION)
    count, last = 0, ahead[-1]
    rest: Iterator[Record] = given if following is None else itertools.chain([following], given)
    for batch in _chunks(itertools.chain(ahead, rest), _BATCH):
        writer.write_raw_data([_row(record) for record in batch])
        count, last = count + len(batch), batch[-1]
    writer.commit()
    return count, ahead[0], last


def _row(record: Record) -> dict[str, Any]:
    # MindSpore drops rows of another type than the schema's without a word.
    assert record.input_ids.dtype == record.labels.dtype == np.int32
    return {"input_ids": record.input_ids, "labels": record.labels}


def _chunks(records: Iterator[Record], size: int) -> Iterator[list[Record]]:
    while chunk := list(itertools.islice(records, size)):
        yield chunk


def _verify(path: Path, count: int, first: Record, last: Record) -> None:
    """What MindSpore reads is what was given to it: the count, and the records at both ends."""
    dataset = _dataset()
    found = read_count(path)
    if found != count:
        raise InternalError(f"{count} records were written, but MindSpore reads {found}; nothing was kept")
    for index, expected in ((0, first), (count - 1, last)):
        data = dataset.MindDataset(str(path), sampler=dataset.SequentialSampler(index, 1))
        (row,) = data.create_dict_iterator(num_epochs=1, output_numpy=True)
        for name in _SCHEMA:
            if not np.array_equal(row[name], getattr(expected, name)):
                raise InternalError(f"MindSpore reads another {name} of record {index} than was written")


def _move(inside: Path, path: Path, overwrite: bool) -> None:
    index = _index_of(inside)
    for file in (inside, index):
        file.chmod(0o666 & ~file_mode_mask())  # MindSpore keeps what it writes to its owner
        sync(file)
    check_target(path, overwrite)
    _index_of(path).unlink(
        missing_ok=True
    )  # from here on an old file is refused by readers, until the new one is whole
    inside.rename(path)
    index.rename(_index_of(path))
    sync(path.absolute().parent)


def _index_of(path: Path) -> Path:
    return path.with_name(path.name + _INDEX)


def _refuse_full_disk(directory: Path, error: RuntimeError) -> None:
    free = os.statvfs(directory)
    if free.f_bavail * free.f_frsize < (1 << 20):
        raise CapacityError(f"the disk is full: nothing is left beside {directory.parent}") from error


def _first_line(error: BaseException) -> str:
    """What MindSpore says itself, without its frame of general remarks."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip(" -")]
    named = [line for line in lines if line.startswith("[ERROR]")]
    return next(iter(named + lines), type(error).__name__)
