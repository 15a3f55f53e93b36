"""Where a Hugging Face directory keeps its chat templates."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from skywork_rt.checkpoints.huggingface.json_file import read_text
from skywork_rt.errors import CheckpointError

__all__ = ["read_chat_templates"]

_DEFAULT = "default"


def read_chat_templates(directory: Path, settings: Mapping[str, Any]) -> dict[str, str]:
    """Name to template; the usual one is "default".

    As transformers 4.57 finds them: chat_template.jinja and additional_chat_templates/NAME.jinja win over
    `chat_template` of tokenizer_config.json, which is one text, a list of names and texts, or an object of both.
    """
    return _from_settings(settings.get("chat_template")) | _from_files(directory)


def _from_files(directory: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    if (directory / "chat_template.jinja").exists():
        found[_DEFAULT] = read_text(directory / "chat_template.jinja")
    for file in sorted((directory / "additional_chat_templates").glob("*.jinja")):
        found[file.stem] = read_text(file)
    return found


def _from_settings(value: object) -> dict[str, str]:
    if value is None:
        return {}
    if isinstance(value, str):
        return {_DEFAULT: value}
    if isinstance(value, list):
        value = {item.get("name"): item.get("template") for item in value if isinstance(item, Mapping)}
    if isinstance(value, dict) and all(isinstance(text, str) for pair in value.items() for text in pair):
        return value
    raise CheckpointError(
        f"tokenizer_config.json has a chat_template that is a {type(value).__name__}; expected text, or names and texts"
    )
