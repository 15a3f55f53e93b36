"""Fails when a room of this repository uses a room that it may not know: dependencies point one way.

    python cmake/scripts/check_layers.py [FOLDER OF THE REPOSITORY]

A room is a folder of `csrc/` or of the package `skywork_rt`; the two tables below say which rooms each may use
directly. In C++ a room is used by `#include "room/…"`, in Python by any import, those inside functions and under
`TYPE_CHECKING` too. `make lint` runs this. Standard library only.
"""

from __future__ import annotations

import ast
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

Table = Mapping[str, frozenset[str]]


def _rooms(*names: str) -> frozenset[str]:
    return frozenset(names)


CPP_ROOMS: Table = {
    "include": _rooms(),
    "support": _rooms("include"),
    "bundle": _rooms("include", "support"),
    "text": _rooms("include", "support"),
    "grammar": _rooms("include", "support", "text"),
    "sampling": _rooms("include", "support"),
    "decode": _rooms("include", "support", "text", "sampling"),
    "backend": _rooms("include", "support", "bundle"),
    "backend/native": _rooms("include", "support", "bundle", "backend"),
    "backend/host_cache": _rooms("include", "support", "bundle", "backend"),
    "backend/lite_runtime": _rooms("include", "support", "backend"),
    "backend/lite": _rooms("include", "support", "bundle", "backend", "backend/host_cache", "backend/lite_runtime"),
    "backend/ascend": _rooms("include", "support", "bundle", "backend", "backend/host_cache", "backend/lite_runtime"),
    "backend/registry": _rooms("include", "support", "bundle", "backend", "backend/native"),
    "engine": _rooms("include", "support", "bundle", "text", "sampling", "decode", "backend", "backend/registry"),
    "bench": _rooms("include", "support", "bundle", "text", "sampling", "decode", "backend", "backend/registry"),
    "bindings": _rooms(
        "include",
        "support",
        "bundle",
        "text",
        "grammar",
        "sampling",
        "decode",
        "backend",
        "backend/native",  # its probe, which measures kernels without a model
        "backend/registry",
        "engine",
        "bench",
    ),
}
"""Rooms of csrc/, from the bottom up, and the rooms that each may use. `include` is the public API; the registry, two
files, is a room of its own because it names the backends that are built in."""

PYTHON_ROOMS: Table = {
    "_core": _rooms(),
    "errors": _rooms(),
    "support": _rooms("_core", "errors"),
    "bundle": _rooms("errors", "support"),
    "text": _rooms("_core", "errors", "support", "bundle"),
    "checkpoints": _rooms("errors", "support", "bundle"),
    "convert": _rooms("errors", "support", "checkpoints"),
    "lite": _rooms("errors", "support"),
    "export": _rooms("errors", "support", "text", "checkpoints", "lite"),
    "grammar": _rooms("_core", "errors", "support"),
    "tool_calls": _rooms("errors"),
    "backends": _rooms("_core", "errors"),
    "mindspore_backend": _rooms("_core", "errors", "support", "bundle", "checkpoints", "export", "backends"),
    "api": _rooms("_core", "errors", "support", "bundle", "text", "grammar", "backends", "mindspore_backend"),
    "skywork_rt": _rooms("_core", "errors", "grammar", "tool_calls", "api"),
    "evaluate": _rooms("errors", "support", "bundle", "text", "api", "skywork_rt"),
    "lm_eval": _rooms("evaluate"),
    "plan": _rooms("_core", "errors", "support", "bundle", "checkpoints"),
    "routing": _rooms("errors"),
    "bench": _rooms(
        "_core",
        "errors",
        "support",
        "bundle",
        "checkpoints",
        "export",
        "plan",
        "grammar",
        "api",
        "skywork_rt",
        "evaluate",
        "routing",
    ),
    "server": _rooms(
        "_core", "errors", "support", "bundle", "text", "grammar", "tool_calls", "api", "skywork_rt", "routing"
    ),
    "recipe": _rooms("_core", "errors", "support", "bundle", "text", "checkpoints", "convert"),
    "compat": _rooms("errors", "support", "bundle", "checkpoints", "export", "api", "evaluate"),
    "cli": _rooms(
        "_core",
        "errors",
        "support",
        "bundle",
        "text",
        "checkpoints",
        "convert",
        "lite",
        "export",
        "grammar",
        "api",
        "skywork_rt",
        "mindspore_backend",
        "evaluate",
        "plan",
        "bench",
        "recipe",
        "server",
        "compat",
    ),
    "__main__": _rooms("cli"),
}
"""Rooms of the package, from the bottom up. `skywork_rt` is what `import skywork_rt` shows: its own __init__.py."""

