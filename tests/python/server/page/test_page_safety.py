"""The page when things go wrong or are hostile, on narrow screens, without a mouse, and with a very long answer."""

from __future__ import annotations

import json
import random
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from browser import Visit, visit
from long_answer import LongAnswer, long_answer
from markdown_cases import CASES, DRAW, PIECES
from scripts import BOXES, COUNT_NODES, FAINT, FOCUS, LISTEN, TO_THE_END
from serving import Serving, serving

pytestmark = pytest.mark.slow

HOSTILE = "<script>window.pwned = 1</script><img src=x onerror='window.pwned = 2'>"
WORSE = (
    "<svg onload=alert(3)></svg><iframe srcdoc='<script>parent.pwned = 4</script>'></iframe>"
    "<style>body { display: none }</style><base href='http://elsewhere.example/'>"
)
ORDER = (
    "new", "search", "files", "key-button", "theme", "menu", "model", "tokens-switch", "settings", "Copy", "Regenerate",
    "input",
)  # fmt: skip
MARKDOWN = (
    f"# {HOSTILE}\n\n{HOSTILE}{WORSE}\n\n- {HOSTILE}\n\n> {HOSTILE}\n\n"
    f"| {HOSTILE} | b |\n|---|---|\n| x | {HOSTILE} |\n\n"
    f"```html\n{HOSTILE}\n```\n\n`{HOSTILE}` **{HOSTILE}** [a](javascript:window.pwned=5) [b](JaVaScRiPt:alert(6)) "
    "[c](data:text/html,<script>window.pwned=7</script>) ![d](http://elsewhere.example/x.png) <javascript:alert(8)> "
    '[e](https://good.example/?q="onmouseover=alert(9)) https://bare.example/x'
)


@pytest.fixture
def keyed(endless_bundle: Path, tmp_path: Path) -> Iterator[Serving]:
    options = ("--api-key", "right", "--max-requests", "1", "--max-cached-tokens", "20000")
    with serving(tmp_path, f"endless={endless_bundle}", *options) as server:
        yield server


def conversation(**fields: Any) -> dict[str, Any]:
    answer = {
        "id": "b",
        "parent": "a",
        "role": "assistant",
        "text": "Hello.",
        "created": 2,
        "model": "m",
        "status": "done",
    }
    answer |= {"finish": "stop", "usage": {"prompt": 3, "answer": 2, "earlier": 0}, "ttft": 0.1, "seconds": 0.2}
    question = {"id": "a", "parent": "", "role": "user", "text": "Hi", "created": 1}
    given = {"id": "c", "title": "Title", "messages": {"a": question, "b": answer}, "shown": {}, "system": "", **fields}
    return {"format": "skywork-rt conversations", "version": 1, "conversations": [given]}


def take_in(seen: Visit, folder: Path, content: dict[str, Any]) -> None:
    file = folder / "import.json"
    file.write_text(json.dumps(content))
    seen.page.click("#files")
    seen.page.set_input_files("#import-file", str(file))
    seen.page.wait_for_selector("dialog", state="detached")


