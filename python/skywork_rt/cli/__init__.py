"""The command line `skywork-rt`. Heavy modules are imported by the command that needs them, so that help is quick."""

from __future__ import annotations

__all__ = ["main"]


def main() -> None:
    """Runs the command line and ends the process: 0 well, 1 failed, 2 wrong usage or value, 130 Ctrl-C."""
    import sys

    from skywork_rt.cli.app import run

    sys.exit(run(sys.argv[1:]))
