"""Reading the small JSON files of a checkpoint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from skywork_rt.checkpoints.wrong_file import refuse_stand_in
from skywork_rt.errors import CheckpointError

__all__ = ["read_json_object", "read_text"]

_LARGEST_BYTES = 256 << 20  # tokenizer.json of a big vocabulary is 20 MB


def read_text(path: Path) -> str:
    """The file as UTF-8. Raises CheckpointError when it is missing, huge or not UTF-8."""
    refuse_stand_in(path)
    try:
        size = path.stat().st_size
        if size > _LARGEST_BYTES:
            raise CheckpointError(f"{path.name} has {size} bytes; more than {_LARGEST_BYTES} is no such file")
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise CheckpointError(f"{path.name} is missing") from error
    except OSError as error:
        raise CheckpointError(f"{path.name} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise CheckpointError(
            f"{path.name} is not UTF-8: byte {error.start} is {error.object[error.start]:#04x}"
        ) from error


def read_json_object(path: Path) -> dict[str, Any]:
    """The file's JSON object. Raises CheckpointError with the line and column of a mistake."""
    text = read_text(path)
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise CheckpointError(
            f"{path.name} is not JSON: {error.msg} at line {error.lineno} column {error.colno}"
        ) from error
    except (RecursionError, ValueError) as error:
        raise CheckpointError(f"{path.name} is not usable JSON: {error}") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{path.name} holds a JSON {type(value).__name__}; expected an object")
    return value