def test_html_and_scripts_are_inert_wherever_they_come_from(seen: Visit, tmp_path: Path) -> None:
    held = conversation(title=HOSTILE, system=HOSTILE, model=HOSTILE, parameters={"stop": HOSTILE, HOSTILE: HOSTILE})
    messages = held["conversations"][0]["messages"]
    messages["a"]["text"] = MARKDOWN
    messages["b"] |= {"text": MARKDOWN, "model": HOSTILE, "finish": HOSTILE, "status": "failed"}
    messages["b"] |= {"error": {"kind": HOSTILE, "text": HOSTILE, "advice": HOSTILE, "param": HOSTILE}}
    messages["b"]["tokens"] = [[HOSTILE, -0.1, [[HOSTILE, -0.1], ["x", -3]]]]
    take_in(seen, tmp_path, held)
    assert seen.text("#title") == " ".join(HOSTILE.split())
    assert seen.page.locator(".message.user > .body").text_content() == MARKDOWN
    assert HOSTILE in seen.page.locator(".prose pre").inner_text()
    assert seen.page.locator(".prose table").count() == seen.page.locator(".prose blockquote").count() == 1
    made = "body :is(script, img, iframe, style, object, embed, base, form:not(dialog form)), main svg:not(.icon)"
    assert seen.page.locator(made).count() == 0
    links = seen.page.locator(".prose a")
    addresses = links.evaluate_all("(all) => all.map((each) => [each.href, each.rel, each.target])")
    assert {address.split(":")[0] for address, _, _ in addresses} == {"http", "https"}
    assert {(rel, target) for _, rel, target in addresses} == {("noopener noreferrer nofollow", "_blank")}
    handlers = "(all) => all.flatMap((each) => each.getAttributeNames().filter((name) => name.startsWith('on')))"
    assert seen.page.locator("body *").evaluate_all(handlers) == []
    seen.page.click("#tokens-switch")
    seen.page.locator(".token").hover()
    assert "<script>" in seen.text("#token-card")
    seen.page.click("#tokens-switch")
    # A model goes on with it, so that it is sent, and drawn as it grows.
    seen.page.select_option("#model", "endless")
    seen.settings(stop="", max_tokens=8)
    seen.last("Go on with this answer")
    seen.answered()
    assert HOSTILE in seen.bodies()[-1]["messages"][0]["content"]
    assert HOSTILE in seen.bodies()[-1]["messages"][2]["content"]
    seen.last("Edit the answer")
    seen.page.keyboard.press("Escape")
    seen.page.evaluate("new Promise((drawn) => requestAnimationFrame(() => setTimeout(drawn)))")
    assert seen.page.evaluate("window.pwned") is None


def test_what_the_server_refuses_is_shown_with_its_field_and_the_fix(browser: Any, server: Serving) -> None:
    with visit(browser, server.url, errors=True) as seen:
        seen.settings(temperature=0, max_tokens=9000)
        seen.type("Hi")
        trouble = seen.page.locator(".trouble")
        trouble.wait_for()
        assert "max_tokens" in trouble.inner_text() and "8192" in trouble.inner_text()
        assert seen.page.get_attribute("#parameter-max_tokens", "aria-invalid") == "true"
        assert seen.page.evaluate("document.activeElement.id") == "parameter-max_tokens"
        seen.settings(max_tokens=4)
        trouble.get_by_role("button", name="Try again").click()
        assert seen.answered()
        assert seen.page.locator(".trouble").count() == 0


def test_a_key_is_asked_for_a_busy_server_is_waited_for_and_a_dead_one_leaves_what_came(
    browser: Any, keyed: Serving
) -> None:
    with visit(browser, keyed.url, errors=True) as seen, ExitStack() as stack:
        seen.page.keyboard.press("Escape")
        seen.page.wait_for_selector("#notice >> text=Enter the server's API key")
        seen.page.click("#notice-again")
        seen.page.fill("dialog #key", "ключ")  # no header can carry it
        seen.page.keyboard.press("Enter")
        assert not seen.page.evaluate("document.querySelector('dialog #key').validity.valid")
        seen.page.fill("dialog #key", "wrong")
        seen.page.keyboard.press("Enter")
        seen.page.wait_for_selector("dialog >> text=missing or wrong")
        seen.page.fill("dialog #key", "right")
        seen.page.keyboard.press("Enter")
        seen.page.wait_for_selector("#model:not([disabled])")
        kept = "[sessionStorage.getItem('skywork-rt:key'), localStorage.getItem('skywork-rt:key')]"
        assert seen.page.evaluate(kept) == ["right", None], "for this tab only"
        assert "right" not in json.dumps(seen.page.evaluate("({...localStorage})"))
        seen.reload()
        assert seen.page.locator("dialog").count() == 0
        # The one place is taken.
        seen.settings(max_tokens=15000, ignore_eos=True)
        body = {"model": "endless", "prompt": "x", "max_tokens": 15000, "ignore_eos": True, "stream": True}
        bearer = {"authorization": "Bearer right"}
        other = stack.enter_context(httpx.stream("POST", keyed.base + "/completions", json=body, headers=bearer))
        assert other.status_code == 200
        seen.type("abc")
        again = seen.page.locator(".trouble button").first
        again.wait_for()
        assert "try again" in seen.text(".trouble").lower()
        seen.page.wait_for_selector(".trouble button:disabled >> text=Try again in")  # Retry-After counts
        other.close()
        stack.close()
        again.click()  # once it is enabled
        seen.page.wait_for_selector(".message.running .facts:has-text('tokens/s')")
        # The server is killed in the middle.
        keyed.process.send_signal(signal.SIGKILL)
        seen.page.wait_for_selector(".trouble >> text=cut before its end")
        assert len(seen.answer()) > 10
        assert "not complete" in seen.text(".trouble")
        seen.page.wait_for_selector("#notice:not([hidden]) >> text=does not answer")
        seen.type("Is anybody there?")
        seen.page.wait_for_selector(".trouble >> text=does not answer")
        statuses = [each["status"] for each in seen.stored()[0]["messages"].values() if each["role"] == "assistant"]
        assert statuses[-2:] == ["failed", "failed"]


