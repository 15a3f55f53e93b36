"""Makes tool_prompts.json beside it: what transformers renders of conversations with tools.

Run once, where transformers is installed: ``python make_tool_prompts.py FOLDER``, the folder
vendor/llama.cpp/models/templates of the source package llama_cpp_python 0.3.36. A template that refuses a conversation
has null there.
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
from tool_conversations import CONVERSATIONS, SPECIAL_TOKENS, TOOLS, for_transformers, templates_in


def render(template: str, messages: list[dict[str, Any]]) -> str | None:
    compiled = _compile_jinja_template(template)
    compiled.environment.globals["strftime_now"] = datetime.datetime(2026, 1, 2, 3, 4, 5).strftime
    try:
        rendered, _ = render_jinja_template(
            [for_transformers(messages)],
            tools=TOOLS,
            chat_template=template,
            add_generation_prompt=True,
            **SPECIAL_TOKENS,
        )
    except Exception as error:
        print("   ", type(error).__name__, str(error)[:100])
        return None
    return hashlib.sha256(rendered[0].encode()).hexdigest()[:24]


def main() -> None:
    golden: dict[str, dict[str, Any]] = {}
    for file, template in templates_in(Path(sys.argv[1])).items():
        print(file)
        golden[file] = {name: render(template, messages) for name, messages in CONVERSATIONS.items()}
    body = {"made_with": f"transformers {transformers.__version__}", "templates": golden}
    Path(__file__).with_name("tool_prompts.json").write_text(json.dumps(body, indent=1) + "\n", encoding="utf-8")


main()
