"""Two tabs of the page on the same conversations, while an answer comes that takes its time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from browser import Visit, visit
from long_answer import LongAnswer, long_answer
from serving import Serving, serving

pytestmark = pytest.mark.slow

LENGTH = "(document.querySelector('.message.assistant .body')?.textContent.length ?? 0)"


@pytest.fixture(scope="module")
def server(endless_bundle: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with serving(tmp_path_factory.mktemp("tabs"), f"endless={endless_bundle}") as opened:
        yield opened


@pytest.fixture
def slow(server: Serving) -> Iterator[LongAnswer]:
    """Its answers take longer than a test: none ends before it is looked at."""
    with long_answer(server.url, pieces_per_second=40) as opened:
        yield opened


@pytest.fixture
def tabs(browser: Any, slow: LongAnswer) -> Iterator[tuple[Visit, Visit]]:
    """The first one with an answer that has begun; the second one sees it."""
    with visit(browser, slow.url) as first:
        first.type("abc")
        first.until(f"{LENGTH} > 0")
        second = first.another()
        second.page.wait_for_selector(".message.assistant.running")
        yield first, second


def test_an_answer_grows_in_both_and_what_both_write_is_kept(tabs: tuple[Visit, Visit]) -> None:
    first, second = tabs
    grown = second.page.evaluate(LENGTH)
    second.until(f"{LENGTH} > {grown}")
    assert second.page.locator(".trouble").count() == 0, "it is not taken for one whose page was closed"
    second.page.locator("#conversations li").hover()
    second.page.get_by_role("button", name="Rename abc").click()
    second.page.keyboard.type("Other name")
    second.page.keyboard.press("Enter")
    first.until("document.querySelector('#title').textContent === 'Other name'")
    second.type("And now?")
    second.page.wait_for_selector("#send[aria-label^=Stop]")
    for each in (first, second):
        each.page.keyboard.press("Escape")
        each.answered()
    first.until("document.querySelectorAll('.message').length === 4")
    first.until("document.querySelectorAll('.message.running').length === 0")
    (kept,) = second.stored()
    assert kept["title"] == "Other name"
    messages = kept["messages"].values()
    assert [each["text"] for each in messages if each["role"] == "user"] == ["abc", "And now?"]
    assert [each["status"] for each in messages if each["role"] == "assistant"] == ["stopped", "stopped"]
    for each in (first, second):
        shown = each.texts(".message .body")
        each.reload()
        assert each.texts(".message .body") == shown, "what is shown is what is kept"


def test_a_tab_that_is_closed_in_the_middle_is_noticed_by_the_other(tabs: tuple[Visit, Visit]) -> None:
    first, second = tabs
    first.page.close()
    second.page.wait_for_selector(".trouble >> text=The page was closed")
    assert second.page.locator(".message.running").count() == 0
    (kept,) = second.stored()
    assert [each["status"] for each in kept["messages"].values() if each["role"] == "assistant"] == ["failed"]
    second.last("Go on with this answer")
    second.page.wait_for_selector(".message.assistant.running")


def test_a_conversation_that_the_other_deletes_stays_deleted(tabs: tuple[Visit, Visit]) -> None:
    first, second = tabs
    second.page.locator("#conversations li").hover()
    second.page.get_by_role("button", name="Delete abc").click()
    second.page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    first.until("document.querySelectorAll('.message').length === 0")
    first.page.wait_for_selector("#send[aria-label^=Send]")
    assert first.stored() == []
    first.reload()
    assert first.texts("#conversations li") == []
