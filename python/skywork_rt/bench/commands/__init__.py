"""`skywork-rt bench`: a command a file, registered here. Those that measure servers are in `bench/serving/`."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

from skywork_rt.bench.commands import grammar, host, prediction, questions, run, sampling, serve_sim, stall, width
from skywork_rt.bench.serving import commands as serving

__all__ = ["app"]


class _DefaultCommand(TyperGroup):
    """`bench BUNDLE` is short for `bench run BUNDLE`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ("--help", "-h"):
            args = ["run", *args]
        return list(super().parse_args(ctx, args))


app = typer.Typer(
    cls=_DefaultCommand, no_args_is_help=True, help="Measure a bundle: 'bench BUNDLE', or one of the commands below."
)

app.command("run")(run.run)
app.command("serve-sim")(serve_sim.serve_sim)
app.command("stall")(stall.stall)
app.command("width")(width.width)
app.command("eval")(questions.eval_questions)
app.command("plan")(prediction.plan)
app.command("sampling")(sampling.sampling)
app.command("host")(host.host)
app.command("grammar")(grammar.grammar)
app.command("serve")(serving.serve)
app.command("serve-load")(serving.serve_load)
app.command("routing")(serving.routing)
