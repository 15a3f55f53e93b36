"""Chat templates of published models render as transformers renders them."""

from __future__ import annotations

import datetime
import hashlib
import json
from pathlib import Path

import pytest
from template_cases import CONVERSATIONS, SPECIAL_TOKENS

from llama_cpp_files import TEMPLATES, fetch_llama_cpp_files
from skywork_rt.errors import SkyworkError
from skywork_rt.text import chat_template
from skywork_rt.text.chat_template import ChatTemplates, render_chat

pytestmark = pytest.mark.slow

GOLDEN = json.loads(Path(__file__).with_name("golden").joinpath("chat_templates.json").read_text())["templates"]


@pytest.fixture(scope="module")
def folder() -> Path:
    return fetch_llama_cpp_files() / "templates"


@pytest.fixture(autouse=True)
def _always_the_same_day(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_template, "_now", lambda: datetime.datetime(2026, 1, 2, 3, 4, 5))


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_published_template_renders_as_transformers_renders_it(folder: Path, name: str) -> None:
    templates = ChatTemplates({"default": (folder / f"{name}.jinja").read_text(encoding="utf-8")}, SPECIAL_TOKENS)
    for what, conversation in CONVERSATIONS.items():
        try:
            text = render_chat(
                templates,
                conversation.messages,
                tools=conversation.tools,
                documents=conversation.documents,
                template_args=conversation.template_args,
                add_generation_prompt=conversation.add_generation_prompt,
            )
        except SkyworkError:
            assert GOLDEN[name][what] is None, what
        else:
            assert hashlib.sha256(text.encode()).hexdigest()[:24] == GOLDEN[name][what], (what, text)
