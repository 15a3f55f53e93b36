"""What commands read out of the texts of options, and what they print about bundles."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from skywork_rt.bundle.info import BundleInfo
from skywork_rt.bundle.weights import describe_weights
from skywork_rt.errors import InvalidArgumentError

__all__ = ["biases", "bundle_line", "core_list", "ids", "names"]

_MOST_CORES = 1 << 16


def names(text: str) -> tuple[str, ...]:
    """The names of a comma-separated list."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def bundle_line(bundle: Path) -> str:
    """A bundle's path, size and what it can be run with."""
    opened = BundleInfo.open(bundle)
    found = [file.stat() for file in bundle.rglob("*") if file.is_file()]
    size = sum({(status.st_dev, status.st_ino): status.st_size for status in found}.values())  # links count once
    weights = describe_weights(opened)
    parts = [
        *([f"weights {', '.join(weights)}"] if weights else []),
        *(["graphs"] if opened.manifest["graphs"] else []),
    ]
    return f"{bundle}  {size / 1e6:.0f} MB  {' and '.join(parts)}"


def ids(name: str, text: str) -> list[int]:
    """Token ids: `2,13`. Raises InvalidArgumentError, which names the option, for anything else."""
    try:
        return [int(part) for part in names(text)]
    except ValueError:
        raise InvalidArgumentError(f"{name} is {text!r}, but must be token ids such as 2,13") from None


def biases(name: str, texts: Sequence[str]) -> dict[int, float]:
    """Token ids and numbers: `42=-1.5`. Raises InvalidArgumentError, which names the option, for anything else."""
    try:
        pairs = [text.split("=", 1) for text in texts]
        return {int(token): float(bias) for token, bias in pairs}
    except ValueError:
        raise InvalidArgumentError(f"{name} is {' '.join(texts)!r}, but must be such as 42=-1.5") from None


def core_list(name: str, text: str) -> list[int]:
    """Numbers of cores, as taskset reads them: `0,2-5`. Raises InvalidArgumentError for anything else."""
    cores: list[int] = []
    for part in names(text):
        first, dash, last = part.partition("-")
        ends = (first, last) if dash else (first, first)
        if not all(end.isdecimal() and int(end) < _MOST_CORES for end in ends) or int(ends[0]) > int(ends[1]):
            raise InvalidArgumentError(f"{name} is {text!r}, but must be numbers of cores and ranges such as 0,2-5")
        cores += range(int(ends[0]), int(ends[1]) + 1)
    return cores
