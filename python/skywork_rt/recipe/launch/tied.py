"""Runs a program that ends when the process that started it does: ``python tied.py PARENT PROGRAM …``.

A file of its own that imports nothing of this package: it runs in front of msrun and of every rank. PARENT is the
process to be tied to, or 0 for whoever started this one; a PROGRAM of 'python' is this interpreter.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # prctl(2); it stays set over exec


def _main() -> None:
    parent = int(sys.argv[1]) or os.getppid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:  # it ended before it could be told
        sys.exit(f"the process {parent} that started this one has ended")
    program, arguments = sys.argv[2], sys.argv[2:]
    os.execv(sys.executable if program == "python" else program, arguments)


if __name__ == "__main__":
    _main()
