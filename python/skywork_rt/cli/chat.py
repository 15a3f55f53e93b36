"""skywork-rt chat"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from skywork_rt.cli import options as opt
from skywork_rt.cli.terminal import decoded_line
from skywork_rt.errors import InvalidArgumentError, SkyworkError

if TYPE_CHECKING:
    from skywork_rt.api.generator import Generator

__all__ = ["Conversation", "chat"]

_HELP = """\
/reset         forget the conversation
/system TEXT   set the system message (and forget the conversation)
/help          this
/exit          leave (so does Ctrl-D)
Ctrl-C stops an answer; what was said stays in the conversation."""


@opt.with_groups
def chat(
    bundle: opt.BundlePath,
    sampling: opt.SamplingOptions,
    model: opt.ModelOptions,
    system: Annotated[str | None, typer.Option(help="System message.")] = None,
) -> None:
    """Talk to a model; /help inside lists the commands."""
    from skywork_rt.api.params import SamplingParams

    given = sampling.given()
    SamplingParams(**given)  # wrong values are told before the model is loaded
    if sys.stdin.isatty():
        import readline  # noqa: F401  # input() then edits lines and remembers them
    with model.open(bundle) as generator:
        Conversation(generator, system, given).run()


class Conversation:
    """Lines from standard input, answers to standard output."""

    def __init__(self, generator: Generator, system: str | None, given: dict[str, Any]) -> None:
        self._generator = generator
        self._given = given
        self._messages: list[dict[str, str]] = []
        self._begin(system)

    def run(self) -> None:
        interactive = sys.stdin.isatty()
        if interactive:
            print(f"{self._generator.model.name} — /help for help, Ctrl-D to leave", file=sys.stderr)
        while True:
            try:
                line = input("> " if interactive else "")
            except EOFError:
                return
            except KeyboardInterrupt:  # an empty line is abandoned, not the program
                print(file=sys.stderr)
                continue
            if line.strip() == "/exit":
                return
            try:
                self._handle(decoded_line(line))
            except InvalidArgumentError as error:
                if not interactive:
                    raise
                print(f"error: {error}", file=sys.stderr)  # a line that is no text costs nobody the conversation

    def _begin(self, system: str | None) -> None:
        self._messages = [{"role": "system", "content": system}] if system else []

    def _handle(self, line: str) -> None:
        command, _, rest = line.strip().partition(" ")
        if command == "/help":
            print(_HELP, file=sys.stderr)
        elif command == "/reset":
            self._messages = [m for m in self._messages if m["role"] == "system"]
        elif command == "/system":
            self._begin(rest.strip() or None)
        elif command.startswith("/"):
            print(f"there is no command {command}; /help lists them", file=sys.stderr)
        elif line.strip():
            self._answer(line)

    def _answer(self, line: str) -> None:
        self._messages.append({"role": "user", "content": line})
        answer = ""
        try:
            with self._generator.chat(self._messages, stream=True, **self._given) as stream:
                for piece in stream:
                    answer += piece.text
                    sys.stdout.write(piece.text)
                    sys.stdout.flush()
        except KeyboardInterrupt:
            sys.stdout.write(" [stopped]")
        except SkyworkError as error:
            # Most often the conversation has grown over the length: say so, keep the program.
            self._messages.pop()
            print(f"error: {error} (/reset forgets the conversation)", file=sys.stderr)
            return
        sys.stdout.write("\n")
        sys.stdout.flush()
        self._messages.append({"role": "assistant", "content": answer})
