"""Conversations with tools become the prompts that transformers makes of them, or are refused; nothing is left out."""

from __future__ import annotations

import datetime
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tool_conversations import CONVERSATIONS, SPECIAL_TOKENS, TOOLS, call, templates_in

from llama_cpp_files import TEMPLATES, fetch_llama_cpp_files
from skywork_rt import Generator
from skywork_rt.errors import SkyworkError
from skywork_rt.server.errors import ApiError
from skywork_rt.server.tools.turns import Turns, turns_of
from skywork_rt.server.tools.use import tool_use
from skywork_rt.text import chat_template
from skywork_rt.text.chat_template import ChatTemplates, render_chat
from skywork_rt.tool_calls.table import format_of

pytestmark = pytest.mark.slow

GOLDEN = json.loads(Path(__file__).with_name("golden").joinpath("tool_prompts.json").read_text())["templates"]
USER = {"role": "user", "content": "What is the weather?"}


@pytest.fixture(scope="module")
def folder() -> Path:
    return fetch_llama_cpp_files() / "templates"


@pytest.fixture(scope="module")
def tiny(tiny_bundle: Path) -> Iterator[Generator]:
    with Generator(tiny_bundle, backend="native", threads=1) as opened:
        yield opened


@pytest.fixture(autouse=True)
def _always_the_same_day(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_template, "_now", lambda: datetime.datetime(2026, 1, 2, 3, 4, 5))


def turns_with(tiny: Generator, template: str, messages: list[dict[str, Any]], **options: Any) -> tuple[Turns, Any]:
    """What a model with this template would be given, and that template."""
    templates = ChatTemplates({"default": template}, SPECIAL_TOKENS)
    model: Any = SimpleNamespace(chat_templates=templates, tokenizer=tiny.tokenizer)
    use = tool_use(options.get("tools", TOOLS), options.get("choice"), None)
    return turns_of(model, messages, "messages", use, options.get("parser"), lenient=False), templates


def prompt_of(tiny: Generator, template: str, messages: list[dict[str, Any]], **options: Any) -> str:
    turns, templates = turns_with(tiny, template, messages, **options)
    return render_chat(templates, turns.messages, tools=turns.tools)


@pytest.mark.parametrize("name", GOLDEN)
def test_a_conversation_with_tools_renders_as_transformers_renders_it(tiny: Generator, folder: Path, name: str) -> None:
    for what, messages in CONVERSATIONS.items():
        try:
            text = prompt_of(tiny, templates_in(folder)[name], messages)
        except SkyworkError:
            assert GOLDEN[name][what] is None, what
        else:
            assert hashlib.sha256(text.encode()).hexdigest()[:24] == GOLDEN[name][what], (what, text)


FORMATS = {
    "hermes": {
        "Bielik-11B-v3.0-Instruct", "MiMo-VL", "NousResearch-Hermes-2-Pro-Llama-3-8B-tool_use",
        "NousResearch-Hermes-3-Llama-3.1-8B-tool_use", "Qwen-QwQ-32B", "Qwen-Qwen2.5-7B-Instruct", "Qwen-Qwen3-0.6B",
        "Reka-Edge", "ibm-granite-granite-4.0", "ibm-granite-granite-4.1",
    },
    "llama3": {
        "meta-llama-Llama-3.1-8B-Instruct", "meta-llama-Llama-3.2-3B-Instruct", "meta-llama-Llama-3.3-70B-Instruct",
    },
    "mistral": {"mistralai-Mistral-Nemo-Instruct-2407"},
    "mistral_args": {
        "Mistral-Small-3.2-24B-Instruct-2506", "mistralai-Ministral-3-14B-Reasoning-2512",
        "unsloth-mistral-Devstral-Small-2507",
    },
}  # fmt: skip


def test_formats_are_recognised_by_published_templates_and_others_are_not_taken_for_them(folder: Path) -> None:
    found: dict[str, set[str]] = {}
    for name in TEMPLATES:
        format = format_of((folder / f"{name}.jinja").read_text(encoding="utf-8"))
        if format is not None:
            found.setdefault(format.name, set()).add(name)
    assert found == FORMATS


