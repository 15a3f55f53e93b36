"""The alphabet of byte-level BPE (GPT-2): each of the 256 bytes as one printable character."""

from __future__ import annotations

__all__ = ["BYTE_OF_CHARACTER", "CHARACTER_OF_BYTE", "token_bytes"]


def _alphabet() -> dict[int, str]:
    """Printable Latin-1 bytes stand for themselves, the rest in order for the characters from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    table = {byte: chr(byte) for byte in printable}
    others = (byte for byte in range(256) if byte not in table)
    return table | {byte: chr(0x100 + i) for i, byte in enumerate(others)}


CHARACTER_OF_BYTE: dict[int, str] = _alphabet()
BYTE_OF_CHARACTER: dict[str, int] = {character: byte for byte, character in CHARACTER_OF_BYTE.items()}


def token_bytes(token: str) -> bytes:
    """The bytes that a token stands for; a token with any other character (an added token) stands for its UTF-8.

    This is the rule of the ``tokenizers`` library's ByteLevel decoder, so that decoding agrees with it.
    """
    if all(character in BYTE_OF_CHARACTER for character in token):
        return bytes(BYTE_OF_CHARACTER[character] for character in token)
    return token.encode("utf-8", "surrogateescape")
