"""What describes the model that `split` or `merge` reads: it lies beside the file, or beside the parts."""

from __future__ import annotations

import re
from pathlib import Path

from skywork_rt.checkpoints.mindspore.config import Configuration, configuration_beside
from skywork_rt.convert.companions import Companions
from skywork_rt.convert.parallelism import Parallelism
from skywork_rt.errors import CheckpointError, InvalidArgumentError, UnsupportedError

__all__ = ["check_heads", "companions_of_ranks", "described_by"]

_RANK = re.compile(r"rank_(\d+)")


def described_by(source: Path) -> Configuration | None:
    """The configuration beside a file; of a directory of ranks, the one in it, or in the first rank that has one."""
    folders = [source, *_ranks(source)] if source.is_dir() else [source.parent]
    for folder in folders:
        try:
            found = configuration_beside(folder)
        except (CheckpointError, UnsupportedError):
            continue  # whoever needs it says what is wrong
        if found is not None:
            return found
    return None


def _ranks(directory: Path) -> list[Path]:
    found = [(int(match[1]), entry) for entry in directory.iterdir() if (match := _RANK.fullmatch(entry.name))]
    return [entry for _, entry in sorted(found) if entry.is_dir()]


def check_heads(source: Path, parallelism: Parallelism) -> None:
    """Raises InvalidArgumentError when model_parallel does not divide the heads that the configuration beside states.

    The shapes of matrices do not tell how many heads are in them. Without a configuration nothing is checked.
    """
    found = described_by(source) if parallelism.model_parallel > 1 else None
    if found is None:
        return
    heads = found.values.get("num_attention_heads")
    groups = found.values.get("num_key_value_heads") or heads
    for count, what in ((heads, "heads"), (groups, "key/value heads")):
        if isinstance(count, int) and count % parallelism.model_parallel:
            raise InvalidArgumentError(
                f"model_parallel {parallelism.model_parallel} does not divide the {count} {what} that {found.path} "
                "states; MindFormers gives every rank whole heads: choose one that divides them"
            )


def companions_of_ranks(source: Path) -> Companions | None:
    """What goes beside the whole of `source`: the configuration as it is there, and the tokenizer with it."""
    found = described_by(source)
    if found is None:
        return None
    folder = found.path.parent
    if found.is_json:
        return Companions(found.values, folder, folder)
    return Companions(found.values, None, folder, yaml=found.path)
