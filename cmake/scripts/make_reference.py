"""Writes docs/reference/*.md from the code: parameters, options, backends, commands, errors, environment variables.

``make reference`` runs it after a change of what the pages say; a test runs it with --check, which writes nothing and
fails when a page is not what the code says.
"""

from __future__ import annotations

import argparse
import inspect
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import typer

from skywork_rt import SamplingParams, _core, errors
from skywork_rt.cli.app import app
from skywork_rt.support.environment import VARIABLES
from skywork_rt.support.field_table import field_table

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "reference"
MADE = "Made from the code by `make reference`: change it there.\n"


def row(*cells: str) -> str:
    return "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join([row(*head), "|" + "---|" * len(head), *(row(*cells) for cells in rows)]) + "\n"


def page(title: str, *parts: str) -> str:
    return "\n".join([f"# {title}\n", MADE, *parts])


def fields(module: str, class_name: str, core: Sequence[dict[str, Any]]) -> str:
    ranges = {entry["name"]: entry for entry in core}
    return table(
        ("name", "type", "default", "must be", "what it does"),
        (
            (
                f"`{field.name}`",
                f"`{field.annotation}`",
                f"`{shown(ranges[field.name]['default'], field.annotation)}`",
                ranges[field.name]["range"],
                field.text,
            )
            for field in field_table(module, class_name)
        ),
    )


def shown(default: object, annotation: str) -> str:
    """The core says 0, an empty list or an empty dict where Python says None."""
    if annotation.endswith("| None") and not default and default is not False:
        return "None"
    return repr(default)


def sampling_parameters() -> str:
    return page(
        "Sampling parameters",
        "Fields of `skywork_rt::SamplingParams` in C++ and `skywork_rt.SamplingParams` in Python, keywords of "
        "`generate`, `stream` and `chat`, and options of `skywork-rt generate` and `skywork-rt chat`. Without them the "
        "command line takes the model's own generation_config. Python's class has one field more, `grammar` "
        "([structured-outputs.md](../structured-outputs.md)), in place of which C++ has `Request::mask`.\n",
        order_of_processing() + "\n",
        fields("api/params.py", "SamplingParams", _core.sampling_fields()),
    )


def order_of_processing() -> str:
    """The paragraph of the class that says it."""
    paragraphs = inspect.cleandoc(SamplingParams.__doc__ or "").split("\n\n")
    return next(paragraph for paragraph in paragraphs if paragraph.startswith("Order: "))


def generator_options() -> str:
    return page(
        "Options of a generator",
        "Fields of `skywork_rt::GeneratorOptions` in C++ (0 or empty for None), keywords of `skywork_rt.Generator` and "
        "`skywork_rt.AsyncGenerator`, and options of every command that opens a bundle.\n",
        fields("api/options.py", "GeneratorOptions", _core.generator_fields()),
    )


def backends() -> str:
    return page(
        "Backends",
        'What the option `backend` may name. `"auto"` asks them in this order and takes the first that can run the '
        "bundle; when none can, the error has the reason of each. A shared library `skywork_rt_NAME.so` in a folder of "
        "`SKYWORK_RT_BACKENDS` is the backend NAME.\n",
        table(("name", "what it is"), ((f"`{name}`", text) for name, text in _core.backends())),
        '\nIn Python there are two more, which `"auto"` never takes: `"mindspore"`, the exporter\'s graphs run by '
        "MindSpore, and any object whose class derives from `skywork_rt.backends.PythonBackend` "
        "([python-backends.md](../python-backends.md)).\n",
    )


def error_codes() -> str:
    classes = [kind for kind in vars(errors).values() if inspect.isclass(kind) and "code" in vars(kind)]
    numbers = dict(_core.error_codes())
    rows = []
    for kind in sorted(classes, key=lambda kind: numbers.get(kind.code, 0)):
        number = str(numbers[kind.code]) if kind.code in numbers else "Python only"
        also = ", ".join(base.__name__ for base in kind.__bases__ if base.__module__ == "builtins")
        rows.append((f"`{kind.code}`", number, f"`{kind.__name__}`", also, inspect.getdoc(kind) or ""))
    return page(
        "Errors",
        "C++ throws `skywork_rt::Error` with a code, whose number never changes; Python raises a class of "
        "`skywork_rt.errors`, which is also the built-in class that is named here.\n",
        table(("code", "number", "in Python", "is also", "when"), rows),
    )


def environment_variables() -> str:
    texts = {variable.name: (variable.text, "Python") for variable in VARIABLES}
    for name, text in _core.environment_variables():
        texts[name] = (text, "Python and C++" if name in texts else "C++")
    return page(
        "Environment variables",
        "An empty one counts as not set.\n",
        table(("name", "read by", "what it does"), ((f"`{n}`", by, text) for n, (text, by) in sorted(texts.items()))),
    )


def command_line() -> str:
    parts = list(commands(typer.main.get_command(app), "skywork-rt"))
    return page("The command line", *parts)


def commands(command: Any, name: str) -> Iterator[str]:
    """A section a command: its help, its arguments and its options."""
    yield f"## {name}\n\n{inspect.cleandoc(command.help or '')}\n"
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name == "option" and p.name != "help"]
    if arguments:
        yield table(("argument", "what it is"), ((f"`{p.name.upper()}`", p.help or "") for p in arguments))
    if options:
        yield table(
            ("option", "default", "what it does"), ((flags(p), option_default(p), p.help or "") for p in options)
        )
    for child in sorted(getattr(command, "commands", {})):
        yield from commands(command.commands[child], f"{name} {child}")


def flags(option: Any) -> str:
    return ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))


def option_default(option: Any) -> str:
    if option.default is None or option.show_default is False or (option.is_flag and not option.secondary_opts):
        return ""
    return f"`{str(option.default).lower() if isinstance(option.default, bool) else option.default}`"


PAGES: dict[str, Callable[[], str]] = {
    "sampling-parameters.md": sampling_parameters,
    "generator-options.md": generator_options,
    "backends.md": backends,
    "command-line.md": command_line,
    "errors.md": error_codes,
    "environment.md": environment_variables,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail when a page is not current")
    check = parser.parse_args().check
    FOLDER.mkdir(parents=True, exist_ok=True)
    stale = []
    for name, make in PAGES.items():
        path, text = FOLDER / name, make()
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(name)
        if not check:
            path.write_text(text, encoding="utf-8")
    if check and stale:
        print(f"docs/reference is not what the code says: {', '.join(stale)}. Run 'make reference'.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