def test_a_phone_shows_everything_without_scrolling_sideways(browser: Any, server: Serving, tmp_path: Path) -> None:
    wide = "| a | b | c | d |\n|---|---|---|---|\n| " + " | ".join(["a_long_cell_of_a_table"] * 4) + " |\n"
    text = (
        f"{wide}\n```\n{'x = 1; ' * 60}\n```\n\n{'unbroken' * 80}\n\n`{'code' * 60}` https://example.org/{'path' * 60}"
    )
    held = conversation(title="T" * 200)
    held["conversations"][0]["messages"]["b"]["text"] = text
    with visit(browser, server.url, width=360, height=640, has_touch=True, is_mobile=True) as seen:
        page = seen.page
        page.click("#menu")
        take_in(seen, tmp_path, held)
        page.keyboard.press("Escape")
        sideways = "[document.documentElement.scrollWidth, document.querySelector('#scroller').scrollWidth, innerWidth]"

        def all_within(selector: str) -> None:
            document, scroller, width = page.evaluate(sideways)
            assert document <= width == 360 and scroller <= 360
            boxes = page.locator(selector).evaluate_all(BOXES)
            assert boxes
            assert [box for box in boxes if box["left"] < 0 or box["right"] > 360.5 or box["width"] < 24] == []

        all_within("main :is(button, select, textarea)")
        assert page.locator(".prose pre").evaluate("(node) => node.scrollWidth > node.clientWidth"), (
            "code scrolls by itself"
        )
        page.click("#menu")
        all_within("#sidebar :is(button, input)")
        page.locator("#veil").click(position={"x": 355, "y": 300})
        assert page.locator("#sidebar").is_hidden()
        page.click("#settings")
        page.click("#panel summary")
        all_within("#panel :is(button, input, textarea, select)")
        page.locator("#parameter-early_stopping").scroll_into_view_if_needed()
        page.get_by_role("button", name="Close the settings").click()
        assert page.locator("#panel").is_hidden()
        page.select_option("#model", "endless")
        seen.settings(temperature=0, max_tokens=4)
        page.get_by_role("button", name="Close the settings").click()
        page.fill("#input", "Hello")
        page.press("#input", "Enter")
        page.press("#input", "w")
        assert page.input_value("#input") == "Hello\nw", "a phone's keyboard has no Shift+Enter"
        page.tap("#send")
        assert seen.answered()


def prefer(page: Any, scheme: str) -> None:
    """The system's preference changes, and the page has heard of it."""
    page.emulate_media(color_scheme=scheme)
    page.locator(f'html[data-theme="{scheme}"]').wait_for(state="attached")


def test_light_and_dark_by_the_system_and_by_the_switch(browser: Any, server: Serving) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    with visit(browser, server.url, color_scheme="dark") as seen:
        dark = seen.page.evaluate(ground)
        prefer(seen.page, "light")
        light = seen.page.evaluate(ground)
        assert dark != light
        seen.page.click("#theme")
        seen.page.click("#theme")
        assert seen.page.get_attribute("#theme", "aria-label") == "Appearance: dark"
        assert seen.page.evaluate(ground) == dark
        seen.reload()
        assert seen.page.evaluate(ground) == dark
        seen.page.click("#theme")
        assert seen.page.evaluate(ground) == light


