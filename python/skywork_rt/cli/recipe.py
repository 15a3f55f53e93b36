"""skywork-rt recipe"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from skywork_rt.compat.scripts.script import Checkpoint, Script, Word

__all__ = ["CONTEXT", "recipe"]

CONTEXT = {"ignore_unknown_options": True, "allow_interspersed_args": False}
"""What comes behind SCRIPT is the script's own."""


def recipe(
    script: Annotated[
        str, typer.Argument(metavar="SCRIPT", help="Such as convert_weight, skywork_dataprocess or evaluate_ceval.py.")
    ] = "",
    flags: Annotated[
        list[str] | None, typer.Argument(metavar="ITS_FLAGS...", help="As the script takes them; --help lists them.")
    ] = None,
) -> None:
    """Run a script of MindFormers' Skywork recipe, by its old name and flags.

    Without SCRIPT all of them are listed. Each becomes a command of skywork-rt, which is shown on stderr.
    """
    from skywork_rt.compat.scripts import command_of, find_script

    if not script:
        _list_scripts()
        return
    words = flags or []
    if words in (["--help"], ["-h"]) and not find_script(script).passes_on:
        _print_help(find_script(script))
        return
    command = command_of(script, words)
    if isinstance(command, list):
        _run([_resolved(word) for word in command])
    else:
        command.function(command.values)


def _run(words: list[str]) -> None:
    import shlex
    import sys

    from skywork_rt.cli.app import run

    print(f"skywork-rt {shlex.join(words)}", file=sys.stderr, flush=True)
    status = run(words)
    if status != 0:
        raise typer.Exit(status)


def _resolved(word: Word) -> str:
    from skywork_rt.compat.mindformers.opening.graphs import bundle_of_full_graph
    from skywork_rt.compat.scripts.script import FullGraph

    if isinstance(word, FullGraph):
        return str(bundle_of_full_graph(word.path, word.option))
    return word if isinstance(word, str) else _bundle_of(word)


def _bundle_of(checkpoint: Checkpoint) -> str:
    """The checkpoint's bundle in the cache."""
    from skywork_rt.compat.mindformers import LlamaConfig
    from skywork_rt.compat.mindformers.opening.exported import exported_bundle
    from skywork_rt.compat.mindformers.opening.model import checkpoint_in
    from skywork_rt.errors import InvalidArgumentError
    from skywork_rt.recipe.configs import find_config

    if not checkpoint.path.exists():
        raise InvalidArgumentError(f"the checkpoint {checkpoint.path} does not exist")
    if checkpoint.tokenizer is not None and not checkpoint.tokenizer.exists():
        raise InvalidArgumentError(f"the tokenizer {checkpoint.tokenizer} does not exist; give a tokenizer.model")
    checkpoint.check()
    section = None
    if checkpoint.config is not None:
        section = LlamaConfig.from_pretrained(str(find_config(str(checkpoint.config)))).section()
    return str(exported_bundle(checkpoint_in(checkpoint.path), section, checkpoint.tokenizer, checkpoint.target))


def _list_scripts() -> None:
    from skywork_rt.compat.scripts import SCRIPTS

    width = max(map(len, SCRIPTS))
    for name, script in sorted(SCRIPTS.items()):
        print(f"{name:<{width}}  {script.what}")


def _print_help(script: Script) -> None:
    print(f"skywork-rt recipe {script.name} {script.positional}".rstrip())
    print(f"  {script.what}")
    for flag in script.flags:
        spelled = f"--{flag.name}" + (f", {flag.short}" if flag.short else "")
        notes = [f"default {flag.default}" if flag.default else "", "must be given" if flag.required else ""]
        notes += [f"one of {', '.join(flag.allowed)}" if flag.allowed else ""]
        notes += [f"no effect: {flag.nothing}" if flag.nothing else ""]
        print(f"  {spelled:<28}{'; '.join(filter(None, notes))}".rstrip())