PACKAGE = "skywork_rt"
PYTHON_FOLDERS = (("python/skywork_rt", ""), ("export", "export/"))
"""Where the package's halves lie, and what a path in them begins with inside the package."""

_SCRIPT = "cmake/scripts/check_layers.py"
_INCLUDE = re.compile(r'^\s*#\s*include\s*["<]([^">]+)[">]')
_CPP_SUFFIXES = (".h", ".cc", ".inc")
_ABOUT_THE_PACKAGE = ("__path__", "__file__", "__name__")


@dataclass(frozen=True)
class Use:
    """A line of a file in `room` that uses something of the room `used`."""

    place: str
    room: str
    used: str
    text: str


def check(root: Path) -> list[str]:
    """What is wrong in the repository `root`, a sentence each; empty when all is well."""
    problems = []
    for language, table, uses in (
        ("C++", CPP_ROOMS, list(cpp_uses(root / "csrc", CPP_ROOMS))),
        ("Python", PYTHON_ROOMS, list(python_uses(root, PYTHON_ROOMS))),
    ):
        problems += judge(language, table, uses)
    return problems


def judge(language: str, table: Table, uses: Iterable[Use]) -> list[str]:
    """Where the uses of one language break its table, rooms that are in one of both only, and circles."""
    problems = []
    circle = find_circle(table)
    if circle:
        problems.append(f"The table of {language} rooms allows a circle: {' → '.join(circle)}. Take one of these out.")
    found: dict[str, set[str]] = {}
    for use in dict.fromkeys(uses):
        found.setdefault(use.room, set()).update({use.used} - {use.room})
        if use.used != use.room and use.used not in table.get(use.room, {use.used}):
            problems.append(_refusal(use, table[use.room]))
    problems += [
        f"There is no room {room!r} in the table of {language} rooms. Add it, with what it may use, to {_SCRIPT}."
        for room in sorted(found.keys() - table.keys())
    ]
    problems += [
        f"The table of {language} rooms has {room!r}, but no file is in it. Has it moved?"
        for room in sorted(table.keys() - found.keys())
    ]
    circle = find_circle(found)
    if circle:
        problems.append(f"Rooms of {language} that use each other in a circle: {' → '.join(circle)}.")
    return problems


def _refusal(use: Use, allowed: frozenset[str]) -> str:
    may = f"only {', '.join(sorted(allowed))}" if allowed else "no other room"
    return (
        f"{use.place}: {use.text}\n    The room {use.room} uses {use.used}, but it may use {may}. Move what both need "
        f"into a room below, or hand it in from above; if the rule is wrong, change the table in {_SCRIPT}."
    )


def find_circle(uses: Mapping[str, Iterable[str]]) -> list[str]:
    """Rooms along a circle, the first one at the end again; empty when there is none."""
    finished: set[str] = set()

    def walk(room: str, path: list[str]) -> list[str]:
        if room in path:
            return [*path[path.index(room) :], room]
        if room in finished:
            return []
        for used in sorted(uses.get(room, ())):
            circle = walk(used, [*path, room])
            if circle:
                return circle
        finished.add(room)
        return []

    return next((circle for room in sorted(uses) if (circle := walk(room, []))), [])


# C++