def test_everything_by_keyboard_with_the_focus_in_sight(seen: Visit) -> None:
    keyboard, page = seen.page.keyboard, seen.page
    seen.settings(max_tokens=3)
    page.click("#settings")
    page.focus("#input")
    keyboard.type("one")
    keyboard.press("Shift+Enter")
    keyboard.type("two")
    keyboard.press("Enter")
    seen.answered()
    assert seen.texts(".message.user > .body") == ["one\ntwo"]
    page.evaluate("document.activeElement.blur()")
    passed = []
    for _ in range(40):
        keyboard.press("Tab")
        passed.append(page.evaluate(FOCUS))
        if passed[-1][0] == "input":
            break
    names = [name for name, _ in passed]
    known = [name for name in names if name in ORDER]
    assert known == sorted(known, key=ORDER.index), names
    assert set(ORDER) <= set(names), names
    unseen = [name for name, outline in passed if outline == "none" and name not in ("input", "body")]
    assert unseen == [], "every stop shows the focus"
    keyboard.press("ArrowUp")
    assert page.locator(".editor textarea").evaluate("(node) => node === document.activeElement")
    keyboard.type(" three")
    keyboard.press("Enter")
    seen.answered()
    assert seen.texts(".message.user > .body") == ["one\ntwo three"]
    page.focus(".message.user .siblings button")
    keyboard.press("Enter")
    assert seen.texts(".message.user > .body") == ["one\ntwo"]
    assert page.evaluate("document.activeElement.closest('.siblings') !== null"), "the focus stays on the versions"
    page.focus("#settings")
    keyboard.press("Enter")
    assert page.evaluate("document.querySelector('#panel').contains(document.activeElement)")
    page.focus("#files")
    keyboard.press("Enter")
    assert page.evaluate("document.querySelector('dialog').contains(document.activeElement)")
    keyboard.press("Escape")
    page.wait_for_selector("dialog", state="detached")


def test_readers_of_the_screen_hear_names_and_the_end_but_not_every_token(seen: Visit) -> None:
    page = seen.page
    page.evaluate(LISTEN)
    seen.say("Why is the sky blue?")
    seen.until("window.heard.some((said) => said.startsWith('The answer is complete'))")
    assert len(page.evaluate("window.heard")) <= 2
    live = page.locator("[aria-live]").evaluate_all("(all) => all.map((each) => [each.id, each.ariaLive])")
    assert live == [["messages", "off"], ["announcements", "polite"]]
    seen.settings()
    nodes = seen.context.new_cdp_session(page).send("Accessibility.getFullAXTree")["nodes"]
    named = {
        "button",
        "textbox",
        "searchbox",
        "combobox",
        "link",
        "article",
        "navigation",
        "complementary",
        "log",
        "meter",
    }
    parts = [node for node in nodes if not node["ignored"] and node["role"]["value"] in named]
    assert len(parts) > 40
    assert [node for node in parts if not node.get("name", {}).get("value")] == []
    for scheme in ("light", "dark"):
        page.emulate_media(reduced_motion="reduce")
        prefer(page, scheme)
        assert page.evaluate(FAINT) == [], f"text of too little contrast ({scheme})"


def test_a_covering_drawer_keeps_the_focus_and_gives_it_back(browser: Any, server: Serving) -> None:
    with visit(browser, server.url, width=360, height=640) as seen:
        page = seen.page
        for button, drawer in (("menu", "sidebar"), ("settings", "panel")):
            page.click(f"#{button}")
            for _ in range(25):
                page.keyboard.press("Tab")
                held = f"document.activeElement === document.body || !!document.activeElement.closest('#{drawer}')"
                assert page.evaluate(held), "Tab stays in the drawer, or leaves the page"
            page.evaluate("document.activeElement.blur()")
            page.keyboard.press("Escape")
            assert page.locator(f"#{drawer}").is_hidden()
            assert page.evaluate("document.activeElement.id") == button
        page.click("#settings")
        page.click("#panel summary")
        page.locator("#panel .field").last.scroll_into_view_if_needed()
        page.get_by_role("button", name="Close the settings").click(timeout=2000)


