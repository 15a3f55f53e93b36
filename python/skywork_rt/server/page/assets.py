"""The files of the page, read once: their types, tags for caches, and compressed forms."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

__all__ = ["FIRST", "Asset", "assets"]

FIRST = "index.html"
"""The file at `/`."""

_FILES = Path(__file__).parent / "files"
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True)
class Asset:
    """One file."""

    name: str
    """Its path below `files/`, such as view/sidebar.js."""
    kind: str
    """Its content type."""
    plain: bytes
    packed: bytes
    """The same, compressed by gzip."""
    tag: str
    """Changes with the content. Weak, since both forms share it."""


@cache
def assets() -> dict[str, Asset]:
    """All files by name. Whatever else lies in the folder (an editor's copies) is none of the page."""
    found = sorted(path for path in _FILES.rglob("*") if path.suffix in _TYPES and path.is_file())
    return {asset.name: asset for asset in map(_read, found)}


def _read(path: Path) -> Asset:
    plain = path.read_bytes()
    return Asset(
        path.relative_to(_FILES).as_posix(),
        _TYPES[path.suffix],
        plain,
        gzip.compress(plain, mtime=0),
        f'W/"{hashlib.sha256(plain).hexdigest()[:20]}"',
    )
