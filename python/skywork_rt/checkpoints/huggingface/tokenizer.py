"""The tokenizer files of a Hugging Face directory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from skywork_rt.checkpoints.huggingface.json_file import read_json_object, read_text
from skywork_rt.checkpoints.tokenizers.tokenizer_files import TokenizerFiles
from skywork_rt.errors import CheckpointError, UnsupportedError

__all__ = ["read_tokenizer"]

_LARGEST_MODEL = 256 << 20


def read_tokenizer(directory: Path) -> TokenizerFiles | None:
    """tokenizer.json, which is complete, else tokenizer.model with its added tokens; None when there is neither.

    Raises UnsupportedError when the directory has a tokenizer of another kind (vocab.json and merges.txt alone).
    """
    settings = _optional(directory / "tokenizer_config.json")
    template = _chat_template(directory, settings)
    if (directory / "tokenizer.json").exists():
        return _from_json(directory, settings, template)
    if (directory / "tokenizer.model").exists():
        return _from_sentencepiece(directory, settings, template)
    if (directory / "vocab.json").exists():
        raise UnsupportedError(
            f"{directory.name} has vocab.json but neither tokenizer.json nor tokenizer.model; "
            "load its tokenizer with transformers' AutoTokenizer and save it again to make tokenizer.json"
        )
    return None


def _from_json(directory: Path, settings: Mapping[str, Any], template: str | None) -> TokenizerFiles:
    from skywork_rt.checkpoints.tokenizers.tokenizer_json import load_tokenizer, tokenizer_json_files

    content = read_text(directory / "tokenizer.json")
    tokenizer = load_tokenizer(content, "tokenizer.json")
    add_bos = settings.get("add_bos_token")
    bos_text, eos_text = _token_text(settings, "bos_token"), _token_text(settings, "eos_token")
    bos_id = tokenizer.token_to_id(bos_text) if bos_text is not None else None
    eos_id = tokenizer.token_to_id(eos_text) if eos_text is not None else None
    return tokenizer_json_files(
        content,
        add_bos=add_bos if isinstance(add_bos, bool) else None,
        bos_id=bos_id,
        chat_template=template,
        eos_ids=() if eos_id is None else (eos_id,),
    )


def _from_sentencepiece(directory: Path, settings: Mapping[str, Any], template: str | None) -> TokenizerFiles:
    from skywork_rt.checkpoints.tokenizers.sentencepiece_model import sentencepiece_files, with_added_tokens

    path = directory / "tokenizer.model"
    if path.stat().st_size > _LARGEST_MODEL:
        raise CheckpointError(f"tokenizer.model has {path.stat().st_size} bytes; more than {_LARGEST_MODEL} is none")
    content = path.read_bytes()
    added = _added_tokens(directory, settings)
    if added:
        content = with_added_tokens(content, added, "tokenizer.model")
    add_bos = settings.get("add_bos_token")
    ids = {text: index for index, (text, _) in added.items()}
    eos_text = _token_text(settings, "eos_token")
    return sentencepiece_files(
        content,
        add_bos=add_bos if isinstance(add_bos, bool) else True,
        chat_template=template,
        eos_ids=(ids[eos_text],) if eos_text in ids else (),
    )


def _added_tokens(directory: Path, settings: Mapping[str, Any]) -> dict[int, tuple[str, bool]]:
    """Id to (text, special), from tokenizer_config.json (newer) and added_tokens.json (older)."""
    added: dict[int, tuple[str, bool]] = {}
    for text, index in _optional(directory / "added_tokens.json").items():
        if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < 2**24:
            raise CheckpointError(f"added_tokens.json gives {text[:80]!r} the id {str(index)[:40]}")
        added[index] = (text, True)
    decoder = settings.get("added_tokens_decoder")
    for index_text, token in decoder.items() if isinstance(decoder, dict) else ():
        if not index_text.isdecimal() or int(index_text) >= 2**24 or not isinstance(token, dict):
            raise CheckpointError(f"tokenizer_config.json has an added token with the id {index_text[:40]!r}")
        if not isinstance(token.get("content"), str):
            raise CheckpointError(f"tokenizer_config.json has an added token {index_text} without content")
        added[int(index_text)] = (token["content"], bool(token.get("special", False)))
    return added


def _chat_template(directory: Path, settings: Mapping[str, Any]) -> str | None:
    """chat_template.jinja wins; in tokenizer_config.json one text, or a list of which `default` is taken."""
    file = directory / "chat_template.jinja"
    if file.exists():
        return read_text(file)
    value = settings.get("chat_template")
    if isinstance(value, list):
        named = {item.get("name"): item.get("template") for item in value if isinstance(item, dict)}
        value = named.get("default")
    if value is not None and not isinstance(value, str):
        raise CheckpointError(
            f"tokenizer_config.json has a chat_template that is a {type(value).__name__}; expected text"
        )
    return value


def _token_text(settings: Mapping[str, Any], key: str) -> str | None:
    """A special token is its text, or an object that describes it."""
    value = settings.get(key)
    if isinstance(value, dict):
        value = value.get("content")
    return value if isinstance(value, str) else None


def _optional(path: Path) -> dict[str, Any]:
    return read_json_object(path) if path.exists() else {}
