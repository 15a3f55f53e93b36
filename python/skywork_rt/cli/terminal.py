"""Text between commands and whatever is at their ends: terminals of any encoding, pipes, full disks."""

from __future__ import annotations

import codecs
import os
import sys
from io import TextIOWrapper

from skywork_rt.errors import InvalidArgumentError

__all__ = ["decoded_line", "drop_output", "note_unshown", "prepare_streams", "read_stdin"]

_SHOW = "skywork_rt.show"
_unshown: list[str] = []


def prepare_streams() -> None:
    """From here on no text fails to be printed or read: characters that an encoding lacks are written as escapes, and
    bytes of the input that are no text are left for `decoded_line` to tell."""
    codecs.register_error(_SHOW, _show)
    _unshown.clear()
    if isinstance(sys.stdout, TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors=_SHOW)
    if isinstance(sys.stdin, TextIOWrapper):
        sys.stdin.reconfigure(errors="surrogateescape")


def _show(error: UnicodeError) -> tuple[str | bytes, int]:
    if isinstance(error, UnicodeEncodeError):
        _unshown.append(error.object[error.start : error.end])
    return codecs.backslashreplace_errors(error)


def note_unshown() -> None:
    """One line on standard error when something was written as an escape."""
    if _unshown:
        print(
            f"note: the output's encoding {sys.stdout.encoding} lacks some characters, such as "
            f"U+{ord(_unshown[0][0]):04X}, which are written as escapes; PYTHONIOENCODING=utf-8 writes them",
            file=sys.stderr,
        )


def read_stdin() -> str:
    """All of standard input, without one line break at its end, which `echo` adds. Raises InvalidArgumentError."""
    text = sys.stdin.buffer.read().decode(sys.stdin.encoding, "surrogateescape")
    for ending in ("\r\n", "\n"):
        if text.endswith(ending):
            return decoded_line(text[: -len(ending)])
    return decoded_line(text)


def decoded_line(text: str) -> str:
    """`text`, read from standard input. Raises InvalidArgumentError when bytes of it were no text."""
    for index, character in enumerate(text):
        if "\udc80" <= character <= "\udcff":
            raise InvalidArgumentError(
                f"standard input is not {sys.stdin.encoding}: byte {ord(character) - 0xDC00:#04x} after "
                f"{text[max(0, index - 20) : index]!r}; convert it, or set PYTHONIOENCODING to its encoding"
            )
    return text


def drop_output() -> None:
    """Nothing more can be written: what is left in buffers goes nowhere, and Python's exit does not try again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
