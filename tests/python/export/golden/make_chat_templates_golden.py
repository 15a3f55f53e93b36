"""Makes chat_templates.json beside it: what transformers renders with chat templates of published models.

Run once, where transformers is installed: ``python make_chat_templates_golden.py FOLDER``, the folder
vendor/llama.cpp/models/templates of the source package llama_cpp_python 0.3.36. Long texts are kept as their SHA-256.
A template that refuses a conversation, or fails on it, has null there.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import transformers
from transformers.utils.chat_template_utils import _compile_jinja_template, render_jinja_template

sys.path.insert(0, str(Path(__file__).parents[1]))
from template_cases import CONVERSATIONS, SPECIAL_TOKENS, Conversation


def render(template: str, conversation: Conversation) -> str | None:
    compiled = _compile_jinja_template(template)
    compiled.environment.globals["strftime_now"] = datetime.datetime(2026, 1, 2, 3, 4, 5).strftime
    try:
        rendered, _ = render_jinja_template(
            [conversation.messages],
            tools=conversation.tools,
            documents=conversation.documents,
            chat_template=template,
            add_generation_prompt=conversation.add_generation_prompt,
            **SPECIAL_TOKENS,
            **conversation.template_args,
        )
    except Exception as error:
        print("   ", type(error).__name__, str(error)[:100])
        return None
    return hashlib.sha256(rendered[0].encode()).hexdigest()[:24]


def main() -> None:
    golden: dict[str, dict[str, Any]] = {}
    for file in sorted(Path(sys.argv[1]).glob("*.jinja")):
        print(file.stem)
        template = file.read_text(encoding="utf-8")
        golden[file.stem] = {name: render(template, conversation) for name, conversation in CONVERSATIONS.items()}
    body = {"made_with": f"transformers {transformers.__version__}", "templates": golden}
    text = json.dumps(body, indent=1) + "\n"
    Path(__file__).with_name("chat_templates.json").write_text(text, encoding="utf-8")


main()