def test_a_file_of_odd_values_harms_nothing(seen: Visit, tmp_path: Path) -> None:
    held = conversation(
        title="T" * 300, model="m", created=1e300, updated=-1e300, parameters={"seed": "DEEP", "top_k": 3}
    )
    file = tmp_path / "deep.json"
    file.write_text(json.dumps(held).replace('"DEEP"', "[" * 100_000 + "]" * 100_000))
    (tmp_path / "none.json").write_text(json.dumps({**held, "conversations": []}))
    seen.page.click("#files")
    seen.page.set_input_files("#import-file", str(tmp_path / "none.json"))
    seen.page.wait_for_selector("dialog .problem >> text=holds no conversations")
    seen.page.set_input_files("#import-file", str(file))
    seen.page.wait_for_selector("dialog", state="detached")
    seen.settings()
    assert (seen.page.input_value("#parameter-seed"), seen.page.input_value("#parameter-top_k")) == ("", "3")
    assert "Invalid" not in seen.text("#conversations")
    assert len(seen.stored()[0]["title"]) == 200
    assert seen.texts("#model option")[0] == "small (instead of m)", "another model answers, and it is told"
    assert seen.say("Hi")


def test_a_browser_that_keeps_nothing_says_so_and_talks(browser: Any, server: Serving) -> None:
    with visit(browser, server.url) as seen:
        seen.context.add_init_script(
            "for (const name of ['indexedDB', 'localStorage', 'sessionStorage'])"
            " Object.defineProperty(window, name, { get() { throw new DOMException('no', 'SecurityError'); } });"
        )
        seen.reload()
        assert "keeps nothing" in seen.text("#notice")
        seen.page.select_option("#model", "endless")
        seen.settings(max_tokens=4)
        assert seen.say("abc")
        assert "keeps nothing" in seen.text("#notice"), "an answer does not put it away"
        seen.page.click("#notice-close")
        assert seen.page.locator("#notice").is_hidden()


def test_a_full_browser_is_told_and_what_is_asked_goes_on(seen: Visit) -> None:
    storage = seen.context.new_cdp_session(seen.page)
    storage.send("Storage.overrideQuotaForOrigin", {"origin": seen.url, "quotaSize": 1})
    seen.page.select_option("#model", "endless")
    seen.settings(max_tokens=4)
    seen.say("abc")
    assert "room for the page is full" in seen.text("#notice")
    assert (len(seen.texts(".message")), seen.stored()) == (2, [])
    storage.send("Storage.overrideQuotaForOrigin", {"origin": seen.url})
    seen.say("abc")
    seen.until("document.querySelector('#notice').hidden")
    assert len(seen.stored()[0]["messages"]) == 4, "what could not be kept before is, now that there is room"


def test_an_edit_while_an_answer_comes_waits_and_says_so(seen: Visit) -> None:
    seen.page.select_option("#model", "endless")
    seen.settings(max_tokens=4)
    seen.say("abc")
    seen.page.route("**/v1/chat/completions", lambda route: None)  # the first token never comes
    seen.page.focus("#input")
    seen.page.keyboard.press("ArrowUp")
    seen.page.locator(".editor textarea").fill("")
    seen.page.keyboard.press("Enter")
    assert seen.text(".editor .problem") == "A message needs a text."
    seen.page.locator(".editor textarea").fill("another")
    seen.type("more")
    seen.page.focus(".editor textarea")
    seen.page.keyboard.press("Enter")
    assert "An answer is coming" in seen.text(".editor .problem")
    assert seen.page.input_value(".editor textarea") == "another"
    seen.page.focus("#input")
    seen.page.keyboard.press("Escape")
    seen.answered()


@pytest.fixture
def long(server: Serving) -> Iterator[LongAnswer]:
    with long_answer(server.url) as opened:
        yield opened


