"""What a reader does on the page, in Chromium, on a real server with SmolLM2: talk, branch, look, keep, move."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from browser import Visit, visit
from serving import Serving

pytestmark = pytest.mark.slow

SKY = "Why is the sky blue?"


def asked_directly(server: Serving, messages: list[dict[str, str]], **fields: Any) -> Any:
    body = {"model": "small", "messages": messages, "temperature": 0, "max_tokens": 24, **fields}
    return httpx.post(server.base + "/chat/completions", json=body, timeout=60).json()["choices"][0]


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def plain(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()


def test_an_answer_streams_is_the_servers_own_and_is_there_after_a_reload(seen: Visit, server: Serving) -> None:
    seen.page.evaluate("""() => {
      window.lengths = new Set();
      const look = () => { const body = document.querySelector('.message.running .body');
        if (body) window.lengths.add(body.textContent.length); requestAnimationFrame(look); };
      look(); }""")
    answer = seen.say(SKY)
    expected = asked_directly(server, [user(SKY)])["message"]["content"]
    assert plain(answer) == plain(expected)
    assert seen.page.evaluate("window.lengths.size") >= 4, "the text grew as it came"
    facts = seen.text(".facts")
    assert re.fullmatch(r"small · 24 tokens · [\d.]+ tokens/s · first after [\d.]+ s · ended by length", facts), facts
    assert re.fullmatch(r"\d+ of 8,192 tokens", seen.text("#usage"))
    seen.reload()
    assert (seen.texts(".message.user > .body"), seen.answer(), seen.text(".facts")) == ([SKY], answer, facts)
    assert seen.text("#title") == SKY
    assert seen.texts("#conversations .title") == [SKY]


def test_the_system_prompt_and_the_history_are_sent(seen: Visit, server: Serving) -> None:
    seen.settings()
    seen.page.fill("#system", "Answer in capitals.")
    first = seen.say("Name a colour.")
    seen.say("Another one.")
    sent = seen.bodies()[1]
    said = seen.stored()[0]["messages"].values()
    answer = next(each["text"] for each in said if each["role"] == "assistant")
    assert sent["messages"] == [
        {"role": "system", "content": "Answer in capitals."}, user("Name a colour."),
        {"role": "assistant", "content": answer}, user("Another one."),
    ]  # fmt: skip
    assert plain(first) == plain(answer)
    assert {name: sent[name] for name in ("model", "temperature", "max_tokens", "stream")} == {
        "model": "small", "temperature": 0, "max_tokens": 24, "stream": True,
    }  # fmt: skip


def test_regenerate_edit_and_branches_keep_every_version(seen: Visit) -> None:
    seen.settings(temperature=1.5, max_tokens=12)
    first = seen.say(SKY)
    seen.last("Regenerate")
    second = seen.answered()
    assert seen.text(".message.assistant .siblings span") == "2/2"
    assert second != first
    seen.say("And at night?")
    seen.page.locator(".message.user").first.hover()
    seen.page.locator(".message.user").first.get_by_role("button", name="Edit").click()
    seen.page.locator(".editor textarea").fill("Why is grass green?")
    seen.page.keyboard.press("Enter")
    third = seen.answered()
    assert seen.texts(".message.user > .body") == ["Why is grass green?"]
    assert seen.bodies()[-1]["messages"] == [user("Why is grass green?")]
    seen.page.get_by_role("button", name="Version before").first.click()
    assert seen.texts(".message.user > .body") == [SKY, "And at night?"]
    assert seen.texts(".message.assistant > .body")[0] == second
    seen.page.locator(".message.assistant").first.get_by_role("button", name="Version before").click()
    assert seen.texts(".message.assistant > .body") == [first], "what followed belongs to the other version"
    seen.reload()
    assert seen.texts(".message.assistant > .body") == [first], "the branch that was shown is shown again"
    seen.page.get_by_role("button", name="Next version").first.click()
    assert seen.answer() == third
    roots = [each for each in seen.stored()[0]["messages"].values() if each["parent"] == ""]
    assert [each["text"] for each in roots] == [SKY, "Why is grass green?"]


def test_an_edited_answer_is_gone_on_with(seen: Visit, server: Serving) -> None:
    seen.say(SKY)
    seen.last("Edit the answer")
    seen.page.locator(".editor textarea").fill("Because of the")
    seen.page.get_by_role("button", name="Save as a new version").click()
    assert seen.text(".message.assistant .siblings span") == "2/2"
    seen.last("Go on with this answer")
    answer = seen.answered()
    more = asked_directly(
        server, [user(SKY), {"role": "assistant", "content": "Because of the"}],
        continue_final_message=True, add_generation_prompt=False,
    )  # fmt: skip
    assert plain(answer) == plain("Because of the" + more["message"]["content"])


def test_escape_stops_keeps_what_came_and_frees_the_server(seen: Visit, server: Serving) -> None:
    seen.page.select_option("#model", "endless")
    seen.settings(max_tokens=7000, ignore_eos=True)
    seen.type("abc")
    seen.until("document.querySelector('.message.running .facts')?.textContent.includes('tokens/s')")
    seen.page.keyboard.press("Escape")
    answer = seen.answered()
    assert len(answer) > 10
    assert "stopped" in seen.text(".facts")
    server.wait_until_idle()
    assert seen.page.locator(".trouble").count() == 0
    kept = seen.stored()[0]["messages"].values()
    assert [(each["status"], len(each["text"]) > 10) for each in kept if each["role"] == "assistant"] == [
        ("stopped", True)
    ]


def test_a_reload_in_the_middle_keeps_what_came_and_frees_the_server(seen: Visit, server: Serving) -> None:
    seen.page.select_option("#model", "small")  # which takes a minute for so many tokens: it is in the middle
    seen.settings(max_tokens=7000, ignore_eos=True)
    seen.type("abc")
    deadline = time.monotonic() + 20
    while not any(len(each["text"]) > 10 for found in seen.stored() for each in found["messages"].values()):
        assert time.monotonic() < deadline, "it is kept while it comes"
        seen.page.wait_for_timeout(50)
    seen.reload()
    assert re.search("The page was closed|The stream was cut", seen.text(".trouble")), "and marked"
    assert len(seen.answer()) > 10
    server.wait_until_idle()


def test_a_model_that_is_not_open_says_so_and_opens_when_it_is_asked(
    browser: Any, seen: Visit, server: Serving
) -> None:
    cards = {each["id"]: each for each in httpx.get(server.base + "/models").json()["data"]}
    shown = seen.texts("#model option")
    assert shown == [name if card["loaded"] else f"{name} (opens when asked)" for name, card in cards.items()]
    seen.page.select_option("#model", "endless")
    seen.say("abc")
    assert seen.bodies()[-1]["model"] == "endless"
    seen.until("document.querySelector('#model').options[1].textContent === 'endless'")
    assert seen.text(".facts").startswith("endless · 24 tokens")
    seen.page.select_option("#model", "small")
    seen.say(SKY)
    assert seen.bodies()[-1]["model"] == "small"


def test_every_parameter_of_the_server_has_a_field_that_says_its_default(seen: Visit, server: Serving) -> None:
    rows = httpx.get(server.url + "/sampling_params").json()["data"]
    seen.settings()
    fields = seen.page.locator("#panel [id^=parameter-]:is(input, select, textarea)")
    named = {
        str(name).removeprefix("parameter-") for name in fields.evaluate_all("(all) => all.map((each) => each.id)")
    }
    assert named == {row["name"] for row in rows} - {"n", "logprobs", "prompt_logprobs"}
    assert seen.page.get_attribute("#parameter-top_p", "placeholder") == "1"
    assert "in (0, 1]" in seen.text("#parameter-top_p-about")
    values = {
        "seed": 7,
        "stop": "END\\n",
        "stop_token_ids": "5, 6",
        "logit_bias": '{"5": -1.5}',
        "ignore_eos": True,
        "top_k": 3,
    }
    seen.settings(**values)
    seen.say(SKY)
    sent = seen.bodies()[-1]
    assert {name: sent[name] for name in values} == {
        **values, "stop": ["END\n"], "stop_token_ids": [5, 6], "logit_bias": {"5": -1.5},
    }  # fmt: skip
    seen.page.click("#new")
    assert seen.page.input_value("#parameter-seed") == "7", "the next conversation begins with the same"
    seen.page.click("#reset")
    assert seen.page.input_value("#parameter-seed") == ""


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("temperature", "-0.1", "temperature is -0.1, but must be finite and at least 0."),
        ("top_p", "0", "top_p is 0, but must be in (0, 1]."),
        ("max_tokens", "1.5", "max_tokens must be a whole number: at least 1."),
        ("stop_token_ids", "five", "stop_token_ids must be token ids"),
        ("logit_bias", "{5: 1}", "logit_bias must be JSON"),
    ],
)
def test_a_wrong_value_is_told_before_anything_is_sent(seen: Visit, name: str, value: str, told: str) -> None:
    seen.settings(**{name: value})
    assert told in seen.text(f"#parameter-{name}-problem")
    seen.page.click("#settings")
    seen.type(SKY)
    assert seen.bodies() == []
    assert seen.page.input_value("#input") == SKY, "the message is still there"
    assert seen.page.evaluate("document.activeElement.id") == f"parameter-{name}", "the field is shown"
    assert seen.page.get_attribute(f"#parameter-{name}", "aria-invalid") == "true"


def test_probabilities_of_each_token_by_mouse_and_by_keys(seen: Visit, server: Serving) -> None:
    seen.settings(max_tokens=8)
    seen.page.click("#tokens-switch")
    seen.say(SKY)
    told = asked_directly(server, [user(SKY)], max_tokens=8, logprobs=True, top_logprobs=5)["logprobs"]["content"]
    tokens = seen.page.locator(".token")
    assert tokens.all_text_contents() == [each["token"] for each in told]
    tokens.nth(2).hover()
    assert seen.page.locator("#token-card").is_visible()
    rows = seen.page.locator("#token-card tr")
    assert rows.count() == 5
    visible = [each["token"].replace(" ", "␣").replace("\n", "↵") for each in told[2]["top_logprobs"]]
    assert [rows.nth(at).locator("td").first.inner_text() for at in range(5)] == visible
    shown = float(rows.first.locator("td").nth(1).inner_text().removesuffix(" %"))
    assert shown == pytest.approx(100 * 2.718281828 ** told[2]["top_logprobs"][0]["logprob"], abs=0.06)
    seen.page.locator(".tokens").focus()
    seen.page.mouse.move(5, 400)
    for _ in range(3):
        seen.page.keyboard.press("ArrowRight")
    assert seen.page.locator(".token.active").inner_text() == told[2]["token"]
    assert seen.page.locator("#token-card").is_visible()
    seen.until(f"document.querySelector('#announcements').textContent.includes({json.dumps(visible[1])})")
    seen.page.keyboard.press("Escape")
    assert not seen.page.locator("#token-card").is_visible()
    levels = tokens.evaluate_all("(all) => all.map((each) => Number(each.className.match(/level-(\\d)/)[1]))")
    likely = [2.718281828 ** each["logprob"] for each in told]
    assert [level == 0 for level in levels] == [odds >= 0.9 for odds in likely]
    seen.page.click("#tokens-switch")
    assert tokens.count() == 0
    assert seen.page.locator(".message.assistant p").count() >= 1


def test_tokens_that_are_a_part_of_a_character_are_told_by_their_bytes(seen: Visit, server: Serving) -> None:
    question = "Say hello in Chinese and with an emoji 😀."
    seen.page.click("#tokens-switch")
    seen.say(question)
    told = asked_directly(server, [user(question)], logprobs=True, top_logprobs=5)["logprobs"]["content"]
    parts = [at for at, each in enumerate(told) if "\ufffd" in each["token"]]
    assert parts, "this model writes characters of several tokens here"
    tokens = seen.page.locator(".token")
    assert tokens.count() == len(told)
    written = bytes(byte for each in told for byte in each["bytes"]).decode(errors="ignore")
    assert "".join(tokens.all_text_contents()) == written
    tokens.nth(parts[0]).hover()
    named = "".join(f"\\x{byte:02x}" for byte in told[parts[0]]["bytes"])
    assert seen.text("#token-card caption").startswith(named)
    assert seen.page.locator("#token-card .chosen").count() == 1


def test_a_question_whose_answer_was_stopped_at_once_is_asked_with_the_next_one(seen: Visit) -> None:
    seen.page.route("**/v1/chat/completions", lambda route: None)  # the first token never comes
    seen.type("One?")
    seen.page.keyboard.press("Escape")
    seen.answered()
    assert "stopped" in seen.text(".facts")
    seen.page.unroute("**/v1/chat/completions")
    seen.say("Two?")
    assert seen.bodies()[-1]["messages"] == [user("One?\n\nTwo?")], "templates refuse two questions in a row"


def test_conversations_are_searched_renamed_and_deleted(seen: Visit) -> None:
    seen.settings(max_tokens=2)
    seen.say("First one about whales")
    seen.page.click("#new")
    seen.say("Second one about trains")
    assert seen.texts("#conversations .title") == ["Second one about trains", "First one about whales"]
    seen.page.fill("#search", "WHALES")
    assert seen.texts("#conversations .title") == ["First one about whales"]
    seen.page.locator("#conversations li").hover()
    seen.page.get_by_role("button", name="Rename First one").click()
    seen.page.keyboard.type("Sea")
    seen.page.keyboard.press("Enter")
    assert seen.texts("#conversations .title") == ["Sea"], "the text of its messages is still found"
    seen.page.fill("#search", "")
    seen.page.locator("#conversations li", has_text="Second").hover()
    seen.page.get_by_role("button", name="Delete Second one").click()
    seen.page.get_by_role("button", name="Cancel").click()
    assert len(seen.stored()) == 2
    seen.page.locator("#conversations li", has_text="Second").hover()
    seen.page.get_by_role("button", name="Delete Second one").click()
    seen.page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    seen.page.wait_for_selector("#conversations li:nth-child(2)", state="detached")
    assert [each["title"] for each in seen.stored()] == ["Sea"]
    assert seen.page.locator(".message").count() == 0, "the deleted one is no longer shown"


def test_an_export_comes_back_as_it_was(browser: Any, server: Serving, seen: Visit, tmp_path: Path) -> None:
    seen.page.click("#tokens-switch")
    seen.settings(max_tokens=6, seed=3)
    seen.page.fill("#system", "Be short.")
    answer = seen.say("Hello *there*")
    seen.last("Regenerate")
    seen.answered()
    before = seen.stored()[0]

    def downloaded(button: str) -> Path:
        with seen.page.expect_download() as waiting:
            seen.page.click(button)
        path = tmp_path / waiting.value.suggested_filename
        waiting.value.save_as(path)
        return path

    seen.page.click("#files")
    seen.page.wait_for_selector("dialog >> text=/They take .* of the .* that it allows/")
    whole, readable = downloaded("#export-json"), downloaded("#export-markdown")
    assert whole.name == "Hello-there.json"
    assert readable.read_text().startswith(
        "# Hello *there*\n\n**System**\n\nBe short.\n\n**You**\n\nHello *there*\n\n**small**\n\n"
    )
    seen.page.click("#delete-all")
    seen.page.get_by_role("dialog", name="Delete all conversations?").get_by_role("button", name="Delete all").click()
    seen.page.wait_for_selector("#conversations li", state="detached")
    assert seen.stored() == []
    with visit(browser, server.url) as other:
        other.page.click("#files")
        other.page.set_input_files("#import-file", str(whole))
        other.page.wait_for_selector("dialog", state="detached")
        after = other.stored()[0]
        assert {**after, "id": before["id"]} == before, "all of it, with every version, parameter and probability"
        other.page.click("#tokens-switch")
        other.page.get_by_role("button", name="Version before").click()
        assert other.answer() == answer
        assert other.page.input_value("#parameter-seed") == "3"
        # What is no export is told, and changes nothing.
        broken = json.loads(whole.read_text())
        first = next(iter(broken["conversations"][0]["messages"].values()))
        first["parent"] = first["id"]
        for name, text, told in (
            ("picture.json", "PNG", "is not JSON"),
            ("list.json", "[]", "holds no conversations"),
            ("later.json", json.dumps({**broken, "version": 2}), "version 2"),
            ("circle.json", json.dumps(broken), "circle"),
            ("role.json", whole.read_text().replace('"user"', '"root"'), "role root"),
        ):
            (tmp_path / name).write_text(text)
            other.page.click("#files")
            other.page.set_input_files("#import-file", str(tmp_path / name))
            other.until(f"document.querySelector('dialog .problem').textContent.includes({json.dumps(told)})")
            other.page.keyboard.press("Escape")
        assert len(other.stored()) == 1
