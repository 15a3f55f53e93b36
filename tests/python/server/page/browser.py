"""Headless Chromium on the page, and what every visit is held to: nothing from other hosts, no breach of the policy."""

from __future__ import annotations

import copy
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium")
_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update",
)  # fmt: skip

#: Notes breaches of the policy.
_WATCH = """
window.breaches = [];
document.addEventListener('securitypolicyviolation',
  (event) => window.breaches.push(event.violatedDirective + ' ' + event.blockedURI));
"""


@contextmanager
def chromium() -> Iterator[Any]:
    """The browser. Its library runs an event loop in this thread until the end: no test of asyncio may run within."""
    if CHROMIUM is None:
        pytest.skip("needs Debian's chromium, which `make test` installs")
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs the extra `test`")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(_FLAGS))
        try:
            yield browser
        finally:
            browser.close()


class Visit:
    """The page of a server in a fresh profile, and shorthands for what its user does and sees."""

    def __init__(self, browser: Any, url: str, **settings: Any) -> None:
        self.url = url
        self.context = browser.new_context(
            viewport={"width": settings.pop("width", 1280), "height": settings.pop("height", 800)}, **settings
        )
        self.context.set_default_timeout(20_000)
        self.context.add_init_script(_WATCH)
        self.asked: list[Any] = []
        self.said: list[str] = []
        self.broken: list[str] = []
        self._open_tab()

    def another(self) -> Visit:
        """Another tab of the same profile, held to the same rules by this visit."""
        other = copy.copy(self)
        other._open_tab()
        return other

    def _open_tab(self) -> None:
        self.page = self.context.new_page()
        self.page.on("request", lambda request: self.asked.append(request))
        self.page.on("console", lambda message: self.said.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.broken.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.broken.append(f"dialog {dialog.message}"), dialog.dismiss()))
        self.open()

    def open(self) -> None:
        self.page.goto(self.url + "/")
        self.ready()

    def reload(self) -> None:
        self.page.reload()
        self.ready()

    def ready(self) -> None:
        self.page.wait_for_selector("html[data-ready]")

    def type(self, text: str) -> None:
        self.page.fill("#input", text)
        self.page.press("#input", "Enter")

    def say(self, text: str) -> str:
        """Sends a message; the answer, once it has ended."""
        self.type(text)
        return self.answered()

    def answered(self) -> str:
        self.page.wait_for_selector("#send[aria-label^=Send]")
        return self.answer()

    def answer(self) -> str:
        return self.text(".message.assistant >> nth=-1 >> .body")

    def text(self, selector: str) -> str:
        return str(self.page.locator(selector).inner_text())

    def texts(self, selector: str) -> list[str]:
        return [str(text) for text in self.page.locator(selector).all_inner_texts()]

    def settings(self, **values: object) -> None:
        """Parameters, through the panel; it stays open."""
        if self.page.get_attribute("#settings", "aria-expanded") == "false":
            self.page.click("#settings")
        if self.page.get_attribute("#panel details", "open") is None:
            self.page.click("#panel summary")
        for name, value in values.items():
            field = self.page.locator(f"#parameter-{name}")
            if field.evaluate("(node) => node.tagName") == "SELECT":
                field.select_option(str(value).lower())
            else:
                field.fill(str(value))

    def last(self, action: str) -> None:
        """A button below the last answer."""
        self.page.locator(".message.assistant").last.get_by_role("button", name=action).click()

    def bodies(self) -> list[dict[str, Any]]:
        """What was sent to the model so far."""
        sent = [request for request in self.asked if request.url.endswith("/v1/chat/completions")]
        return [request.post_data_json for request in sent]

    def until(self, expression: str, seconds: float = 20) -> None:
        """Waits until an expression is true. (The library's own way evaluates texts in the page, which its policy
        forbids.)"""
        deadline = time.monotonic() + seconds
        while not self.page.evaluate(expression):
            assert time.monotonic() < deadline, expression
            self.page.wait_for_timeout(20)

    def stored(self) -> list[dict[str, Any]]:
        """The conversations in the browser's database."""
        found: list[dict[str, Any]] = self.page.evaluate(_STORED)
        return found

    def close(self, *, errors: bool = False) -> None:
        """Holds the visit to the rules. `errors`: refused requests were a part of the test."""
        breaches = [breach for page in self.context.pages for breach in page.evaluate("window.breaches")]
        self.context.close()
        assert breaches == []
        assert self.broken == []
        hosts = {request.url for request in self.asked if not request.url.startswith((self.url + "/", "blob:"))}
        assert hosts == set(), "every request goes to the server itself"
        loud = [line for line in self.said if not (errors and "Failed to load resource" in line)]
        assert loud == []


_STORED = """() => new Promise((resolve, reject) => {
  const opening = indexedDB.open('skywork-rt');
  opening.onerror = () => reject(opening.error);
  opening.onsuccess = () => {
    const asking = opening.result.transaction('conversations').objectStore('conversations').getAll();
    asking.onsuccess = () => { opening.result.close(); resolve(asking.result); };
  };
})"""


@contextmanager
def visit(browser: Any, url: str, *, errors: bool = False, **settings: Any) -> Iterator[Visit]:
    """A visit that is held to the rules at its end, and closed whatever happens."""
    opened = Visit(browser, url, **settings)
    try:
        yield opened
    except BaseException:
        opened.context.close()
        raise
    opened.close(errors=errors)
