"""What may get the name of an output: never an input, and with --overwrite only what an earlier run wrote."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal

from skywork_rt.checkpoints.huggingface.json_file import read_json_object
from skywork_rt.convert.companions import COMPANIONS, code_files
from skywork_rt.convert.partial import drop_published
from skywork_rt.errors import CheckpointError, InvalidArgumentError

__all__ = ["STRATEGY_FOLDER", "Kind", "check_inputs", "check_output"]

Kind = Literal["file", "huggingface", "ranks"]
"""What an output is."""

STRATEGY_FOLDER = "strategy"
"""Where `split` writes the strategy files that it made, beside rank_0 and so on."""

_WEIGHTS = re.compile(r"model(-\d{5}-of-\d{5})?\.safetensors|pytorch_model\.bin")
_INDEX = "model.safetensors.index.json"
_STRATEGY_FILE = re.compile(r"ckpt_strategy_rank_\d+\.ckpt")
_RANK = re.compile(r"rank_(\d+)")
_SHOWN = 3


def check_output(
    out: Path, kind: Kind, inputs: Iterable[Path | None], aside: Iterable[Path | None] = (), *, overwrite: bool
) -> None:
    """Raises InvalidArgumentError when `out` may not be written, before anything is read or written.

    `inputs` are what the caller named, and `aside` files or directories of which a part is read only, as a tokenizer's;
    None is passed over. What a killed run has left beside an output that it had finished is removed.
    """
    if out.name in ("", ".."):
        raise InvalidArgumentError(f"{out} is no name for an output")
    if out.is_symlink():
        raise InvalidArgumentError(
            f"{out} is a symbolic link to {out.readlink()}; give the place that it points to, or another name"
        )
    check_inputs(out, inputs, aside)
    drop_published(out)
    if not out.exists():
        return
    if not overwrite:
        raise InvalidArgumentError(f"{out} is there already; --overwrite (overwrite=True) replaces it when all is done")
    _check_replaceable(out, kind)


def check_inputs(out: Path, inputs: Iterable[Path | None], aside: Iterable[Path | None] = ()) -> None:
    """Raises InvalidArgumentError when `out` is one of both, holds one, or lies in one of `inputs`."""
    place = out.resolve()
    for given, whole in [*((path, True) for path in inputs), *((path, False) for path in aside)]:
        if given is None:
            continue
        path = given.resolve()
        if path == place or (out.exists() and given.exists() and out.samefile(given)):
            raise InvalidArgumentError(f"{out} is an input of this command, which is never replaced; give another name")
        if place in path.parents:
            raise InvalidArgumentError(f"{out} holds {given}, an input of this command; give another name")
        if whole and path in place.parents:
            raise InvalidArgumentError(f"{out} lies in {given}, an input of this command; give a place outside of it")


def _check_replaceable(out: Path, kind: Kind) -> None:
    if kind == "file":
        if not out.is_file():
            raise InvalidArgumentError(f"{out} is no file, and --overwrite replaces a file by a file; move it away")
        return
    if not out.is_dir():
        raise InvalidArgumentError(
            f"{out} is a file, and --overwrite replaces a directory by a directory; move it away"
        )
    foreign = (_foreign_in_huggingface if kind == "huggingface" else _foreign_in_ranks)(out)
    if foreign:
        more = f" and {len(foreign) - _SHOWN} more" if len(foreign) > _SHOWN else ""
        raise InvalidArgumentError(
            f"{out} is not what this command writes: it has {', '.join(foreign[:_SHOWN])}{more}; --overwrite replaces "
            "an earlier output only; move it away, or give another name"
        )


def _foreign_in_huggingface(directory: Path) -> list[str]:
    """Entries that `convert` does not write; all of them where there is no model."""
    entries = sorted(directory.iterdir())
    if not (directory / "config.json").is_file() or not any(_WEIGHTS.fullmatch(entry.name) for entry in entries):
        return [entry.name for entry in entries]
    known = {*COMPANIONS, _INDEX, *_code_of(directory)}
    return [
        entry.name
        for entry in entries
        if entry.is_symlink() or not (entry.name in known or (_WEIGHTS.fullmatch(entry.name) and entry.is_file()))
    ]


def _code_of(directory: Path) -> set[str]:
    try:
        return code_files(read_json_object(directory / "config.json"))
    except CheckpointError:
        return set()


def _foreign_in_ranks(directory: Path) -> list[str]:
    """Entries that `split` does not write. A training's own rank_N differ by their files' names, which end in steps."""
    foreign: list[str] = []
    prefixes: set[str] = set()
    for entry in sorted(directory.iterdir()):
        match = _RANK.fullmatch(entry.name)
        if entry.name == STRATEGY_FOLDER:
            foreign += _others(entry, _STRATEGY_FILE.fullmatch)
        elif match and entry.is_dir() and not entry.is_symlink():
            ours = re.compile(rf"((?:.*\D)?){match[1]}\.(ckpt|safetensors)")
            foreign += _others(entry, ours.fullmatch)
            prefixes |= {found[1] for found in (ours.fullmatch(file.name) for file in entry.iterdir()) if found}
        else:
            foreign.append(entry.name)
    if len(prefixes) > 1:
        foreign += [f"names that begin with {prefix!r}" for prefix in sorted(prefixes)]
    return foreign


def _others(directory: Path, known: Callable[[str], object]) -> list[str]:
    if not directory.is_dir() or directory.is_symlink():
        return [directory.name]
    return [f"{directory.name}/{file.name}" for file in sorted(directory.iterdir()) if not known(file.name)]