def cpp_uses(csrc: Path, table: Table) -> Iterator[Use]:
    """Every use of a room of csrc/; headers that are not in csrc/ are others' (the standard library, Lite)."""
    for path in _files(csrc, _CPP_SUFFIXES):
        room = _cpp_room(path.relative_to(csrc), table)
        yield Use(_place(csrc.parent, path), room, room, "")
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            match = _INCLUDE.match(line)
            header = _header(csrc, path, match[1]) if match else None
            if header is not None:
                used = _cpp_room(header.relative_to(csrc), table)
                yield Use(_place(csrc.parent, path, number), room, used, line.strip())


def _header(csrc: Path, includer: Path, name: str) -> Path | None:
    """The file of csrc/ that an #include reads, found as the compiler does."""
    candidates = (folder / name for folder in (includer.parent, csrc, csrc / "include"))
    return next((Path(os.path.normpath(path)) for path in candidates if path.is_file()), None)


def _cpp_room(path: Path, table: Table) -> str:
    """The room with the longest name that a path below csrc/ begins with, else its first folder."""
    names = [str(path.with_suffix("")), *map(str, path.parents)]
    return next((name for name in names if name in table), path.parts[0])


# Python


def python_uses(root: Path, table: Table) -> Iterator[Use]:
    """Every use of a room of the package by a module or a stub of either half."""
    for folder, prefix in PYTHON_FOLDERS:
        for path in _files(root / folder, (".py", ".pyi")):
            inside = Path(prefix) / path.relative_to(root / folder)
            room = _python_room(inside)
            yield Use(_place(root, path), room, room, "")
            source = path.read_text(encoding="utf-8")
            lines = source.splitlines()
            for name, number in _names(ast.parse(source, str(path)), inside):
                yield Use(_place(root, path, number), room, _room_of_name(name, table), lines[number - 1].strip())


def _python_room(inside: Path) -> str:
    """The room of a file of the package: its folder, or for a file at the top its own name."""
    if len(inside.parts) > 1:
        return inside.parts[0]
    return PACKAGE if inside.stem == "__init__" else inside.stem


def _names(tree: ast.AST, inside: Path) -> Iterator[tuple[str, int]]:
    """Full names of this package that a module imports, or reaches through `import skywork_rt`, with their lines."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            full = [(alias.name, node.lineno) for alias in node.names if alias.name != PACKAGE]
        elif isinstance(node, ast.ImportFrom):
            module = _absolute(node, inside)
            full = [(f"{module}.{alias.name}", node.lineno) for alias in node.names]
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == PACKAGE:
            full = [(f"{PACKAGE}.{node.attr}", node.lineno)] if node.attr not in _ABOUT_THE_PACKAGE else []
        else:
            continue
        yield from ((name, number) for name, number in full if name.startswith(PACKAGE + "."))


def _absolute(node: ast.ImportFrom, inside: Path) -> str:
    if node.level == 0:
        return node.module or ""
    package = [PACKAGE, *inside.parent.parts]
    return ".".join([*package[: len(package) - node.level + 1], *([node.module] if node.module else [])])


def _room_of_name(name: str, table: Table) -> str:
    """`skywork_rt.text.tokenizer` is in text; `skywork_rt.Generator`, a public name, in skywork_rt."""
    first = name.split(".")[1]
    return first if first in table else PACKAGE


# Both


def _files(folder: Path, suffixes: tuple[str, ...]) -> Iterator[Path]:
    """Files below a folder in a fixed order. Symbolic links are not followed: export/ is read where it lies."""
    for current, folders, names in os.walk(folder):
        folders.sort()
        yield from (Path(current) / name for name in sorted(names) if name.endswith(suffixes))


def _place(root: Path, path: Path, line: int | None = None) -> str:
    return f"{path.relative_to(root)}" + (f":{line}" if line is not None else "")


def main() -> int:
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parents[2]
    problems = check(root)
    for problem in problems:
        print(problem, file=sys.stderr)
    if problems:
        print(f"{len(problems)} breaks of the rule that dependencies point one way", file=sys.stderr)
        return 1
    print(f"{len(CPP_ROOMS)} rooms of C++ and {len(PYTHON_ROOMS)} of Python: every dependency points down")
    return 0


if __name__ == "__main__":
    sys.exit(main())
