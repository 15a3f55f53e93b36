"""The text of an answer as it comes in pieces, for readers that are written as if all of it were there.

A reader is a generator: where it needs more text it yields, and it goes on when there is some. What it finds it tells
through the source's own methods. Whatever may be a call is tried: `begin()`, and then `keep()` if it is one, else
`give_back()`, so that `content_until` comes to the same text again.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Generator, Sequence
from typing import TypeAlias, TypeVar, cast

from skywork_rt.tool_calls.events import ArgumentsText, CallBegun, CallWithdrawn, ContentText, Event

__all__ = ["NoCall", "Reading", "Source", "Unfinished", "all_of"]

T = TypeVar("T")
Reading: TypeAlias = Generator[None, None, T]
"""What a reader's functions return: `yield from` gives the value."""

_SPACE = " \t\n\r"


class NoCall(Exception):
    """What is being tried is no call."""


class Unfinished(NoCall):
    """The text ended in the middle of it."""


class Source:
    """Text, how far it is read, and what was found in it.

    `hidden`: markers that are special tokens, which are no text for the caller: they are never content.
    """

    def __init__(self, hidden: Collection[str] = ()) -> None:
        self._hidden = frozenset(hidden)
        self._text = ""
        self._at = 0
        self._ended = self._cut = False
        self._events: list[Event] = []
        self._calls = 0
        self._space = ""  # behind what was said: content if more is said, nothing if a call follows
        self._said = False  # whether there was content since the last call
        self._tried: int | None = None  # where what is tried begins
        self._marker = ""  # of what is tried, as far as it is text for the caller
        self._tried_call = False
        self._arguments: int | None = None  # where arguments begin that were not told yet

    # For the driver.

    def feed(self, text: str) -> None:
        """More text."""
        done = min(at for at in (self._at, self._tried, self._arguments) if at is not None)
        self._text = self._text[done:] + text
        self._at -= done
        if self._tried is not None:
            self._tried -= done
        if self._arguments is not None:
            self._arguments -= done

    def end(self, *, cut: bool) -> None:
        """There is no more text. cut: the model would have gone on, so that a call may be unfinished."""
        self._ended, self._cut = True, cut

    def take_events(self) -> list[Event]:
        """What was found since the last time."""
        self._tell_arguments()
        events, self._events = self._events, []
        return events

    def close(self) -> None:
        """After the reader: the space behind the last content is content, that behind a call is none."""
        if self._space and (self._said or not self._calls):
            self._tell_content(self._space)
        self._space = ""

    # For readers: text.

    def peek(self) -> Reading[str]:
        """The next character; empty at the end."""
        while self._at == len(self._text):
            if self._ended:
                return ""
            yield
        return self._text[self._at]

    def skip(self) -> None:
        """Passes the character that `peek` gave."""
        self._at += 1

    def skip_all(self, pattern: re.Pattern[str]) -> None:
        """Passes what matches here, of the text that has come."""
        found = pattern.match(self._text, self._at)
        if found:
            self._at = found.end()

    def space(self) -> Reading[str]:
        """Passes white space; gives the character behind it."""
        while True:
            character = yield from self.peek()
            if not character or character not in _SPACE:
                return character
            self.skip()

    def expect(self, text: str) -> Reading[None]:
        """Passes exactly this. Raises NoCall."""
        for wanted in text:
            character = yield from self.peek()
            if not character:
                raise Unfinished
            if character != wanted:
                raise NoCall
            self.skip()

    def capture(self, reading: Reading[None]) -> Reading[str]:
        """What a reader passes, inside of what is tried."""
        assert self._tried is not None, "what is tried stays in memory"
        length = self._at - self._tried
        yield from reading
        return self._text[self._tried + length : self._at]

    def content_until(self, markers: Sequence[str]) -> Reading[str]:
        """Tells content until one of these, and begins to try it, behind the marker. Empty at the end of the text."""
        while True:
            places = [(place, m) for m in markers if (place := self._text.find(m, self._at)) >= 0]
            if places:
                place, marker = min(places)
                self._say(self._text[self._at : place])
                self._at = place
                self.begin(marker)
                return marker
            end = len(self._text) - (0 if self._ended else _open_end(self._text[self._at :], markers))
            self._say(self._text[self._at : end])
            self._at = end
            if self._ended:
                return ""
            yield

    # For readers: calls.

    def begin(self, marker: str = "") -> None:
        """Tries what comes, which begins with the marker."""
        self._marker = "" if marker in self._hidden else marker
        self._at += len(marker)
        self._tried = self._at - len(self._marker)
        self._tried_call = False

    def keep(self) -> None:
        """It was a call, or belongs to one."""
        self._tried = None
        self._space, self._said = "", False

    def give_back(self) -> None:
        """It was none: its marker is content, and what was read behind that is read once more, for content."""
        assert self._tried is not None, "there is something that is tried"
        if self._tried_call:
            self._tell_arguments()
            self._arguments = None
            self._calls -= 1
            self._events.append(CallWithdrawn(self._calls))
        self._at, self._tried = self._tried + len(self._marker), None
        self._say(self._marker)

    def attempt(self, reading: Reading[None]) -> Reading[bool]:
        """Keeps what a reader passes, behind `begin()`, or gives it back where that raises NoCall; which of both."""
        try:
            yield from reading
        except NoCall as reason:
            if not (self._cut and self._tried_call and isinstance(reason, Unfinished)):
                self.give_back()
                return False
            self.end_arguments()
        self.keep()
        return True

    def begin_call(self, name: str) -> None:
        self._tried_call = True
        self._events.append(CallBegun(self._calls, name))
        self._calls += 1

    def begin_arguments(self) -> None:
        """What is passed from here on is told as arguments of the call."""
        self._arguments = self._at

    def end_arguments(self) -> None:
        self._tell_arguments()
        self._arguments = None

    def tell_arguments(self, text: str) -> None:
        """Arguments that were read before the call's name."""
        self._events.append(ArgumentsText(self._calls - 1, text))

    def _tell_arguments(self) -> None:
        if self._arguments is not None and self._arguments < self._at:
            self._events.append(ArgumentsText(self._calls - 1, self._text[self._arguments : self._at]))
            self._arguments = self._at

    def _say(self, text: str) -> None:
        text = self._space + text
        said = text.rstrip(_SPACE)
        self._space = text[len(said) :]
        if said:
            self._tell_content(said)

    def _tell_content(self, text: str) -> None:
        self._said = True
        if self._events and isinstance(self._events[-1], ContentText):
            self._events[-1] = ContentText(self._events[-1].text + text)
        else:
            self._events.append(ContentText(text))


def all_of(reading: Reading[T]) -> T:
    """What a reader gives of a source that has ended, so that it never waits."""
    try:
        next(reading)
    except StopIteration as done:
        return cast(T, done.value)
    raise AssertionError("a source that has ended has all of its text")


def _open_end(text: str, markers: Sequence[str]) -> int:
    """How many characters at the end may be the beginning of a marker."""
    most = min(max(map(len, markers)) - 1, len(text))
    return next((n for n in range(most, 0, -1) if any(m.startswith(text[-n:]) for m in markers)), 0)
