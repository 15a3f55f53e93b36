"""Finds the MindRecord files of a data set, and looks at records before a training starts on them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skywork_rt.errors import InvalidArgumentError
from skywork_rt.recipe.train.record_schema import columns_of
from skywork_rt.recipe.train.settings import Settings, at

__all__ = ["DataFiles", "check_records", "data_files", "steps_per_epoch"]

_RECORD_FILE = re.compile(r".*mindrecord\d*")
_SAMPLES = 64


@dataclass(frozen=True)
class DataFiles:
    """The files of one section (train_dataset or eval_dataset), and the columns that training takes from them."""

    section: str
    files: tuple[Path, ...]
    columns: tuple[str, ...]


def data_files(settings: Settings, section: str, warn: Callable[[str], None] = lambda text: None) -> DataFiles:
    """The files that MindFormers would read, each with its index beside. Raises InvalidArgumentError for what is
    missing, with the command that writes it."""
    loader = at(settings, f"{section}.data_loader", {})
    given = loader.get("dataset_dir") or loader.get("dataset_files")
    if not given:
        raise InvalidArgumentError(
            f"{section}.data_loader has no dataset_dir; give the MindRecord file that 'skywork-rt prepare' writes, "
            f"here or as --{section.replace('_', '-')}"
        )
    paths = [Path(item) for item in (given if isinstance(given, list) else [given])]
    files = [file for path in paths for file in _files_at(path, section)]
    for file in files:
        index = file.with_name(file.name + ".db")
        if not index.is_file():
            raise InvalidArgumentError(
                f"{section}: {file} has no index {index.name} beside it; a MindRecord is the pair of both, and "
                "'skywork-rt prepare' writes the index last, so that the file without it is not whole"
            )
    return DataFiles(section, tuple(files), _columns(settings, section, files, warn))


_BARE, _LABELLED = ("input_ids",), ("input_ids", "labels")


def _columns(settings: Settings, section: str, files: list[Path], warn: Callable[[str], None]) -> tuple[str, ...]:
    """With labels where the records have them: they keep pads and masked prompts out of the loss."""
    given = at(settings, f"{section}.input_columns")
    if given is not None and tuple(given) not in (_BARE, _LABELLED):
        raise InvalidArgumentError(
            f'{section}.input_columns is {given}; it must be ["input_ids"] or ["input_ids", "labels"]'
        )
    found = [columns_of(file) for file in files]
    if not all(names is not None and "labels" in names for names in found):
        return tuple(given) if given is not None else _BARE
    if given is not None and tuple(given) == _BARE:
        warn(
            f'{section}.input_columns is ["input_ids"], and the records have labels: they are used, so that padding '
            "and masked prompts are not trained; to train every id, prepare the data without masks"
        )
    return _LABELLED


def _files_at(path: Path, section: str) -> list[Path]:
    if path.is_file():
        return [path]
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file() and _RECORD_FILE.fullmatch(file.name))
        if files:
            return files
        raise InvalidArgumentError(
            f"{section}: the directory {path} has no file *.mindrecord; 'skywork-rt prepare' writes one"
        )
    raise InvalidArgumentError(f"{section}: {path} does not exist; 'skywork-rt prepare' writes such a file from texts")


def check_records(data: DataFiles, model: Mapping[str, Any]) -> int:
    """The number of records, after a look at some of them spread over the whole set.

    Raises InvalidArgumentError when a record is not seq_length + 1 ids long, or an id is not in the vocabulary.
    """
    import mindspore.dataset as ds
    import numpy as np

    names = [str(path) for path in data.files]
    try:
        count = int(ds.MindDataset(names, shuffle=False).get_dataset_size())
        chosen = sorted({int(index) for index in np.linspace(0, max(count - 1, 0), _SAMPLES)}) if count else []
        sample = ds.MindDataset(names, columns_list=list(data.columns), sampler=ds.SubsetSampler(chosen))
        rows = list(sample.create_dict_iterator(num_epochs=1, output_numpy=True)) if count else []
    except (RuntimeError, ValueError) as error:
        raise InvalidArgumentError(
            f"{data.section}: {names[0]} cannot be read as MindRecord with the columns {', '.join(data.columns)}: "
            f"{_first_sentence(error)}"
        ) from error
    if not count:
        raise InvalidArgumentError(f"{data.section}: {names[0]} has no records")
    for index, row in zip(chosen, rows, strict=False):
        _check_row(data, index, row, model)
    return count


def _check_row(data: DataFiles, index: int, row: Mapping[str, Any], model: Mapping[str, Any]) -> None:
    length, vocabulary = int(model.get("seq_length") or 2048), int(model.get("vocab_size") or 32000)
    ignored = int(model.get("ignore_token_id") or -100)
    for column in data.columns:
        ids = row[column].reshape(-1)
        where = f"{data.section}: {column} of record {index} of {data.files[0].name}"
        if ids.size != length + 1:
            raise InvalidArgumentError(
                f"{where} has {ids.size} ids; training at model.model_config.seq_length {length} needs {length + 1} a "
                "record (the labels are the inputs one later): prepare the data with that length, or change seq_length"
            )
        wrong = ids[((ids < 0) | (ids >= vocabulary)) & (ids != ignored if column == "labels" else True)]
        if wrong.size:
            raise InvalidArgumentError(
                f"{where} has the id {int(wrong[0])}, which is not in the vocabulary of {vocabulary} "
                "(model.model_config.vocab_size): the data was prepared with another tokenizer"
            )


def _first_sentence(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text.split(" ---")[0].split(" - C++")[0][:300]


def steps_per_epoch(records: int, global_batch: int, options: Mapping[str, Any]) -> int:
    """Steps of one pass over the data: whole batches of all ranks; `options` is train_dataset of the configuration."""
    samples = at(options, "data_loader.num_samples") or records
    steps = min(records, int(samples)) // global_batch
    if not at(options, "drop_remainder", True) and min(records, int(samples)) % global_batch:
        steps += 1
    if steps == 0:
        raise InvalidArgumentError(
            f"the {min(records, int(samples))} records of the training set do not fill one batch of {global_batch} "
            "(runner_config.batch_size times the ranks); prepare more data, or lower runner_config.batch_size"
        )
    return steps * int(at(options, "repeat", 1))