def test_ids_of_another_kind_become_those_that_mistrals_templates_take(tiny: Generator, folder: Path) -> None:
    mistral = templates_in(folder)["mistralai-Mistral-7B-Instruct-v0.3"]
    ids = ("call_0123456789", "x")
    calls = [call(id, "get_time", "{}") for id in ids]
    results = [{"role": "tool", "tool_call_id": id, "content": id} for id in ids]
    text = prompt_of(tiny, mistral, [USER, {"role": "assistant", "content": None, "tool_calls": calls}, *results])
    rest = text.split("[TOOL_CALLS]")[1]
    written = [part.split('"')[0] for part in rest.split('"id": "')[1:]]
    assert [len(id) for id in written] == [9, 9] and written[0] != written[1]
    assert [part.split('"')[0] for part in rest.split('"call_id": "')[1:]] == written


def test_results_come_in_the_order_of_their_calls_where_no_id_is_written(tiny: Generator, folder: Path) -> None:
    messages = list(CONVERSATIONS["two calls"])
    messages[-2:] = reversed(messages[-2:])
    qwen = templates_in(folder)["Qwen-Qwen2.5-7B-Instruct"]
    assert prompt_of(tiny, qwen, messages) == prompt_of(tiny, qwen, CONVERSATIONS["two calls"])


def test_content_beside_calls_is_written_or_refused(tiny: Generator, folder: Path) -> None:
    """Some templates leave it out, without a word."""
    messages = [dict(message) for message in CONVERSATIONS["call"]]
    messages[1]["content"] = "Let me see."
    assert "Let me see." in prompt_of(tiny, templates_in(folder)["Qwen-Qwen2.5-7B-Instruct"], messages)
    turns, templates = turns_with(tiny, templates_in(folder)["meta-llama-Llama-3.1-8B-Instruct"], messages)
    model: Any = SimpleNamespace(
        chat_prompt=lambda *_, **__: None, render_chat=lambda said, **rest: render_chat(templates, said, **rest)
    )
    with pytest.raises(ApiError, match="does not write it beside tool_calls") as caught:
        turns.prompt(model, {})
    assert caught.value.param == "messages[1].content"


PLAIN = (
    "{% for m in messages %}"
    "{% if m['role'] not in ['system', 'user', 'assistant'] %}{{ raise_exception('?') }}{% endif %}"
    "<{{ m['role'] }}>{{ m['content'] }}\n{% endfor %}"
)


def test_a_template_without_tools_is_refused_unless_a_format_is_given_that_has_words_for_them(tiny: Generator) -> None:
    with pytest.raises(ApiError, match="does not write tools; leave them out, or start the server with") as caught:
        prompt_of(tiny, PLAIN, [USER])
    assert (caught.value.status, caught.value.param) == (400, "tools")
    with pytest.raises(ApiError, match="choose another --tool-parser"):
        prompt_of(tiny, PLAIN, [USER], parser="llama3")
    with pytest.raises(ApiError, match="how the model writes tool calls is not known"):
        prompt_of(tiny, PLAIN + "{{ tools }}", [USER])
    text = prompt_of(tiny, PLAIN, CONVERSATIONS["two calls"], parser="hermes")
    assert text.startswith("<system># Tools\n") and json.dumps(TOOLS[0], ensure_ascii=False) in text
    assert text.endswith(
        '<assistant><tool_call>\n{"name": "get_weather", "arguments": {"place": "西安", "days": 2, "more": {"a": [1.5, '
        'null]}}}\n</tool_call>\n<tool_call>\n{"name": "get_time", "arguments": {}}\n</tool_call>\n'
        '<user><tool_response>\n{"degrees": 22}\n</tool_response>\n<tool_response>\n12:00\n</tool_response>\n'
    )


