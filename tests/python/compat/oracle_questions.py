"""What MindFormers and the front are both asked."""

from __future__ import annotations

from typing import Any

from recipe_model import RecipeModel

PROMPT = "陕西的省会是西安，甘肃的省会是兰州，河南的省会是郑州"
MAX_LENGTH = 48

_TEXTS = [
    PROMPT,
    "",
    " ",
    "  两个  空格  ",
    "a <s> b</s>",
    "<s>陕西</s>",
    "<unk>",
    "</s><s>",
    "line\nbreak\ttab",
    "emoji 😀 and café",
    "▁ underline ▁▁",
    "1234 + 5 = ?",
]
_HOWS: list[dict[str, Any]] = [
    {},
    {"add_special_tokens": False},
    {"padding": True},
    {"padding": "longest"},
    {"padding": "max_length", "max_length": 30},
    {"padding": "max_length", "max_length": 4},
    {"max_length": 5},
    {"max_length": 5, "truncation": True},
    {"max_length": 3, "truncation": True},
    {"max_length": 6, "truncation": True, "padding": "max_length", "add_special_tokens": False},
    {"truncation": True},
    {"padding": True, "pad_to_multiple_of": 8},
    {"padding": True, "return_tensors": "np"},
    {"return_attention_mask": False},
]
_TOKENIZERS: dict[str, dict[str, Any]] = {
    "default": {},
    "no bos": {"add_bos_token": False},
    "eos": {"add_eos_token": True},
    "left": {"padding_side": "left"},
    "other pad": {"pad_token": "</s>"},
    "new tokens": {"pad_token": "<pad>", "bos_token": "<begin>"},
}
_IDS: list[Any] = [
    [1, 297, 262, 264, 350],
    [297, 1, 262, 2, 2, 264, 0, 0],
    [2],
    [0, 0],
    [],
    [[1, 297], [262, 2, 264]],
    [231, 152, 170, 300, 7],
    [343, 343, 100, 1, 343, 101, 2],
    [5, 6, 343],
]


def questions(model: RecipeModel) -> dict[str, Any]:
    """For `oracle.py`."""
    calls = [
        {"of": name, "text": text, "how": how}
        for name in _TOKENIZERS
        for text in (_TEXTS, PROMPT, "a <s> b</s>")
        for how in _HOWS
    ]
    decodings = [
        {"of": name, "ids": ids, "how": how}
        for name in ("default", "new tokens")
        for ids in _IDS
        for how in ({}, {"skip_special_tokens": True})
    ]
    rows = [[1, 297, 262, 264, 350, 0, 0], [1, 343, 100, 1, 343, 101, 3]]
    return {
        "tokenizer": str(model.tokenizer),
        "checkpoint": str(model.checkpoint),
        "config": str(model.config),
        "tokenizers": _TOKENIZERS,
        "calls": calls,
        "decodings": decodings,
        "generations": [
            {"ids": [1, 297, 262], "how": {"max_length": 20}},
            {"ids": [[1, 297, 262]], "how": {"max_new_tokens": 9}},
            {"ids": rows, "how": {"max_length": 24}},
            {"ids": rows, "how": {"max_length": 24, "repetition_penalty": 1.3}},
            {"ids": rows, "how": {"max_length": 200}},
        ],
        "pipelines": [
            {"inputs": PROMPT, "how": {}},
            {"inputs": PROMPT, "how": {"max_length": 30}},
            {"inputs": [PROMPT, "广东"], "how": {}},
            {"inputs": [PROMPT, "广东"], "how": {"batch_size": 2}},
            {"inputs": {"text": "福建的省会"}, "how": {"add_special_tokens": False}},
            {"inputs": {"src": "福建的省会"}, "how": {"keys": {"src_language": "src"}}},
        ],
        "predict": PROMPT,
        "max_length": MAX_LENGTH,
    }
