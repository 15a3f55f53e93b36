"""Tiny models whose templates and special tokens are those of formats of tool calls."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bundles import bundle_of
from skywork_rt.checkpoints.synthetic.huggingface_directory import write_random_hf
from skywork_rt.checkpoints.synthetic.huggingface_files import write_tokenizer
from skywork_rt.checkpoints.synthetic.presets import preset, with_changes

MARKER, TAG = "[TOOL_CALLS]", "<|python_tag|>"

MISTRAL = """\
{{- bos_token }}
{%- for message in messages %}
    {%- if message.role == 'user' %}
        {%- if tools %}{{- '[AVAILABLE_TOOLS] ' + tools | tojson + '[/AVAILABLE_TOOLS]' }}{%- endif %}
        {{- '[INST] ' + message.content + '[/INST]' }}
    {%- elif message.tool_calls is defined %}
        {{- '[TOOL_CALLS] [' }}
        {%- for call in message.tool_calls %}
            {%- if call.id | length != 9 %}{{- raise_exception('ids have 9 letters') }}{%- endif %}
            {{- (call.function | tojson)[:-1] + ', "id": "' + call.id + '"}' }}
            {{- ', ' if not loop.last else ']' + eos_token }}
        {%- endfor %}
    {%- elif message.role == 'tool' %}
        {{- '[TOOL_RESULTS] {"content": ' + message.content + ', "call_id": "' + message.tool_call_id + '"}' }}
    {%- else %}
        {{- ' ' + message.content + eos_token }}
    {%- endif %}
{%- endfor %}"""

LLAMA3 = """\
{{- bos_token }}
{%- for message in messages %}
    {%- if message.role == 'tool' %}
        {{- '<|start_header_id|>ipython<|end_header_id|>' + message.content | tojson + '<|eot_id|>' }}
    {%- elif 'tool_calls' in message %}
        {%- if message.tool_calls | length != 1 %}
            {{- raise_exception('This model only supports single tool-calls at once!') }}
        {%- endif %}
        {%- set call = message.tool_calls[0].function %}
        {{- '<|start_header_id|>assistant<|end_header_id|>{"name": "' + call.name + '", ' }}
        {{- '"parameters": ' }}
        {{- call.arguments | tojson + '}<|eot_id|>' }}
    {%- else %}
        {{- '<|start_header_id|>' + message.role + '<|end_header_id|>' + message.content }}
        {%- if tools and loop.first %}{{- tools | tojson }}{%- endif %}
        {{- '<|eot_id|>' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>' }}{%- endif %}"""


def tool_source(directory: Path, template: str, tokens: Sequence[str]) -> Path:
    """The tiny model with room for tools, a template, and special tokens after all others."""
    config = with_changes(preset("tiny"), max_length=4096)
    write_random_hf(directory, config, 1234, tokenizer="byte-level")
    write_tokenizer(directory, "byte-level", with_changes(config, vocab_size=config.vocab_size - len(tokens)))
    file = directory / "tokenizer.json"
    tokenizer: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    first = len(tokenizer["model"]["vocab"])
    for index, token in enumerate(tokens):
        flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
        tokenizer["added_tokens"].append({"id": first + index, "content": token, **flags})
    file.write_text(json.dumps(tokenizer), encoding="utf-8")
    (directory / "chat_template.jinja").write_text(template, encoding="utf-8")
    return directory


def mistral_bundle() -> Path:
    return bundle_of("tiny-mistral", tool_source, ("f32",), targets=("native",), template=MISTRAL, tokens=(MARKER,))


def llama3_bundle() -> Path:
    return bundle_of("tiny-llama3", tool_source, ("f32",), targets=("native",), template=LLAMA3, tokens=(TAG,))
