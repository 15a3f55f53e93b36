"""Chat templates render as transformers renders them, and can do nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from skywork_rt import InvalidArgumentError, UnsupportedError
from skywork_rt.text.chat_template import ChatTemplates, render_chat

USER = [{"role": "user", "content": "Hi"}]
CHATML = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nBe brief.<|im_end|>\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def render(template: str, messages: Any, **options: Any) -> str:
    special_tokens = {"bos_token": "<s>", "eos_token": "</s>"}
    return render_chat(ChatTemplates({"default": template}, special_tokens), messages, **options)


def test_chatml_renders() -> None:
    assert render(CHATML, USER) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    )


def test_a_last_message_that_is_gone_on_with_ends_the_text() -> None:
    said = [*USER, {"role": "assistant", "content": " Well, "}]
    assert render(CHATML, said, continue_final_message=True).endswith("assistant\n Well, ")
    stripping = "{% for m in messages %}[{{ m['content'] | trim }}]{% endfor %}"
    assert render(stripping, said, continue_final_message=True) == "[Hi][Well,"
    with pytest.raises(InvalidArgumentError, match="exclude each other"):
        render(CHATML, said, continue_final_message=True, add_generation_prompt=True)
    for lost in ("{{ messages | length }}", "{% for m in messages %}{{ m['content'] | upper }}{% endfor %}"):
        with pytest.raises(InvalidArgumentError, match="cannot be continued"):
            render(lost, said, continue_final_message=True)


def test_generation_prompt_is_optional() -> None:
    assert not render(CHATML, USER, add_generation_prompt=False).endswith("assistant\n")


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{ bos_token }}|{{ eos_token }}", "<s>|</s>"),
        ("{{ tools is none }}", "True"),
        ("{{ strftime_now('%Y') | length }}", "4"),
        ("{{ messages | tojson }}", '[{"role": "user", "content": "Hi"}]'),
        ("{{ {'a': '<&>谢'} | tojson }}", '{"a": "<&>谢"}'),
        ("{% for m in [1, 2, 3] %}{% if m == 2 %}{% break %}{% endif %}{{ m }}{% endfor %}", "1"),
        ("a{% if true %}\n  {% if true %}\n    x\n  {% endif %}\n{% endif %}", "a    x\n"),
        ("{{ messages[0].get('name', 'none') }}", "none"),
        ("{{ documents is none }}", "True"),
        ("{{ pad_token is defined }}", "False"),
        ("{% generation %}{% set x = 1 %}a{% endgeneration %}{{ x is defined }}", "aFalse"),
        ("{{ messages | tojson(separators=(',', ':')) }}", '[{"role":"user","content":"Hi"}]'),
        ("{{ messages | tojson(sort_keys=True) }}", '[{"content": "Hi", "role": "user"}]'),
        ("{{ ['谢'] | tojson(ensure_ascii=True) }}", '["\\u8c22"]'),
        ("{{ {'a': [1]} | tojson(indent=2) }}", '{\n  "a": [\n    1\n  ]\n}'),
    ],
)
def test_templates_find_what_transformers_gives_them(template: str, text: str) -> None:
    assert render(template, USER) == text


@pytest.mark.parametrize(
    "attack",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages.append(1) }}",
        "{{ messages[0].update({'role': 'x'}) }}",
        "{{ strftime_now.__globals__.keys() }}",
        "{{ raise_exception.__globals__['__builtins__'] }}",
        "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
        "{% include '/etc/passwd' %}",
        "{% import 'os' as os %}",
        "{{ (''|attr('__class__')).__mro__ }}",
        "{{ range(999999999) | list }}",
    ],
)
def test_templates_cannot_leave_the_sandbox(attack: str) -> None:
    with pytest.raises(InvalidArgumentError, match="chat template"):
        render(attack, USER)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ raise_exception('roles must alternate') }}", "roles must alternate"),
        ("{{ messages[5].content.x }}", "chat template"),
        ("{{ 1 / 0 }}", "chat template"),
        ("{{ undefined_function() }}", "undefined_function"),
    ],
)
def test_what_a_template_refuses_is_told(template: str, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        render(template, USER)


def test_a_template_of_no_syntax_cannot_be_used() -> None:
    with pytest.raises(UnsupportedError, match="the chat template cannot be used: "):
        render("{% if %}", USER)


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ([], "messages is empty"),
        ("hello", "messages is a str"),
        ({"role": "user", "content": "x"}, "messages is a dict"),
        (["hello"], "message 0 is a str"),
        ([{"role": "user"}], "message 0 has content None"),
        ([{"content": "x"}], "message 0 has role None"),
        ([*USER, {"role": "user", "content": 5}], "message 1 has content 5"),
        ([{"role": "user", "content": {"a": 1}}], "message 0 has content {'a': 1}, a dict"),
        ([{"role": "user", "content": [3]}], "part 0 of message 0 is a int"),
        ([{"role": "user", "content": [{"type": "image_url"}]}], "part 0 of message 0 is of type 'image_url'; these"),
        ([{"role": "user", "content": [{"type": "text"}]}], "part 0 of message 0 has text None"),
        ([{"role": "assistant", "tool_calls": 3}], "message 0 has tool_calls 3"),
        (
            [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{"}}]}],
            "tool call 0 of message 0 has arguments that are no JSON",
        ),
    ],
)
def test_malformed_messages_are_refused(messages: Any, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        render(CHATML, messages)


PRINTED = "{% for m in messages %}{{ m['content'] }}|{% endfor %}"
LOOPED = """{% for m in messages %}{% if m.content is string %}{{ m.content }}{% else %}
{%- for part in m.content %}<{{ part.text }}>{% endfor %}{% endif %}|{% endfor %}"""
PARTS = [{"type": "text", "text": "a"}, "b"]


@pytest.mark.parametrize(("template", "text"), [(PRINTED, "a\nb|"), (LOOPED, "<a><b>|")])
def test_parts_are_joined_where_a_template_does_not_go_through_them(template: str, text: str) -> None:
    assert render(template, [{"role": "user", "content": PARTS}]) == text


@pytest.mark.parametrize(
    ("template", "text"),
    [
        (PRINTED, "Hi||"),
        ("{% for m in messages %}{{ m.content + '.' }}{% endfor %}", "Hi.."),
        ("{% for m in messages %}{{ m.content is none }}|{% endfor %}", "False|True|"),
        ("{% set c = messages[1].content %}{{ c is not none }}", "False"),
    ],
)
def test_no_content_is_an_empty_text_where_a_template_does_not_ask(template: str, text: str) -> None:
    call = {"type": "function", "function": {"name": "f", "arguments": "{}"}}
    for assistant in ({"content": None, "tool_calls": [call]}, {"tool_calls": [call]}, {"content": None}):
        assert render(template, [*USER, {"role": "assistant", **assistant}]) == text


def test_arguments_of_a_call_are_an_object_though_clients_write_text() -> None:
    template = "{% for c in messages[1].tool_calls %}{{ c.function.arguments | tojson }}{{ c.arguments }};{% endfor %}"
    calls = [
        {"function": {"name": "f", "arguments": '{"a": "谢"}'}},
        {"function": {"name": "f", "arguments": {"b": 1}}},
        {"function": {"name": "f", "arguments": ""}},
        {"name": "f", "arguments": "[2]", "function": {"arguments": {}}},
    ]
    messages = [*USER, {"role": "assistant", "content": "", "tool_calls": calls}]
    assert render(template, messages) == '{"a": "谢"};{"b": 1};{};{}[2];'
    assert calls[0]["function"]["arguments"] == '{"a": "谢"}', "what the caller gave is left alone"


def test_template_args_reach_the_template_and_cannot_take_the_place_of_messages() -> None:
    assert render("{{ enable_thinking }}{{ bos_token }}", USER, template_args={"enable_thinking": False}) == "False<s>"
    assert render("{{ bos_token }}", USER, template_args={"bos_token": "!"}) == "!"
    for name in ("messages", "tools", "documents", "add_generation_prompt"):
        with pytest.raises(InvalidArgumentError, match=f"template_args has '{name}', which is an argument of chat"):
            render(PRINTED, USER, template_args={name: []})
    with pytest.raises(InvalidArgumentError, match="template_args is 3"):
        render(PRINTED, USER, template_args=3)


def test_tools_choose_the_template_for_tools() -> None:
    templates = ChatTemplates({"default": "plain", "tool_use": "{{ tools | length }} tools"})
    assert render_chat(templates, USER) == "plain"
    assert render_chat(templates, USER, tools=[]) == "plain"
    assert render_chat(templates, USER, tools=[{"type": "function"}]) == "1 tools"
    with pytest.raises(InvalidArgumentError, match=r"tools is .*give a list of dicts"):
        render_chat(templates, USER, tools=[print])  # type: ignore[list-item]


def test_documents_reach_the_template() -> None:
    assert render("{{ documents[0].text }}", USER, documents=[{"text": "sun"}]) == "sun"


def test_a_bundle_without_template_says_so() -> None:
    with pytest.raises(UnsupportedError, match="no chat template"):
        render_chat(ChatTemplates(), USER)
    with pytest.raises(UnsupportedError, match="no chat template but those named rag"):
        render_chat(ChatTemplates({"rag": "x"}), USER)
