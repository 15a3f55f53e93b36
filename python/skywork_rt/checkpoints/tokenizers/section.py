"""How model.json describes a tokenizer (docs/bundle-format.md)."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from skywork_rt.checkpoints.tokenizers.tokenizer_files import TokenizerFiles

__all__ = ["tokenizer_section"]


def tokenizer_section(tokenizer: TokenizerFiles, unusable: Mapping[str, str] = MappingProxyType({})) -> dict[str, Any]:
    """The section `tokenizer` of model.json. `unusable`: names of chat templates that cannot be used, and why."""
    templates = {name: text for name, text in tokenizer.chat_templates.items() if name not in unusable}
    section: dict[str, Any] = {
        "kind": tokenizer.kind,
        "file": tokenizer.file,
        "vocabulary": "vocab.bin",
        "add_bos": bool(tokenizer.prefix_ids),
        "prefix_ids": list(tokenizer.prefix_ids),
        "suffix_ids": list(tokenizer.suffix_ids),
        "special_tokens": dict(tokenizer.special_tokens),
        "chat_template": templates.pop("default", None),
        "chat_templates": templates,
    }
    if "default" in unusable:
        section["chat_template_error"] = unusable["default"]
    if tokenizer.kind == "sentencepiece":
        section["space_prefix"] = tokenizer.space_prefix
        section["added_tokens"] = [{"id": index} | token.to_json() for index, token in tokenizer.added.items()]
    return section
