"""What every reader of checkpoints shares: the full interface, and the checks against the configuration."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Iterable, Mapping
from typing import Any, Literal, Protocol

from skywork_rt.checkpoints.model import Source
from skywork_rt.checkpoints.tokenizers.tokenizer_files import TokenizerFiles
from skywork_rt.errors import CheckpointError, InvalidArgumentError
from skywork_rt.support.stages import Progress, no_progress

__all__ = ["Checkpoint", "check_shape", "check_tensor_names", "choose_max_length", "notice_longrope"]

_log = logging.getLogger("skywork_rt.export")

_MOST_COMPARED = 200


class Checkpoint(Source, Protocol):
    """A `Source` with what else a bundle takes from a checkpoint."""

    @property
    def kind(self) -> Literal["gguf", "huggingface", "mindspore", "synthetic"]:
        """`source.kind` of model.json."""
        ...

    @property
    def name(self) -> str:
        """The name of the file or directory, without its path."""
        ...

    def sha256(self, progress: Progress = no_progress) -> str | None:
        """Of the file, which it reads as a whole; None for several, a directory or a synthetic model."""
        ...

    def tokenizer(self) -> TokenizerFiles | None:
        """The tokenizer, or None when the checkpoint has none."""
        ...

    def generation_config(self) -> dict[str, Any] | None:
        """generation_config.json, or None."""
        ...


def check_tensor_names(found: Iterable[str], expected: Mapping[str, str], allowed: Iterable[str], where: str) -> None:
    """Compares a checkpoint's tensors with what its configuration asks for.

    `expected` maps the checkpoint's names to ours; `allowed` are names that may be there and are not read. Raises
    CheckpointError that names the first few missing (and what may be the first
    of them under another name), else the first few unexpected tensors.
    """
    names = set(found)
    missing = [name for name in expected if name not in names]
    unexpected = sorted(names - set(expected) - set(allowed))
    if missing:
        raise CheckpointError(
            f"{where} lacks {len(missing)} of {len(expected)} tensors that its configuration asks for: {_few(missing)}"
            + _nearest(missing[0], unexpected)
        )
    if unexpected:
        raise CheckpointError(
            f"{where} has {len(unexpected)} tensors that do not belong to its architecture: {_few(unexpected)}; "
            "a model with these parts would give other results without them"
        )


def check_shape(name: str, found: tuple[int, ...], expected: tuple[int, ...], where: str) -> None:
    """Raises CheckpointError unless the shapes are equal."""
    if found != expected:
        raise CheckpointError(
            f"{where}: tensor {name} has shape {list(found)}; its configuration asks for {list(expected)}"
        )


def choose_max_length(requested: int | None, stated: int, limit: int | None, limited_by: str) -> int:
    """The bundle's max_length: what was asked for, or all that the model was made for.

    `stated` is the length that the model was made for, its rope scaling included, `limit` a lower bound for a reason
    that `limited_by` names (a sliding window).
    Raises InvalidArgumentError when `requested` is not in [1, the lower of both].
    """
    allowed = stated if limit is None else min(stated, limit)
    if requested is None:
        return allowed
    if isinstance(requested, bool) or not isinstance(requested, int) or requested < 1:
        raise InvalidArgumentError(f"max_length is {requested!r}; it must be a whole number of at least 1")
    if requested > allowed:
        reason = limited_by if limit is not None and limit < stated else "the length that the model was made for"
        raise InvalidArgumentError(f"max_length {requested} is more than {allowed}, {reason}")
    return requested


def _nearest(missing: str, unexpected: list[str]) -> str:
    """What may be the missing tensor under another name."""
    near = difflib.get_close_matches(missing, unexpected[:_MOST_COMPARED], n=1, cutoff=0.5)
    return f"; it has {near[0]}, which its architecture does not" if near else ""


def notice_longrope(name: str, rope_type: str, length: int, original: float) -> None:
    """Logs which of longrope's two sets of factors a bundle of this length gets, where the choice may surprise."""
    if rope_type == "longrope" and length > original:
        _log.warning(
            "%s gets longrope's factors for long texts, as its max_length %d is over the original %d; "
            "--max-length %d gives it those for short texts",
            *(name, length, original, original),
        )


def _few(names: list[str]) -> str:
    shown = ", ".join(names[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"
