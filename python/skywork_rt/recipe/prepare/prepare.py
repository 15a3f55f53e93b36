"""From text to a MindRecord: the order of the steps, and what is refused before the first of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from skywork_rt.checkpoints.open_tokenizer import open_tokenizer_files
from skywork_rt.checkpoints.tokenizers.tokenizer_files import TokenizerFiles
from skywork_rt.errors import InvalidArgumentError
from skywork_rt.recipe.prepare.documents import (
    DOCUMENT_UNITS,
    STDIN,
    DocumentReader,
    DocumentUnit,
    Format,
    find_files,
)
from skywork_rt.recipe.prepare.layouts import IGNORED, LAYOUTS, Record, TokenDocument, make_layout
from skywork_rt.recipe.prepare.mindrecord import check_target, write_mindrecord
from skywork_rt.recipe.prepare.report import BadLine, Report
from skywork_rt.recipe.prepare.tokenise import Framing, tokenise
from skywork_rt.support.stages import Progress, no_progress

__all__ = ["prepare"]

_STAGE = "Preparing records"
_FORMATS = ("auto", "jsonl", "text")
_RECIPE = "recipe"


def prepare(
    inputs: Sequence[Path | str],
    out: Path | str,
    *,
    tokenizer: Path | str,
    seq_length: int,
    layout: str = "packed",
    kind: Format = "auto",
    document: DocumentUnit = "line",
    fields: Sequence[str] = (),
    eos: bool = True,
    mask_prompt: bool = False,
    pad_id: int | None = None,
    strict: bool = False,
    workers: int = 1,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Report:
    """Writes the MindRecord `out` (and `out`.db) from texts: fields input_ids and labels, int32 [seq_length + 1].

    Args:
        inputs: files, folders (all text and JSON lines in them), or "-" for standard input.
        out: the file to write. It appears when it is complete and its count was read back; after a failure nothing.
        tokenizer: a tokenizer.model, a tokenizer.json, a checkpoint's directory or a GGUF file.
        seq_length: tokens that the model sees at once, as in the training's configuration.
        layout: any of `LAYOUTS`. "packed" joins all documents in one stream, "document" gives each records of its own;
            both drop nothing, and padding is not trained. "recipe" is record for record what MindFormers'
            skywork_dataprocess.py writes: no eos, the rest of every thousand documents dropped, a trained pad a record.
        kind: "jsonl" (objects with content and summary, or with text), "text", or "auto" by the name.
        document: what of a text is one document: a line, a paragraph (between empty lines) or the file.
        fields: the JSON fields that make a document's text, in order.
        eos: end every document with the tokenizer's eos id.
        mask_prompt: train the last field alone (a summary, not its content).
        pad_id: fills up records; None takes the tokenizer's pad id, else 0.
        strict: refuse the first line that gives no document, where it is otherwise counted.
        workers: processes that tokenise. More than one needs a main module that can be imported.
        overwrite: replace an existing file.

    Raises InvalidArgumentError for wrong arguments, an input that cannot be read or has nothing to train,
    CheckpointError for a tokenizer that is damaged or not there, CapacityError for a full disk.
    """
    out, progress = Path(out), progress or no_progress
    _check(seq_length, layout, kind, document, workers, pad_id)
    _check_recipe(layout, mask_prompt)
    _check_fields(fields, mask_prompt)
    check_target(out, overwrite)
    files = find_files([str(item) for item in inputs])
    if not files:
        raise InvalidArgumentError("no input; give files, folders, or - for standard input")
    _refuse_own_input(out, [*files, str(tokenizer)])
    vocabulary = open_tokenizer_files(Path(tokenizer))
    report = Report(out, seq_length, layout, _pad_id(vocabulary, pad_id))

    def on_bad(line: BadLine) -> None:
        if strict:
            raise InvalidArgumentError(f"{line} (--strict refuses the first bad line)")
        report.note_bad(line)

    reader = DocumentReader(files, kind=kind, unit=document, fields=fields, on_bad=on_bad)
    framing = _framing(vocabulary, layout, eos, mask_prompt)
    documents = _counted(tokenise(reader, vocabulary, framing, workers), report)
    records = _watched(_records(documents, report), report, reader, files, progress)
    try:
        report.records = write_mindrecord(out, records, seq_length=seq_length, overwrite=overwrite)
    except InvalidArgumentError as error:
        if report.bad and not report.documents:
            raise InvalidArgumentError(f"every line is bad; the first is {report.bad_lines[0]}") from error
        raise
    report.empty = reader.empty
    return report


def _check(seq_length: int, layout: str, kind: str, document: str, workers: int, pad_id: int | None) -> None:
    for name, value in (("seq_length", seq_length), ("workers", workers)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise InvalidArgumentError(f"{name} is {value!r}; it must be a whole number of at least 1")
    if pad_id is not None and pad_id < 0:
        raise InvalidArgumentError(f"pad_id is {pad_id}; it must be a token id")
    for name, text, known in (
        ("layout", layout, tuple(LAYOUTS)),
        ("kind", kind, _FORMATS),
        ("document", document, DOCUMENT_UNITS),
    ):
        if text not in known:
            raise InvalidArgumentError(f"{name} is {text!r}; known are {', '.join(known)}")


def _check_recipe(layout: str, mask_prompt: bool) -> None:
    if layout == _RECIPE and mask_prompt:
        raise InvalidArgumentError("the recipe's layout trains every token; --mask-prompt needs another layout")


def _check_fields(fields: Sequence[str], mask_prompt: bool) -> None:
    if mask_prompt and len(fields) == 1:
        raise InvalidArgumentError(
            f"--mask-prompt trains the last field alone, and --fields names one, {fields[0]}, so that no prompt is "
            "left to mask; name the prompt's fields before it, such as --fields content,summary"
        )


def _refuse_own_input(out: Path, read: Sequence[str]) -> None:
    """Even to replace a file it must not be the one that is read."""
    written = {path.resolve() for path in (out, out.with_name(out.name + ".db"))}
    for name in read:
        if name != STDIN and Path(name).resolve() in written:
            raise InvalidArgumentError(f"--out {out} would replace {name}, which is read; give another name")


def _pad_id(vocabulary: TokenizerFiles, given: int | None) -> int:
    pad = given if given is not None else vocabulary.pad_id
    if pad is None:
        return 0  # MindFormers' own default, and Skywork's
    if pad >= len(vocabulary.entries):
        raise InvalidArgumentError(f"pad_id {pad} is outside the tokenizer's {len(vocabulary.entries)} tokens")
    return pad


def _framing(vocabulary: TokenizerFiles, layout: str, eos: bool, mask_prompt: bool) -> Framing:
    if layout == _RECIPE:
        return Framing(bos_alone=True, eos_id=None, mask_prompt=False)
    if eos and not vocabulary.eos_ids:
        raise InvalidArgumentError("the tokenizer has no eos token to end documents with; --no-eos does without")
    return Framing(bos_alone=False, eos_id=vocabulary.eos_ids[0] if eos else None, mask_prompt=mask_prompt)


def _counted(documents: Iterator[TokenDocument], report: Report) -> Iterator[TokenDocument]:
    for document in documents:
        report.documents += 1
        report.tokens += len(document.ids)
        yield document


def _records(documents: Iterator[TokenDocument], report: Report) -> Iterator[Record]:
    layout = make_layout(report.layout, report.seq_length, report.pad_id)
    for document in documents:
        yield from layout.add(document)
    yield from layout.finish()
    report.dropped = layout.dropped


def _watched(
    records: Iterator[Record], report: Report, reader: DocumentReader, files: Sequence[str], progress: Progress
) -> Iterator[Record]:
    """Counts trained tokens, and tells the bytes that were read as records are made."""
    total = sum(Path(file).stat().st_size for file in files if file != STDIN)
    progress(_STAGE, 0, max(total, 1))
    for record in records:
        report.trained += int(np.count_nonzero(record.labels[1:] != IGNORED))
        progress(_STAGE, min(reader.bytes_read, total - 1) if total else 0, max(total, 1))
        yield record
    progress(_STAGE, max(total, 1), max(total, 1))
