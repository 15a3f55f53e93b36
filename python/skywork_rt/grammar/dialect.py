"""Which of the two notations of grammars a text is in."""

from __future__ import annotations

import re

from skywork_rt.grammar.grammar import Grammar

__all__ = ["grammar_of_text"]

_LARK = re.compile(r"^[ \t]*(%llguidance\b|start[ \t]*:)", re.MULTILINE)


def grammar_of_text(text: str) -> Grammar:
    """Lark where a rule `start:` is, as it must have one; otherwise GBNF, whose first rule is `root ::=`."""
    if isinstance(text, str) and _LARK.search(text):
        return Grammar.lark(text)
    return Grammar.gbnf(text)
