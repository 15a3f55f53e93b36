"""The fields of a class as a table: name, type, default and text, read from its source.

The classes whose fields are parameters (SamplingParams, GeneratorOptions) are written out for editors and mypy, with a
docstring under each field. This reads them without importing them, so that the command line has its help where the core
does not load.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

__all__ = ["Field", "field_table"]

_PACKAGE = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Field:
    """One field: its type as it is written, its default (None where it has none), and the text below it."""

    name: str
    annotation: str
    default: object
    text: str


@lru_cache(maxsize=8)
def field_table(module: str, class_name: str) -> tuple[Field, ...]:
    """The fields of a class, in order. `module` is a file below the package, such as "api/params.py"."""
    tree = ast.parse((_PACKAGE / module).read_text(encoding="utf-8"))
    (found,) = (node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == class_name)
    fields = []
    for statement, below in zip(found.body, [*found.body[1:], None], strict=True):
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            default = None if statement.value is None else ast.literal_eval(statement.value)
            fields.append(Field(statement.target.id, ast.unparse(statement.annotation), default, _text(below)))
    return tuple(fields)


def _text(statement: ast.stmt | None) -> str:
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
        return " ".join(str(statement.value.value).split())
    return ""
