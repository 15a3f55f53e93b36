"""skywork-rt doctor"""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

__all__ = ["doctor"]


def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Show what this machine and installation have, and what to do about the rest."""
    from skywork_rt.cli.examination import examine

    report = examine()
    if as_json:
        print(json.dumps(report.facts | {"advice": report.advice}, indent=1))
    else:
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        console = Console(highlight=False, soft_wrap=True)
        table = Table(box=None, show_header=False, pad_edge=False)
        for name, value in report.facts.items():
            table.add_row(Text(name, style="bold"), Text(value))
        console.print(table)
        for line in report.advice:
            console.print(Text("→ " + line, style="yellow"))
        if not report.advice:
            console.print(Text("Everything is in place.", style="green"))
    if not report.works:
        sys.exit(1)
