"""The tokenizer files of a Hugging Face directory."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from skywork_rt.bundle.added_token import AddedToken, SpacePrefix
from skywork_rt.checkpoints.huggingface.json_file import read_text
from skywork_rt.checkpoints.huggingface.tokenizer_settings import TokenizerSettings
from skywork_rt.checkpoints.tokenizers.tokenizer_files import SpecialTokens, TokenizerFiles
from skywork_rt.checkpoints.wrong_file import refuse_stand_in
from skywork_rt.errors import CheckpointError, UnsupportedError

__all__ = ["read_tokenizer"]

_LARGEST_MODEL = 256 << 20


def read_tokenizer(directory: Path) -> TokenizerFiles | None:
    """tokenizer.json, which is complete, else tokenizer.model with its added tokens; None when there is neither.

    Special tokens and ids are what transformers' AutoTokenizer gives for the directory. Raises UnsupportedError when
    the directory has a tokenizer of another kind (vocab.json and merges.txt alone).
    """
    if (directory / "tokenizer.json").exists():
        return _from_json(directory, TokenizerSettings(directory))
    if (directory / "tokenizer.model").exists():
        return _from_sentencepiece(directory, TokenizerSettings(directory))
    if (directory / "vocab.json").exists():
        raise UnsupportedError(
            f"{directory.name} has vocab.json but neither tokenizer.json nor tokenizer.model; "
            "load its tokenizer with transformers' AutoTokenizer and save it again to make tokenizer.json"
        )
    return None


def _from_json(directory: Path, settings: TokenizerSettings) -> TokenizerFiles:
    from skywork_rt.checkpoints.tokenizers.tokenizer_json import load_tokenizer, tokenizer_json_files

    content = read_text(directory / "tokenizer.json")
    tokenizer = load_tokenizer(content, "tokenizer.json")
    special = settings.special_tokens(lambda text: tokenizer.token_to_id(text) is not None, sentencepiece=False)
    missing = _missing(tokenizer, settings, special)
    if missing:
        tokenizer.add_tokens([token.to_library() for token in missing])
        content = tokenizer.to_str()
    content = _with_special(content, {token.content for token in settings.added.values() if token.special})
    return _finish(tokenizer_json_files(content), settings, special, tokenizer.token_to_id)


def _with_special(content: str, special: set[str]) -> str:
    """Marks added tokens of tokenizer.json that the other files call special, as the library's add_tokens does."""
    body = json.loads(content)
    added = [token for token in body.get("added_tokens") or [] if token.get("content") in special]
    changed = [token for token in added if not token.get("special")]
    for token in changed:
        token["special"] = True
    return json.dumps(body, ensure_ascii=False) if changed else content


def _missing(tokenizer: Any, settings: TokenizerSettings, special: dict[str, list[AddedToken]]) -> list[AddedToken]:
    """What the other files list and tokenizer.json does not; the library gives them their ids."""
    texts = {token.content for tokens in special.values() for token in tokens}
    known = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
    listed = {token.content: token for token in settings.added.values()}
    listed |= {token.content: token for tokens in special.values() for token in tokens if token.content not in listed}
    return [
        dataclasses.replace(token, special=token.special or text in texts)
        for text, token in listed.items()
        if text not in known
    ]


def _from_sentencepiece(directory: Path, settings: TokenizerSettings) -> TokenizerFiles:
    from skywork_rt.checkpoints.tokenizers.sentencepiece_model import (
        parse_model,
        sentencepiece_files,
        user_defined_pieces,
    )

    path = directory / "tokenizer.model"
    refuse_stand_in(path)
    if path.stat().st_size > _LARGEST_MODEL:
        raise CheckpointError(f"tokenizer.model has {path.stat().st_size} bytes; more than {_LARGEST_MODEL} is none")
    content = path.read_bytes()
    proto = parse_model(content, "tokenizer.model")
    ids = {piece.piece: index for index, piece in enumerate(proto.pieces)}
    added = user_defined_pieces(proto) if settings.converted() else {}
    added |= {ids.get(token.content, index): token for index, token in settings.added.items()}
    special = settings.special_tokens(ids.__contains__, sentencepiece=True)
    _add_special(added, ids, special)
    if not settings.converted():  # sentencepiece itself has no normalised text that tokens could be looked for in
        added = {index: dataclasses.replace(token, normalized=False) for index, token in added.items()}
    files = sentencepiece_files(content, added=added, space_prefix=_space_prefix(settings))
    return _finish(files, settings, special, ids.get)


def _add_special(added: dict[int, AddedToken], ids: dict[str, int], special: dict[str, list[AddedToken]]) -> None:
    """Makes the special tokens whole ones, at the ids that they have or at new ones; `ids` learns of all."""
    ids |= {token.content: index for index, token in added.items()}
    for token in (token for tokens in special.values() for token in tokens):
        index = ids.setdefault(token.content, max(ids.values(), default=-1) + 1)
        added[index] = dataclasses.replace(added.get(index, token), special=True)


def _space_prefix(settings: TokenizerSettings) -> SpacePrefix:
    if settings.flag("add_prefix_space") is False:
        return "never"
    return "first" if settings.flag("legacy") is False else "always"


def _finish(
    files: TokenizerFiles,
    settings: TokenizerSettings,
    special: dict[str, list[AddedToken]],
    id_of: Callable[[str], int | None],
) -> TokenizerFiles:
    """The files with the ids of the special tokens, and what stands around a prompt."""

    def special_id(name: str) -> int | None:
        return id_of(special[name][0].content) if name in special else None

    sentencepiece = files.kind == "sentencepiece"
    bos, eos = special_id("bos_token"), special_id("eos_token")
    return dataclasses.replace(
        files,
        prefix_ids=_edge(settings.adds("add_bos_token", sentencepiece=sentencepiece), bos, files.prefix_ids),
        suffix_ids=_edge(settings.adds("add_eos_token", sentencepiece=sentencepiece), eos, files.suffix_ids),
        chat_templates=settings.chat_templates,
        special_tokens=_texts(special),
        bos_id=bos if bos is not None else files.bos_id,
        pad_id=special_id("pad_token") if "pad_token" in special else files.pad_id,
        eos_ids=(eos,) if eos is not None else files.eos_ids,
    )


def _edge(adds: bool | None, index: int | None, own: tuple[int, ...]) -> tuple[int, ...]:
    """Ids at one end of a prompt: as the settings say, where they count, else the tokenizer's own."""
    if adds is None or (adds and index is None):
        return own
    return (index,) if adds and index is not None else ()


def _texts(special: dict[str, list[AddedToken]]) -> SpecialTokens:
    return {
        name: [token.content for token in tokens] if name == "additional_special_tokens" else tokens[0].content
        for name, tokens in special.items()
    }
