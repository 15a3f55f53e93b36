"""Chat templates render as transformers renders them, and can do nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from skywork_rt import InvalidArgumentError, UnsupportedError
from skywork_rt.text.chat_template import render_chat

USER = [{"role": "user", "content": "Hi"}]
CHATML = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nBe brief.<|im_end|>\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def test_chatml_renders() -> None:
    assert render_chat(CHATML, USER) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    )


def test_generation_prompt_is_optional() -> None:
    assert not render_chat(CHATML, USER, add_generation_prompt=False).endswith("assistant\n")


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
    ],
)
def test_templates_find_what_transformers_gives_them(template: str, text: str) -> None:
    assert render_chat(template, USER, bos_token="<s>", eos_token="</s>") == text


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
        render_chat(attack, USER)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ raise_exception('roles must alternate') }}", "roles must alternate"),
        ("{% if %}", "chat template"),
        ("{{ messages[5].content.x }}", "chat template"),
        ("{{ 1 / 0 }}", "chat template"),
        ("{{ undefined_function() }}", "undefined_function"),
    ],
)
def test_what_a_template_refuses_is_told(template: str, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        render_chat(template, USER)


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
    ],
)
def test_malformed_messages_are_refused(messages: Any, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        render_chat(CHATML, messages)


def test_a_bundle_without_template_says_so() -> None:
    with pytest.raises(UnsupportedError, match="no chat template"):
        render_chat(None, USER)