def test_a_very_long_answer_is_drawn_by_what_is_new_and_scrolls_with_the_reader_alone(
    browser: Any, long: LongAnswer
) -> None:
    """No model at hand writes 50,000 characters of Markdown in a few seconds: a stand-in writes this stream."""
    with visit(browser, long.url) as seen:
        page = seen.page
        page.evaluate(COUNT_NODES)
        seen.type("Write a book.")
        length = "document.querySelector('.message.assistant .body')?.textContent.length ?? 0"
        seen.until(f"({length}) > 10000")
        page.evaluate("document.querySelector('.prose > *').kept = true")
        first = page.evaluate("window.made")
        assert page.evaluate("document.querySelector('#latest').hidden"), "the end is in sight"
        page.mouse.move(600, 300)
        page.mouse.wheel(0, -2000)
        seen.until("!document.querySelector('#latest').hidden")
        place = page.evaluate("document.querySelector('#scroller').scrollTop")
        seen.until(f"({length}) > 20000")
        assert page.evaluate("document.querySelector('#scroller').scrollTop") == place, "who reads above stays there"
        page.click("#latest")
        answer = seen.answered()
        assert len(answer) > 40_000
        assert page.evaluate("document.querySelector('.prose > *').kept"), "what is finished is not drawn again"
        nodes = page.evaluate("document.querySelectorAll('#messages *').length")
        made = page.evaluate("window.made")
        assert made - first < 5 * nodes, f"{made} nodes were made for {nodes}"
        seen.until(f"({TO_THE_END}) < 60")
        kept = [each for each in seen.stored()[0]["messages"].values() if each["role"] == "assistant"]
        assert kept[0]["text"] == long.text
        live = page.evaluate("document.querySelector('.prose').innerHTML")
        begun = time.monotonic()
        seen.reload()
        assert time.monotonic() - begun < 20
        whole = page.evaluate("document.querySelector('.prose').innerHTML")
        bare = [text.replace('<div class="tail">', "").replace("</div>", "") for text in (live, whole)]
        assert bare[0] == bare[1], "drawn in pieces or at once, it is the same"


def test_markdown_is_drawn_as_it_is_meant_and_the_same_letter_by_letter(seen: Visit) -> None:
    drawn = seen.page.evaluate(DRAW, [text for text, _ in CASES])
    assert [whole for whole, _, _ in drawn] == [expected for _, expected in CASES]
    assert [grown for _, grown, _ in drawn] == [whole for whole, _, _ in drawn]
    chance = random.Random(20)
    texts = ["".join(chance.choices(PIECES, k=chance.randint(2, 14))) for _ in range(300)]
    for text, (whole, grown, _) in zip(texts, seen.page.evaluate(DRAW, texts), strict=True):
        assert grown == whole, repr(text)


def test_code_and_tables_keep_their_text_and_code_is_copied(seen: Visit) -> None:
    code = "def f(x):\n\n    return '<b>' * x  # **no**\n"
    text = f"```python\n{code}```\n\n| a | b\\|c | `d|e` |\n|:-|:-:|-:|\n| 1 | **2** |\n"
    (whole, _, said), = seen.page.evaluate(DRAW, [text])  # fmt: skip
    assert code.rstrip("\n") in said
    assert "<span>python</span>" in whole
    assert '<th class="left">a</th><th class="center">b|c</th><th class="right"><code>d|e</code></th>' in whole
    assert '<td class="left">1</td><td class="center"><strong>2</strong></td><td class="right"></td>' in whole
    seen.context.grant_permissions(["clipboard-read", "clipboard-write"])
    seen.page.select_option("#model", "endless")
    seen.settings(max_tokens=1)
    seen.say("x")
    seen.last("Edit the answer")
    seen.page.locator(".editor textarea").fill(text)
    seen.page.get_by_role("button", name="Save as a new version").click()
    seen.page.locator(".code").get_by_role("button", name="Copy").click()
    seen.page.wait_for_selector(".code >> text=Copied")
    assert seen.page.evaluate("navigator.clipboard.readText()") == code.rstrip("\n")
    seen.page.locator(".message.assistant footer").get_by_role("button", name="Copy").click()
    seen.page.wait_for_selector("footer >> text=Copied")
    assert seen.page.evaluate("navigator.clipboard.readText()") == text
