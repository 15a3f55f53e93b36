"""Options that say what an output must look like; one of them at most."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from skywork_rt.cli.options import Group
from skywork_rt.support.field_table import Field

__all__ = ["GrammarOptions"]

_FIELDS = (
    Field("json_schema", "str | None", None, "File with a JSON schema: the output is JSON that it allows."),
    Field("regex", "str | None", None, "The output is what this regular expression matches as a whole."),
    Field("grammar", "str | None", None, "File with a grammar in EBNF (GBNF, root ::= ...) or Lark (start: ...)."),
)


class GrammarOptions(Group):
    """What an output must look like (pip install 'skywork-rt[grammar]')."""

    panel = "Structured outputs"

    @classmethod
    def fields(cls) -> tuple[Field, ...]:
        return _FIELDS

    def given(self) -> dict[str, Any]:
        """The sampling parameter `grammar`, if one was given. Raises InvalidArgumentError for two, and for a file that
        cannot be read or holds none."""
        from skywork_rt.errors import InvalidArgumentError
        from skywork_rt.grammar.dialect import grammar_of_text
        from skywork_rt.grammar.grammar import Grammar

        given = super().given()
        if len(given) > 1:
            names = " and ".join(f"--{name.replace('_', '-')}" for name in given)
            raise InvalidArgumentError(f"{names} are given, but an output can have one form; give one")
        if "regex" in given:
            return {"grammar": Grammar.regex(given["regex"])}
        for name, make in (("json_schema", Grammar.json_schema), ("grammar", grammar_of_text)):
            if name in given:
                return {"grammar": make(_text_of(given[name], name))}
        return {}


def _text_of(path: str, name: str) -> str:
    from skywork_rt.errors import InvalidArgumentError

    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        flag = f"--{name.replace('_', '-')}"
        raise InvalidArgumentError(f"{flag}: {path!r} cannot be read as text: {error}") from None
