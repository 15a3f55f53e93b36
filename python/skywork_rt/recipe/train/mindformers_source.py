"""What the installed MindFormers and MindSpore know, read from their source without importing them.

Importing both takes seconds, and a typing mistake in a YAML should be told at once. The names of keys are theirs, so
that a newer release needs no change here.
"""

from __future__ import annotations

import ast
import importlib.util
import warnings
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from skywork_rt.errors import UnsupportedError

__all__ = ["Parameter", "checked_types", "class_constants", "package_folder", "signature", "template_sections"]

_TEMPLATE = "tools/register/template.py"


@dataclass(frozen=True)
class Parameter:
    """A key: the names of types that it takes (empty when nothing is known), and its default."""

    types: tuple[str, ...] = ()
    default: Any = None
    optional: bool = False


@lru_cache(maxsize=8)
def package_folder(name: str) -> Path:
    """Where a package lies. Raises UnsupportedError that names the extra when it is not installed."""
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise UnsupportedError(f"{name} is not installed; training needs it: pip install 'skywork-rt[recipe]'")
    return Path(spec.submodule_search_locations[0])


@lru_cache(maxsize=64)
def _tree(package: str, module: str) -> ast.Module:
    path = package_folder(package) / module
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about their docstrings
            return ast.parse(path.read_text(encoding="utf-8"))
    except (OSError, SyntaxError) as error:
        raise UnsupportedError(
            f"the installed {package} has no readable {module}; training was written for mindformers 1.8.0 and "
            "mindspore 2.7.2: pip install 'skywork-rt[recipe]'"
        ) from error


def _class(package: str, module: str, name: str) -> ast.ClassDef | None:
    return next(
        (node for node in _tree(package, module).body if isinstance(node, ast.ClassDef) and node.name == name), None
    )


def _literal(node: ast.expr | None) -> Any:
    try:
        return None if node is None else ast.literal_eval(node)
    except ValueError:
        return None


def class_constants(package: str, module: str, name: str) -> dict[str, Parameter]:
    """The public constants of a class: name to default, its type as far as the default tells it."""
    found = _class(package, module, name)
    constants: dict[str, Parameter] = {}
    for statement in found.body if found else []:
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            key = statement.targets[0].id
            if not key.startswith("_"):
                value = _literal(statement.value)
                constants[key] = Parameter(_types_of_default(value), value, optional=value is None)
    return constants


def _types_of_default(value: Any) -> tuple[str, ...]:
    return () if value is None else (type(value).__name__,)


def signature(package: str, module: str, name: str) -> dict[str, Parameter] | None:
    """The parameters of a class's constructor but self and **kwargs; None when the module has no such class."""
    found = _class(package, module, name)
    if found is None:
        return None
    for statement in found.body:
        if isinstance(statement, ast.FunctionDef) and statement.name in ("__init__", "__new__"):
            return _parameters(statement)
    return {}


def _parameters(function: ast.FunctionDef) -> dict[str, Parameter]:
    arguments = [*function.args.posonlyargs, *function.args.args][1:]
    defaults: list[ast.expr | None] = [None] * (len(arguments) - len(function.args.defaults))
    defaults += list(function.args.defaults)
    pairs = list(zip(arguments, defaults, strict=True))
    pairs += list(zip(function.args.kwonlyargs, function.args.kw_defaults, strict=True))
    return {argument.arg: _parameter(argument.annotation, default) for argument, default in pairs}


def _parameter(annotation: ast.expr | None, default: ast.expr | None) -> Parameter:
    value = _literal(default)
    names = _annotation_types(annotation)
    none = isinstance(default, ast.Constant) and default.value is None
    return Parameter(names or _types_of_default(value), value, optional=none or "None" in names)


def _annotation_types(annotation: ast.expr | None) -> tuple[str, ...]:
    """int, Optional[int] and Union[int, float] as names; empty for what is not that simple."""
    if isinstance(annotation, ast.Name):
        return (annotation.id,)
    if isinstance(annotation, ast.Subscript) and isinstance(annotation.value, ast.Name):
        if annotation.value.id in ("Optional", "Union"):
            inner = annotation.slice
            parts = inner.elts if isinstance(inner, ast.Tuple) else [inner]
            names = tuple(name for part in parts for name in _annotation_types(part))
            return (*names, "None") if annotation.value.id == "Optional" else names
        return (annotation.value.id.lower(),)
    return ()


def checked_types(package: str, module: str, function: str) -> dict[str, Parameter]:
    """The keywords that `@args_type_check(mode=int, …)` above a function declares."""
    for node in _tree(package, module).body:
        if isinstance(node, ast.FunctionDef) and node.name == function:
            for decorator in node.decorator_list:
                if isinstance(decorator, ast.Call) and getattr(decorator.func, "id", "") == "args_type_check":
                    return {word.arg: Parameter(_declared(word.value)) for word in decorator.keywords if word.arg}
    return {}


def _declared(node: ast.expr) -> tuple[str, ...]:
    parts = node.elts if isinstance(node, ast.Tuple) else [node]
    return tuple(part.id for part in parts if isinstance(part, ast.Name))


def template_sections() -> dict[str, dict[str, Parameter]]:
    """MindFormers' own sections of a YAML (runner_config, parallel_config …), `general_config` for the top level."""
    tree = _tree("mindformers", _TEMPLATE)
    names: dict[str, str] = {}
    for statement in tree.body:
        if isinstance(statement, ast.Assign) and getattr(statement.targets[0], "id", "") == "CONFIG_NAME_TO_CLASS":
            table = statement.value
            if isinstance(table, ast.Dict):
                for key, value in zip(table.keys, table.values, strict=True):
                    if isinstance(key, ast.Constant) and isinstance(value, ast.Name):
                        names[str(key.value)] = value.id
    return {section: class_constants("mindformers", _TEMPLATE, name) for section, name in names.items()}
