"""Which tokens of a GGUF file end a sequence: those that it names, and those that llama.cpp knows by their text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from skywork_rt.checkpoints.tokenizers.sentencepiece_model import PieceType

__all__ = ["UNDEFINED", "ends_are_control", "ends_of_generation"]

UNDEFINED = 0
"""The type of a token in a file that states no types."""

# The texts are facts about published models, as llama.cpp (llama_vocab, special_eog_ids) collects them.
_ENDS = (
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<|calls|>",
    "<|flush|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "<|eom_id|>",
    "<|end_of_text|>",
    "<end_of_utterance>",
    "<｜end▁of▁sentence｜>",
    "<|tool_response>",
    "<turn|>",
    "[e~[",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<eos>",
    "</s>",
)
# Models that fill in the middle go on with another file after these: for a completion that is the end.
_FILL_IN_THE_MIDDLE = (
    ("<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]"),
    ("<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>"),
    ("<|file_sep|>",),
)
_FILL_KEYS = ("fim_pad_token_id", "fim_rep_token_id", "fim_sep_token_id")
# Texts that a vocabulary may also have learned as ordinary text, such as the end of struck-out HTML: these count only
# where the file does not call the token NORMAL.
_ALSO_TEXT = frozenset(("</s>", "<eos>", "[EOS]", "[EOT]", "[e~[", "<EOT>", "_<EOT>", "<PAD>", "[PAD]", "<REPO>"))


def ends_are_control(tokens: Sequence[str], types: Sequence[int]) -> list[int]:
    """The types, in which tokens that are ends by their text are control tokens, whatever the converter called them."""
    known = {*_ENDS, *(text for texts in _FILL_IN_THE_MIDDLE for text in texts)}
    return [
        PieceType.CONTROL if text in known and _may_end(text, kind) else kind
        for text, kind in zip(tokens, types, strict=True)
    ]


def ends_of_generation(tokens: Sequence[str], types: Sequence[int], named: Mapping[str, int | None]) -> tuple[int, ...]:
    """The ids, those that the file names first and in the order eos, eot, eom.

    `named`: the file's ids by their key without prefix. Two exceptions are llama.cpp's: where <|return|> and <|call|>
    (or <|calls|> and <|flush|>) are ends, <|end|> only closes a message; where <|tool_response> or <|plamo:eos|> is
    one, </s> is plain text.
    """
    stated = [named.get(key) for key in ("eos_token_id", "eot_token_id", "eom_token_id")]
    ids = {text: index for index, text in enumerate(tokens) if _may_end(text, types[index])}
    found = [*_known(_ENDS, ids), *_fill_in_the_middle(ids, named)]
    dropped = _not_ends({tokens[index] for index in [*stated, *found] if index is not None})
    ends = [index for index in stated if index is not None] + [i for i in found if tokens[i] not in dropped]
    return tuple(dict.fromkeys(ends))


def _may_end(text: str, kind: int) -> bool:
    return kind != PieceType.NORMAL or text not in _ALSO_TEXT


def _known(texts: Iterable[str], ids: Mapping[str, int]) -> list[int]:
    return [ids[text] for text in texts if text in ids]


def _fill_in_the_middle(ids: Mapping[str, int], named: Mapping[str, int | None]) -> list[int]:
    found: list[int] = []
    for key, texts in zip(_FILL_KEYS, _FILL_IN_THE_MIDDLE, strict=True):
        index = named.get(key)
        found += [index] if index is not None else _known(texts, ids)[:1]
    return found


def _not_ends(ends: set[str]) -> set[str]:
    dropped = set()
    if {"<|return|>", "<|call|>"} <= ends or ({"<|call|>", "<|calls|>"} & ends and "<|flush|>" in ends):
        dropped.add("<|end|>")
    if ends & {"<|tool_response>", "<|plamo:eos|>"}:
        dropped.add("</s>")
    return dropped
