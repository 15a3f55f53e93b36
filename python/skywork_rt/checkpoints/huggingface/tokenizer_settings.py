"""What the files beside a tokenizer say about it, resolved as transformers resolves them.

The rules are those of transformers 4.57 (PreTrainedTokenizerBase._from_pretrained, PreTrainedTokenizerFast and
LlamaTokenizerFast): special tokens are the class's own, over them tokenizer_config.json's, over those
special_tokens_map.json's unless added_tokens_decoder is there; added tokens are added_tokens_decoder's, or else
added_tokens.json's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from skywork_rt.bundle.added_token import AddedToken
from skywork_rt.checkpoints.huggingface.added_token import LARGEST_ID, added_token
from skywork_rt.checkpoints.huggingface.chat_templates import read_chat_templates
from skywork_rt.checkpoints.huggingface.json_file import read_json_object
from skywork_rt.errors import CheckpointError

__all__ = ["TokenizerSettings"]

_MORE_SPECIAL = "additional_special_tokens"

_SPECIAL = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token", _MORE_SPECIAL)
"""transformers' names of special tokens, in its order."""


@dataclass(frozen=True)
class _Class:
    """What a class of transformers brings.

    adds_bos: the default of add_bos_token, and then add_eos_token counts too; None: the class does not know the
    settings, and the post-processor of tokenizer.json decides. converted: transformers runs it through ``tokenizers``,
    which cuts text at the user-defined pieces of tokenizer.model too.
    """

    special: Mapping[str, str] = field(default_factory=dict)
    adds_bos: bool | None = None
    converted: bool = True


_LLAMA = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
_END_OF_TEXT = "<|endoftext|>"

_CLASSES = {
    "Llama": _Class(_LLAMA, True),
    "CodeLlama": _Class(_LLAMA, True),
    "Skywork": _Class(_LLAMA, True, converted=False),
    "Gemma": _Class({"unk_token": "<unk>", "bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>"}, True),
    "Cohere": _Class({"bos_token": "<BOS_TOKEN>", "eos_token": "<|END_OF_TURN_TOKEN|>"}, True),
    "Qwen2": _Class(dict.fromkeys(("unk_token", "eos_token", "pad_token"), _END_OF_TEXT)),
    "GPT2": _Class(dict.fromkeys(("unk_token", "bos_token", "eos_token"), _END_OF_TEXT)),
    "PreTrained": _Class(),
}
"""By the class's name without Tokenizer and Fast."""

_CLASS_OF_MODEL = {"llama": "Llama", "mistral": "Llama", "qwen2": "Qwen2", "skywork": "Skywork"}
"""model_type to the class that AutoTokenizer takes when no file names one."""

_OTHER_SENTENCEPIECE = _Class(_LLAMA, True, converted=False)
"""Classes that checkpoints bring as code have been copies of LlamaTokenizer, which asks sentencepiece itself."""


class TokenizerSettings:
    """The settings of one directory. Raises CheckpointError for values that cannot be."""

    def __init__(self, directory: Path) -> None:
        self._settings = _optional(directory / "tokenizer_config.json")
        self._class_name = _class_name(self._settings, _optional(directory / "config.json"))
        self.chat_templates = read_chat_templates(directory, self._settings)
        special = {name: self._settings[name] for name in _SPECIAL if name in self._settings}
        decoder = self._settings.get("added_tokens_decoder")
        if decoder is None:
            stated = _optional(directory / "special_tokens_map.json")
            special |= {name: stated[name] for name in _SPECIAL if name in stated}
        self._special = _special_tokens(special)
        if decoder is not None:
            self.added = _from_decoder(decoder)
        else:
            self.added = self._from_added_tokens_json(_optional(directory / "added_tokens.json"))

    def special_tokens(self, known: Callable[[str], bool], *, sentencepiece: bool) -> dict[str, list[AddedToken]]:
        """Name to the token, or to several for additional_special_tokens; the class's own where no file says so.

        `known`: whether the vocabulary has a text. A class's own token that it lacks is another model's.
        """
        own = {
            name: [AddedToken(text, special=True)]
            for name, text in self._class(sentencepiece).special.items()
            if name not in self._special and known(text)
        }
        stated = {name: tokens for name, tokens in self._special.items() if tokens}
        return {name: (own | stated)[name] for name in _SPECIAL if name in own | stated}

    def adds(self, name: str, *, sentencepiece: bool) -> bool | None:
        """add_bos_token or add_eos_token; None: the tokenizer itself decides."""
        default = self._class(sentencepiece).adds_bos
        if default is None:
            return None
        value = self._settings.get(name, default if name == "add_bos_token" else False)
        return self._checked_flag(name, value) or False

    def flag(self, name: str) -> bool | None:
        """A setting that is true, false or not there."""
        return self._checked_flag(name, self._settings.get(name))

    def converted(self) -> bool:
        """Whether transformers runs a tokenizer.model through the ``tokenizers`` library."""
        return self._class(sentencepiece=True).converted

    def _class(self, sentencepiece: bool) -> _Class:
        return _CLASSES.get(self._class_name) or (_OTHER_SENTENCEPIECE if sentencepiece else _CLASSES["PreTrained"])

    def _checked_flag(self, name: str, value: object) -> bool | None:
        if value is not None and not isinstance(value, bool):
            raise CheckpointError(f"tokenizer_config.json has {name} = {str(value)[:40]!r}; expected true or false")
        return value

    def _from_added_tokens_json(self, listed: Mapping[str, Any]) -> dict[int, AddedToken]:
        special = {token.content for tokens in self._special.values() for token in tokens}
        added: dict[int, AddedToken] = {}
        for text, index in listed.items():
            if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < LARGEST_ID:
                raise CheckpointError(f"added_tokens.json gives {text[:80]!r} the id {str(index)[:40]}")
            added[index] = AddedToken(text, special=text in special, normalized=text not in special)
        return added


def _class_name(settings: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    for place in (settings, config):
        name = place.get("tokenizer_class")
        if isinstance(name, str):
            return name.removesuffix("Fast").removesuffix("Tokenizer")
    return _CLASS_OF_MODEL.get(str(config.get("model_type")), "PreTrained")


def _special_tokens(stated: Mapping[str, Any]) -> dict[str, list[AddedToken]]:
    """None and empty texts mean that there is no such token, which a class's own does not replace."""
    tokens: dict[str, list[AddedToken]] = {}
    for name, value in stated.items():
        several = value if name == _MORE_SPECIAL and isinstance(value, list) else [value]
        tokens[name] = [_special_token(item, name) for item in several if item not in (None, "")]
    return tokens


def _special_token(value: Any, name: str) -> AddedToken:
    if isinstance(value, str):
        return AddedToken(value, special=True)
    if isinstance(value, Mapping):
        return added_token({**value, "special": True}, f"the tokenizer's {name}")
    raise CheckpointError(f"the tokenizer's {name} is {str(value)[:40]!r}; expected the token's text")


def _from_decoder(decoder: Any) -> dict[int, AddedToken]:
    added: dict[int, AddedToken] = {}
    if not isinstance(decoder, Mapping):
        raise CheckpointError("tokenizer_config.json has an added_tokens_decoder that is no object")
    for index, token in decoder.items():
        if not index.isdecimal() or int(index) >= LARGEST_ID:
            raise CheckpointError(f"tokenizer_config.json has an added token with the id {index[:40]!r}")
        added[int(index)] = added_token(token, f"tokenizer_config.json's added token {index}")
    return dict(sorted(added.items()))


def _optional(path: Path) -> dict[str, Any]:
    return read_json_object(path) if path.exists() else {}
