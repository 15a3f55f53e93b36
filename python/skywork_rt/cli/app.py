"""All commands in one place, and how errors leave them."""

from __future__ import annotations

import os
import sys
import traceback

import typer

from skywork_rt.bench.commands import app as bench
from skywork_rt.cli import (
    adopt,
    chat,
    convert,
    doctor,
    eval,
    export,
    generate,
    info,
    launch,
    lite,
    merge,
    plan,
    prepare,
    rank_table,
    recipe,
    run_mode,
    serve,
    split,
    synth,
    train,
)
from skywork_rt.cli.terminal import drop_output, note_unshown, prepare_streams
from skywork_rt.errors import (
    BackendUnavailableError,
    BundleNotFoundError,
    CheckpointError,
    CorruptBundleError,
    InternalError,
    InvalidArgumentError,
    SkyworkError,
)
from skywork_rt.support import environment

__all__ = ["app", "run"]

app = typer.Typer(
    name="skywork-rt",
    help="Export Llama-structured checkpoints and generate text with them.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)


@app.callback()
def _options(
    debug: bool = typer.Option(False, "--debug", help="Show the Python traceback of an error."),
) -> None:
    if debug:
        os.environ[environment.DEBUG.name] = "1"


app.command("export")(export.export)
app.command("adopt")(adopt.adopt)
app.command("prepare")(prepare.prepare)
app.command("convert")(convert.convert)
app.command("split")(split.split)
app.command("merge")(merge.merge)
app.command("synth")(synth.synth)
app.command("generate")(generate.generate)
app.command("chat")(chat.chat)
app.command("serve")(serve.serve)
app.command("info")(info.info)
app.command("train")(train.train)
app.command("launch")(launch.launch)
app.command("run")(run_mode.run)
app.command("recipe", context_settings=recipe.CONTEXT)(recipe.recipe)
app.command("rank-table")(rank_table.rank_table)
app.add_typer(lite.app, name="lite")
app.add_typer(eval.app, name="eval")
app.add_typer(bench, name="bench")
app.command("plan")(plan.plan)
app.command("doctor")(doctor.doctor)


@app.command("version")
def _version() -> None:
    """Print the version."""
    import skywork_rt

    print(skywork_rt.__version__)


INTERRUPTED = 130

_HINTS: list[tuple[type[SkyworkError], str]] = [
    (BundleNotFoundError, "a bundle is the directory that 'skywork-rt export SOURCE OUT' writes"),
    (CorruptBundleError, "'skywork-rt info BUNDLE --verify' checks every file; export it again to repair it"),
    (BackendUnavailableError, "'skywork-rt doctor' tells what is missing and how to get it"),
    (CheckpointError, "'skywork-rt COMMAND --help' lists what is supported"),
    (InternalError, "this is our own mistake: please report it with the output of --debug"),
    (InvalidArgumentError, "'skywork-rt COMMAND --help' lists the options and their ranges"),
]


def run(arguments: list[str]) -> int:
    """Runs one command line and returns the exit status."""
    prepare_streams()
    try:
        status = _run(arguments)
        sys.stdout.flush()  # a full disk is told here, not in Python's last moments
    except BrokenPipeError:  # `skywork-rt generate … | head`
        drop_output()
        return 1
    except OSError as error:
        drop_output()
        what = f"{error.filename}: " if error.filename else "the output cannot be written: "
        _print_error(what + (error.strerror or str(error)), "")
        return 1
    note_unshown()
    return status


def _run(arguments: list[str]) -> int:
    command = typer.main.get_command(app)
    usage_error = _usage_error_types()
    try:
        status = command.main(args=arguments, prog_name="skywork-rt", standalone_mode=False)
        code = status if isinstance(status, int) else 0
        if code == INTERRUPTED:  # typer passes Ctrl-C on as a status
            print("interrupted", file=sys.stderr)
        return code
    except usage_error as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # the help was asked for, in a way
            print(error, file=sys.stderr)
            return 2
        message = error.format_message() if hasattr(error, "format_message") else str(error)
        _print_error(message, "'skywork-rt --help' lists the commands, 'skywork-rt COMMAND --help' its options")
        return 2
    except SkyworkError as error:
        if environment.DEBUG.value():
            traceback.print_exc()
        hint = next((hint for kind, hint in _HINTS if isinstance(error, kind)), "")
        _print_error(str(error), hint.replace("COMMAND", _command_of(arguments)))
        return 2 if isinstance(error, InvalidArgumentError) else 1
    except (KeyboardInterrupt, typer.Abort):
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except typer.Exit as error:
        return int(error.exit_code)


def _command_of(arguments: list[str]) -> str:
    """The command that ran, with that of a group such as `lite install`, or with the script of `recipe SCRIPT`."""
    names = [argument for argument in arguments if not argument.startswith("-")]
    if not names:
        return "COMMAND"
    groups = {"recipe", *(group.name for group in app.registered_groups)}
    return " ".join(names[: 2 if names[0] in groups else 1])


def _usage_error_types() -> tuple[type[Exception], ...]:
    """click's, wherever typer takes it from."""
    base = typer.BadParameter
    return tuple(kind for kind in base.__mro__ if kind.__name__ in ("ClickException", "UsageError"))


def _print_error(message: str, hint: str) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(stderr=True, soft_wrap=True, highlight=False)
    console.print(Text("error: " + " ".join(message.split()), style="bold red"))
    if hint:
        console.print(Text("hint: " + hint, style="dim"))
