"""From the EBNF of llama.cpp and of vLLM's users (GBNF) to llguidance's Lark, rule by rule.

    root  ::= "yes" | "no" " " word{1,3}     # a comment
    word  ::= [a-z]+ | "\\x41" | .

Names become `r_0`, `T_1` …, so that no name of a grammar means something to Lark. `T_1` is a terminal: a rule that uses
no rule which uses itself. The library makes one automaton of a terminal, which is quick, and exact where texts overlap.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import NoReturn

from skywork_rt.errors import InvalidArgumentError

__all__ = ["gbnf_to_lark"]

_TOKENS = re.compile(
    r"""(?P<space>[ \t]+|\#[^\n]*) | (?P<line>\r?\n) | (?P<define>::=) | (?P<name>[A-Za-z_][A-Za-z0-9_-]*)
      | (?P<text>"(?:[^"\\\n]|\\.)*") | (?P<class>\[(?:[^\]\\\n]|\\.)*\]) | (?P<bounds>\{\s*\d*\s*(?:,\s*\d*\s*)?\})
      | (?P<mark>[|()*+?.])""",
    re.VERBOSE,
)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "f": "\f", "b": "\b", "0": "\0", "a": "\a", "v": "\v"}
_HEX = {"x": 2, "u": 4, "U": 8}
_REFERENCE = re.compile(r"\x01(\d+)\x01")
_DEEPEST = 200
"""Brackets in brackets: the parser calls itself for each."""


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    line: int
    column: int


def gbnf_to_lark(text: str) -> str:
    """The grammar in Lark, whose `start` is `root`. Raises InvalidArgumentError with line and column."""
    return _Parser(_tokens(text)).grammar()


def _tokens(text: str) -> list[_Token]:
    found: list[_Token] = []
    place, line, line_start = 0, 1, 0
    while place < len(text):
        match = _TOKENS.match(text, place)
        here = _Token("", text[place : place + 20].split("\n")[0], line, place - line_start + 1)
        if match is None:
            _refuse(here, "cannot be read: texts are in double quotes, classes in brackets")
        assert match.lastgroup is not None
        if match.lastgroup != "space":
            found.append(_Token(match.lastgroup, match[0], line, here.column))
        place = match.end()
        if match.lastgroup == "line":
            line, line_start = line + 1, place
    return [*found, _Token("end", "the end", line, place - line_start + 1)]


def _refuse(token: _Token, why: str) -> NoReturn:
    shown = "the end of the line" if token.kind == "line" else f"{token.text[:40]!r}"
    raise InvalidArgumentError(f"the grammar (gbnf), line {token.line}, column {token.column}: {shown} {why}")


class _Parser:
    """Reads rules by recursive descent. A rule ends where the next line begins with another one."""

    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = tokens
        self._place = 0
        self._depth = 0
        self._numbers: dict[str, int] = {}
        self._first_use: dict[str, _Token] = {}
        self._used: set[str] = set()
        self._uses: dict[str, set[str]] = {}

    def grammar(self) -> str:
        rules: dict[str, str] = {}
        self._skip_lines()
        while self._here.kind != "end":
            name = self._take("name", 'is no rule; a rule is such as: root ::= "yes" | "no"')
            self._take("define", "comes after a rule's name, but ::= must")
            if name.text in rules:
                _refuse(name, "is defined twice")
            self._skip_lines()
            self._name(name.text)
            self._uses[name.text] = self._used = set()
            rules[name.text] = self._alternatives()
            self._skip_lines()
        for used, token in self._first_use.items():
            if used not in rules:
                _refuse(token, "is not defined")
        if "root" not in rules:
            raise InvalidArgumentError("the grammar (gbnf) has no rule root, with which it begins: root ::= ...")
        text = f"start: {self._name('root')}\n"
        text += "".join(f"{self._name(name)}: {body}\n" for name, body in rules.items())
        terminals = {self._numbers[name] for name in self._terminals()}
        return _REFERENCE.sub(lambda found: f"{'T' if int(found[1]) in terminals else 'r'}_{found[1]}", text)

    def _terminals(self) -> set[str]:
        """Rules that use terminals alone. Each rule is looked at once, and again for each that it uses."""
        users: dict[str, list[str]] = {name: [] for name in self._uses}
        for name, used in self._uses.items():
            for other in used:
                users[other].append(name)
        left = {name: len(used) for name, used in self._uses.items()}
        ready = [name for name, count in left.items() if count == 0]
        found: set[str] = set()
        while ready:
            name = ready.pop()
            found.add(name)
            for user in users[name]:
                left[user] -= 1
                if left[user] == 0:
                    ready.append(user)
        return found

    @property
    def _here(self) -> _Token:
        return self._tokens[self._place]

    def _take(self, kind: str, otherwise: str) -> _Token:
        token = self._here
        if token.kind != kind:
            _refuse(token, otherwise)
        self._place += 1
        return token

    def _skip_lines(self) -> None:
        while self._here.kind == "line":
            self._place += 1

    def _at(self, mark: str) -> bool:
        return self._here.kind == "mark" and self._here.text == mark

    def _next_is(self, mark: str) -> bool:
        """Whether the next line goes on with `mark`."""
        place = self._place
        while self._tokens[place].kind == "line":
            place += 1
        return self._tokens[place].kind == "mark" and self._tokens[place].text == mark

    def _alternatives(self) -> str:
        found = [self._sequence()]
        while self._at("|") or self._next_is("|"):
            self._skip_lines()
            self._place += 1
            self._skip_lines()
            found.append(self._sequence())
        return " | ".join(found)

    def _sequence(self) -> str:
        items: list[str] = []
        while True:
            if self._depth:
                self._skip_lines()
            item = self._item()
            if item is None:
                return " ".join(items) if items else '""'
            items.append(item + self._repetition())

    def _item(self) -> str | None:
        token = self._here
        if token.kind == "name":
            if self._tokens[self._place + 1].kind == "define":
                return None
            self._first_use.setdefault(token.text, token)
            self._used.add(token.text)
            self._place += 1
            return self._name(token.text)
        if token.kind == "text":
            self._place += 1
            return json.dumps(_plain(token, token.text[1:-1]), ensure_ascii=False)
        if token.kind == "class":
            self._place += 1
            return f"/{_class(token)}/"
        if self._at("."):
            self._place += 1
            return "/(?s:.)/"
        if self._at("("):
            return self._group()
        if token.kind in ("line", "end") or (token.kind == "mark" and token.text in "|)"):
            return None
        _refuse(token, "does not belong here")

    def _group(self) -> str:
        begun = self._here
        self._place += 1
        self._depth += 1
        if self._depth > _DEEPEST:
            _refuse(begun, f"is nested deeper than {_DEEPEST} brackets")
        self._skip_lines()
        inner = self._alternatives()
        self._skip_lines()
        if not self._at(")"):
            _refuse(begun, "is not closed")
        self._place += 1
        self._depth -= 1
        return f"({inner})"

    def _repetition(self) -> str:
        token = self._here
        if token.kind == "mark" and token.text in "*+?":
            self._place += 1
            return token.text
        if token.kind != "bounds":
            return ""
        self._place += 1
        least, comma, most = "".join(token.text[1:-1].split()).partition(",")
        if not least and not most:
            _refuse(token, "has no number; a repetition is such as {2}, {2,} or {2,5}")
        if most and int(most) < int(least or 0):
            _refuse(token, "has its bounds the wrong way round")
        return f"{{{int(least or 0)}{comma}{most}}}"

    def _name(self, name: str) -> str:
        """A mark for the name, which no text can hold, until it is known what the rule becomes."""
        return f"\x01{self._numbers.setdefault(name, len(self._numbers))}\x01"


def _characters(token: _Token, text: str) -> list[tuple[str, bool]]:
    """The characters of a text, and whether each was escaped."""
    found: list[tuple[str, bool]] = []
    place = 0
    while place < len(text):
        if text[place] != "\\":
            found.append((text[place], False))
            place += 1
            continue
        letter = text[place + 1]
        digits = _HEX.get(letter, 0)
        code = text[place + 2 : place + 2 + digits]
        if digits and (len(code) != digits or not all(c in "0123456789abcdefABCDEF" for c in code)):
            _refuse(token, f"has \\{letter} without {digits} hexadecimal digits")
        if digits and (int(code, 16) > 0x10FFFF or 0xD800 <= int(code, 16) < 0xE000):
            _refuse(token, f"has \\{letter}{code}, which is no character")
        found.append((chr(int(code, 16)) if digits else _ESCAPES.get(letter, letter), True))
        place += 2 + digits
    return found


def _plain(token: _Token, text: str) -> str:
    return "".join(character for character, _ in _characters(token, text))


def _class(token: _Token) -> str:
    """A class of characters as a regular expression of Rust has it; a line's end is a character like others."""
    inside = _characters(token, token.text[1:-1])
    negated = bool(inside) and inside[0] == ("^", False)
    members = inside[1:] if negated else inside
    if not members:
        _refuse(token, "has no characters")
    written = "".join(
        "-" if (character, escaped) == ("-", False) and 0 < index < len(members) - 1 else f"\\u{{{ord(character):x}}}"
        for index, (character, escaped) in enumerate(members)
    )
    return f"[{'^' if negated else ''}{written}]"
