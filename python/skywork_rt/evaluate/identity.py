"""What tells the files of one model from those of another."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

__all__ = ["files_identity"]


def files_identity(path: Path) -> dict[str, Any]:
    """Of a bundle the SHA-256 of its model.json, which has those of all files; of a checkpoint its sizes and times."""
    manifest = path / "model.json"
    if manifest.is_file():
        return {"bundle": hashlib.sha256(manifest.read_bytes()).hexdigest()}
    files = [path] if path.is_file() else sorted(entry for entry in path.iterdir() if entry.is_file())
    return {"checkpoint": {file.name: [file.stat().st_size, file.stat().st_mtime_ns] for file in files}}