def test_smollm2s_own_template_gets_the_words_that_its_models_know(tiny: Generator, smollm2_bundle: Path) -> None:
    manifest = json.loads((smollm2_bundle / "model.json").read_text())
    template = manifest["tokenizer"]["chat_template"]
    text = prompt_of(tiny, template, [{"role": "system", "content": "Be brief."}, *CONVERSATIONS["call"]])
    assert text.startswith("<|im_start|>system\nBe brief.\n\nYou are an expert in composing functions. ")
    assert f"<tools>{json.dumps(TOOLS)}</tools>" in text
    assert '<|im_start|>assistant\n<tool_call>[{"name": "get_weather", "arguments": {"place": "西安", ' in text
    assert '<|im_start|>user\n<tool_response>\n{"degrees": 22}\n</tool_response><|im_end|>\n' in text
    without = prompt_of(tiny, template, CONVERSATIONS["call"], choice="none")
    assert "composing" not in without and "<tool_response>" in without
    assert prompt_of(tiny, template, [USER], tools=None).count("<|im_start|>") == 3


WRONG: list[tuple[list[dict[str, Any]], str, str]] = [
    ([{"role": "user", "content": "x", "tool_calls": [call("a", "f", "{}")]}], "[0].tool_calls", "of the assistant"),
    ([{"role": "assistant", "tool_calls": {"a": 1}}], "[0].tool_calls", "must be a list"),
    ([{"role": "assistant", "tool_calls": [3]}], "[0].tool_calls[0]", "must be an object"),
    ([{"role": "assistant", "tool_calls": [{"type": "custom"}]}], "[0].tool_calls[0]", "type function"),
    ([{"role": "assistant", "tool_calls": [{"id": 3}]}], "[0].tool_calls[0].id", "must be a text"),
    ([{"role": "assistant", "tool_calls": [{"id": "a"}]}], "[0].tool_calls[0].function", "must be an object"),
    ([{"role": "assistant", "tool_calls": [call("a", "", "{}")]}], "[0].tool_calls[0].function.name", "is ''"),
    ([{"role": "assistant", "tool_calls": [call("a", "f", "{")]}], "[0].tool_calls[0].function.arguments", "no JSON"),
    ([{"role": "assistant", "tool_calls": [call("a", "f", "1")]}], "[0].tool_calls[0].function.arguments", "object"),
    (
        [{"role": "assistant", "tool_calls": [call("a", "f", '{"a":' * 65 + "1" + "}" * 65)]}],
        "[0].tool_calls[0].function.arguments",
        "deeper than 64 levels",
    ),
    (  # beyond every limit that a library of this process may have set for the interpreter
        [{"role": "assistant", "tool_calls": [call("a", "f", '{"a":' * 100_000 + "1" + "}" * 100_000)]}],
        "[0].tool_calls[0].function.arguments",
        "than 64 levels$",
    ),
    (
        [{"role": "assistant", "tool_calls": [call("a", "f", '{"a": ' + "1" * 9000 + "}")]}],
        "[0].tool_calls[0].function.arguments",
        "has 9000 digits$",
    ),
    (
        [{"role": "assistant", "tool_calls": [call("a", "f", "{}"), call("a", "f", "{}")]}],
        "[0].tool_calls[1].id",
        "another",
    ),
    ([{"role": "tool", "tool_call_id": 3, "content": "x"}], "[0].tool_call_id", "must be a text"),
    ([USER, {"role": "tool", "tool_call_id": "a", "content": "x"}], "[1].tool_call_id", "no message before it"),
]


@pytest.mark.parametrize(("messages", "param", "reason"), WRONG, ids=[reason for _, _, reason in WRONG])
def test_malformed_messages_of_tools_are_refused_by_name(
    tiny: Generator, messages: list[dict[str, Any]], param: str, reason: str
) -> None:
    with pytest.raises(ApiError, match=reason) as caught:
        prompt_of(tiny, PLAIN, messages, parser="hermes")
    assert (caught.value.status, caught.value.param) == (400, "messages" + param)
