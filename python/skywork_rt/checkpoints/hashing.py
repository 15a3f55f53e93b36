"""SHA-256 of files, with progress."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from skywork_rt.support.stages import Progress

__all__ = ["hash_files"]

_BLOCK = 1 << 24


def hash_files(stage: str, files: Sequence[Path], progress: Progress) -> list[str]:
    """The digest of each file as 64 lower-case hexadecimal digits; `progress` counts bytes."""
    total, done = sum(file.stat().st_size for file in files), 0
    progress(stage, 0, total)
    digests = []
    for path in files:
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
                done += len(block)
                progress(stage, done, total)
        digests.append(digest.hexdigest())
    return digests
