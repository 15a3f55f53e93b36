"""Reads vocab.bin by its description in docs/bundle-format.md, independently of the writer."""

from __future__ import annotations

import itertools
import struct
from dataclasses import dataclass


@dataclass(frozen=True)
class VocabFile:
    kind: int
    flags: int
    texts: list[bytes]
    token_flags: bytes


def read_vocab(content: bytes) -> VocabFile:
    magic, version, kind, flags, count, reserved, blob_size = struct.unpack_from("<4sIIIIIQ", content)
    assert (magic, version, reserved) == (b"SKVB", 1, 0)
    offsets = struct.unpack_from(f"<{count + 1}I", content, 32)
    token_flags = content[32 + 4 * (count + 1) :][:count]
    start = -(-(32 + 4 * (count + 1) + count) // 8) * 8
    blob = content[start:]
    assert len(blob) == blob_size == offsets[-1]
    return VocabFile(kind, flags, [blob[a:b] for a, b in itertools.pairwise(offsets)], token_flags)
