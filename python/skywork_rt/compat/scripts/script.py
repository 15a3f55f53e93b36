"""A script of the recipe: its flags, how they are read, and what they become."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from skywork_rt.compat.notices import ignored
from skywork_rt.errors import InvalidArgumentError
from skywork_rt.support.suggest import refuse_unknown

__all__ = ["Call", "Checkpoint", "Flag", "FullGraph", "Script", "Word", "option", "read_flags", "truth"]


@dataclass(frozen=True)
class Checkpoint:
    """A word of a command line that is a bundle of this checkpoint; it is made, in the cache, when the command runs.
    `target`: the one that it is exported for. `check` raises for what the command would refuse anyhow: before the
    export, which takes minutes for a large model."""

    path: Path
    config: Path | None
    tokenizer: Path | None
    target: str = "native"
    check: Callable[[], None] = field(default=lambda: None, compare=False)


@dataclass(frozen=True)
class FullGraph:
    """A word that is the bundle which this graph lies in. `option`: where the script has its path from."""

    path: Path
    option: str


@dataclass(frozen=True)
class Call:
    """A function of ours that runs instead of a command, with the values of the flags."""

    function: Callable[[Mapping[str, str]], None]
    values: Mapping[str, str]


Word = str | Checkpoint | FullGraph


@dataclass(frozen=True)
class Flag:
    """A flag of a script.

    default: what it is when it is not given, where that matters. allowed: its values, when others would be another
    program. nothing: why it has no effect here; it then warns.
    """

    name: str
    short: str = ""
    default: str | None = None
    allowed: tuple[str, ...] = ()
    switch: bool = False
    nothing: str = ""
    required: bool = False


@dataclass(frozen=True)
class Script:
    """One script: `translate` gets the values of its flags by name, and the words that are no flags."""

    name: str
    what: str
    flags: tuple[Flag, ...]
    translate: Callable[[Mapping[str, str], Sequence[str]], list[Word] | Call]
    positional: str = ""
    passes_on: bool = False
    """All its words are given to `translate` as they are: the command knows the same flags."""


def read_flags(script: Script, words: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Values by the name of the flag, and the words that are no flags.

    Raises InvalidArgumentError for an unknown flag, with the nearest one, a flag without a value, and a value that is
    not allowed.
    """
    known = {f"--{_plain(flag.name)}": flag for flag in script.flags}
    known.update({flag.short: flag for flag in script.flags if flag.short})
    values = {flag.name: flag.default for flag in script.flags if flag.default is not None}
    rest: list[str] = []
    waiting = list(words)
    while waiting:
        word = waiting.pop(0)
        if not word.startswith("-") or word == "-":
            rest.append(word)
            continue
        name, equals, value = word.partition("=")
        flag = known.get(f"--{_plain(name[2:])}" if name.startswith("--") else name)
        if flag is None:
            refuse_unknown(script.name, [name], _spellings(script))
            raise AssertionError("unknown names are refused")
        values[flag.name] = _value(script, flag, value if equals else None, waiting)
        if flag.nothing and values[flag.name] != flag.default:
            ignored(script.name, f"--{flag.name}", flag.nothing)
    _check(script, values, rest)
    return values, rest


def _spellings(script: Script) -> list[str]:
    return [text for flag in script.flags for text in (f"--{flag.name}", flag.short) if text]


def _value(script: Script, flag: Flag, given: str | None, waiting: list[str]) -> str:
    if flag.switch:
        return "True"
    if given is None and (not waiting or (waiting[0].startswith("--") and len(waiting[0]) > 2)):
        raise InvalidArgumentError(f"{script.name}: --{flag.name} needs a value")
    value = waiting.pop(0) if given is None else given
    if flag.allowed and value not in flag.allowed:
        raise InvalidArgumentError(
            f"{script.name}: --{flag.name} is {value!r}, but must be {' or '.join(flag.allowed)}"
        )
    return value


def _check(script: Script, values: Mapping[str, str], rest: Sequence[str]) -> None:
    for flag in script.flags:
        if flag.required and not values.get(flag.name):
            raise InvalidArgumentError(f"{script.name}: --{flag.name} is missing")
    if rest and not script.positional:
        raise InvalidArgumentError(f"{script.name} takes flags only; what is {rest[0]!r}?")
    if script.positional and not rest:
        raise InvalidArgumentError(f"{script.name} needs {script.positional}")


def truth(script: str, name: str, value: str | None) -> bool:
    """True or False as the recipe writes them."""
    words: dict[str, bool] = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False, "": False}
    if (value or "").lower() not in words:
        raise InvalidArgumentError(f"{script}: --{name} is {value!r}, but must be True or False")
    return words[(value or "").lower()]


def _plain(name: str) -> str:
    return name.replace("-", "_")


def option(name: str, value: Any) -> list[str]:
    """A flag of ours with its value; nothing for None and an empty text."""
    return [] if value in (None, "") else [name, str(value)]
