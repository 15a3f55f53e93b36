"""The pre-tokenizers that tokenizer.ggml.pre of a GGUF file can name: how text is split before BPE merges it.

The names and what belongs to them are those of llama.cpp, whose converter writes them; the patterns are facts about the
models, published in their tokenizer.json files. llama.cpp cannot run some of them as they are and splits some texts
otherwise than the model's own file. Its ids are followed, except for qwen2, qwen35 and tekken, where the models' are;
comments name what differs.
"""

from __future__ import annotations

from dataclasses import dataclass

from skywork_rt.errors import UnsupportedError

__all__ = ["DEFAULT", "PRE_TOKENIZERS", "REFUSED", "PreTokenizer", "pre_tokenizer_of"]


@dataclass(frozen=True)
class PreTokenizer:
    """How the models of these names split text. All of them are byte-level."""

    names: tuple[str, ...]
    patterns: tuple[str, ...]
    """Each splits the pieces of the one before; what a pattern does not match is a piece too."""
    ignore_merges: bool = False
    """A piece that is a token is taken whole."""
    add_bos: bool = False
    """What holds where the file has no tokenizer.ggml.add_bos_token."""
    nfc: bool = False
    """Text is normalised to NFC first. llama.cpp never does; the models' own tokenizer.json files do."""


def _names(*lines: str) -> tuple[str, ...]:
    return tuple(" ".join(lines).split())


_SPACES = r"\s+(?!\S)|\s+"
_LINES = r"\s*[\r\n]+|" + _SPACES
_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|" + _SPACES
_ENGLISH = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_WORD = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_MARKS = r" ?[^\s\p{L}\p{N}]+[\r\n]*"
_LLAMA3 = rf"{_ENGLISH}|{_WORD}|\p{{N}}{{1,3}}|{_MARKS}|{_LINES}"
_QWEN2 = rf"{_ENGLISH}|{_WORD}|\p{{N}}|{_MARKS}|{_LINES}"
_QWEN35 = rf"{_ENGLISH}|[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}\p{{M}}]+|\p{{N}}| ?[^\s\p{{L}}\p{{M}}\p{{N}}]+[\r\n]*|{_LINES}"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_TEKKEN = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*"
    rf"|\p{{N}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{_LINES}"
)
# Written for llama.cpp: only ASCII letters have a case, and a combining mark ends a word. The models' own pattern is
# _TEKKEN's with contractions and three digits, so Devanagari, decomposed accents and words like "приВет" differ.
_O200K_REST = rf"\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{_LINES}"
_O200K_WORDS = (
    rf"[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}&&[^a-z]]*[\p{{L}}&&[^A-Z]]+{_ENGLISH}?"
    rf"|[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}&&[^a-z]]+[\p{{L}}&&[^A-Z]]*{_ENGLISH}?"
)
_O200K = rf"{_O200K_WORDS}|{_O200K_REST}"
_O200K_WITH_MARKS = _O200K_WORDS.replace(r"[\p{L}&&", r"[\p{L}\p{M}&&") + "|" + _O200K_REST
# llama.cpp runs the models' own pattern with \p{Lu} and \p{Ll} taken for any letter, so "camelCase" stays one piece.
_CASELESS_WORDS = rf"[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}\p{{M}}]+{_ENGLISH}?"
# Digits in threes from the right, as llama.cpp does it: the first group keeps the text before it, which is split later.
_DIGITS_FROM_RIGHT = r"[^\p{N}]*\p{N}{1,3}(?=(?:\p{N}{3})*(?!\p{N}))"
_THREE_DIGITS = r"\p{N}{1,3}"
_DIGIT = r"\p{N}"
_IDEOGRAPHS_AND_KANA = "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"
_ASCII_MARK_AND_WORD = r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+"""
_DEEPSEEK3_WORDS = _ASCII_MARK_AND_WORD + r"|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+"
_DEEPSEEK3 = rf"{_DEEPSEEK3_WORDS}[\r\n]*|{_LINES}"
_BLOOM = " ?[^(\\s|.,!?\u2026\u3002\uff0c\u3001\u0964\u06d4\u060c)]+"
_CJK_OF_DEEPSEEK = "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"
_CASED = (
    "A-Za-z"
    "\u00b5\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u01ba\u01bc-\u01bf\u01c4-\u0293\u0295-\u02af\u0370-\u0373\u0376"
    "\u0377\u037b-\u037d\u037f\u0386\u0388-\u038a\u038c\u038e-\u03a1\u03a3-\u03f5\u03f7-\u0481\u048a-\u052f"
    "\u0531-\u0556\u10a0-\u10c5\u13a0-\u13f5\u13f8-\u13fd\u1c90-\u1cba\u1cbd-\u1cbf\u1d00-\u1d2b\u1d6b-\u1d77"
    "\u1d79-\u1d9a\u1e00-\u1f15\u1f18-\u1f1d\u1f20-\u1f45\u1f48-\u1f4d\u1f50-\u1f57\u1f59\u1f5b\u1f5d"
    "\u1f5f-\u1f7d\u1f80-\u1fb4\u1fb6-\u1fbc\u1fbe\u1fc2-\u1fc4\u1fc6-\u1fcc\u1fd0-\u1fd3\u1fd6-\u1fdb"
    "\u1fe0-\u1fec\u1ff2-\u1ff4\u1ff6-\u1ffc\u2102\u2107\u210a-\u2113\u2115\u2119-\u211d\u2124\u2126\u2128"
    "\u212a-\u212d\u212f-\u2134\u2139\u213c-\u213f\u2145-\u2149\u214e\u2183\u2184\u2c00-\u2c7b\u2c7e-\u2ce4"
    "\u2ceb-\u2cee\u2cf2\u2cf3\ua640-\ua66d\ua680-\ua69b\ua722-\ua76f\ua771-\ua787\ua78b-\ua78e\uab70-\uabbf"
    "\ufb00-\ufb06\ufb13-\ufb17\uff21-\uff3a\uff41-\uff5a\U00010400-\U0001044f\U000104b0-\U000104d3"
    "\U000104d8-\U000104fb\U00010c80-\U00010cb2\U00010cc0-\U00010cf2\U000118a0-\U000118df\U0001e900-\U0001e943"
)

PRE_TOKENIZERS = (
    PreTokenizer(("default",), (r"[\p{P}\$\+<=>\^~\|]+", _GPT2, r"\p{N}+", r"[0-9][0-9][0-9]")),
    PreTokenizer(
        _names(
            "gpt-2 phi-2 mpt olmo jais trillion granite-docling exaone4 mellum gigachat a.x-4.0 modern-bert",
            "roberta-bpe jina-v1-en jina-v2-code jina-es jina-de jina-v2-es jina-v2-de",
        ),
        (_GPT2,),
    ),
    PreTokenizer(
        _names("starcoder refact command-r smollm codeshell exaone minerva-7b mellum2"),
        (_DIGIT, _GPT2),
    ),
    PreTokenizer(
        _names("llama-bpe llama-v3 llama3 falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano"),
        (_LLAMA3,),
        ignore_merges=True,
        add_bos=True,
    ),
    PreTokenizer(("glm4", "glm5"), (_LLAMA3,), ignore_merges=True),
    PreTokenizer(("dbrx", "smaug-bpe", "chatglm-bpe"), (_LLAMA3,)),
    PreTokenizer(("qwen2", "deepseek-r1-qwen"), (_QWEN2,), nfc=True),
    # transformers' own class normalises. The ids beside llama.cpp's ggml-vocab-qwen35 do not; they are llama.cpp's.
    PreTokenizer(("qwen35",), (_QWEN35,), nfc=True),
    PreTokenizer(_names("kormo f2llmv2 megrez stablelm2 hunyuan solar-open grok-2"), (_QWEN2,)),
    PreTokenizer(("laguna",), (r"[^\n]+|[\n]+", _QWEN2)),
    PreTokenizer(("ufakzeka",), (rf"{_WORD}|\p{{N}}|{_MARKS}|{_LINES}",)),
    PreTokenizer(
        ("minicpm5",),
        (_THREE_DIGITS, rf"{_ENGLISH}|{_WORD}|\p{{N}}+|{_MARKS}|{_LINES}"),
        ignore_merges=True,
    ),
    PreTokenizer(
        ("seed-coder",),
        (rf"{_ENGLISH}|{_WORD}|\p{{N}}| ?[^\s\p{{L}}\p{{N}}\r\n]+|{_LINES}",),
    ),
    PreTokenizer(
        ("bailingmoe", "bailingmoe2", "llada-moe"),
        (r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|" + _SPACES,),
    ),
    PreTokenizer(
        ("exaone-moe",),
        (
            rf"{_ENGLISH}|[^\r\n\p{{L}}\p{{N}}]?(?:\p{{L}}\p{{M}}*(?: \p{{L}}\p{{M}}*)*)+|\p{{N}}"
            rf"| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]?|\s*[\r\n]|{_SPACES}",
        ),
    ),
    PreTokenizer(
        ("jais-2",),
        (
            rf"{_ENGLISH}|{_WORD}|\p{{N}}{{1,3}}|{_MARKS}|\s*[\r\n]+"
            + "".join(rf"|\s{{{length}}}(?!\S)" for length in (512, 256, 128, 64, 32, 16, 8, 4, "1,2"))
            + r"|\s{1}",
        ),
    ),
    # Mistral's own pattern. llama.cpp has _O200K_WORDS here without contractions and differs in the same texts.
    PreTokenizer(("tekken",), (_TEKKEN,), ignore_merges=True, add_bos=True),
    PreTokenizer(("gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2"), (_O200K,)),
    PreTokenizer(("granite-embed-multi-97m",), (_O200K_WITH_MARKS,), ignore_merges=True),
    PreTokenizer(("tiny_aya", "cohere2moe"), (_DIGITS_FROM_RIGHT, rf"{_CASELESS_WORDS}|{_O200K_REST}")),
    PreTokenizer(
        ("youtu",),
        (
            "[\uac00-\ud7a3\u3131-\u318e]+|[\uff01\u2026\u201c\u201d\u2018\u2019\u2014\uff1a\uff1b\uff0c"
            f"\u3001-\u303f\ufe30-\ufe4f]+|[\u3105-\u312f]+|{_IDEOGRAPHS_AND_KANA}",
            rf"{_CASELESS_WORDS}|\p{{N}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{_LINES}",
        ),
        ignore_merges=True,
    ),
    # llama.cpp's words: no combining marks, and no split where small letters end; the model's own file has both. Of
    # Unicode's Han, llama.cpp leaves out signs such as U+3005; the model does not, nor does this.
    PreTokenizer(
        ("kimi-k2",),
        (rf"\p{{Han}}+|[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}&&[^\p{{Han}}]]+{_ENGLISH}?|\p{{N}}{{1,3}}|{_MARKS}|{_LINES}",),
    ),
    # In this and the next, llama.cpp reads U+3000 as U+000B and splits it otherwise beside ASCII punctuation.
    PreTokenizer(
        ("deepseek-llm",),
        (
            r"[\r\n]",
            rf"\s?[{_CASED}]+",
            "\\s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+",
            r"\s+$",
            _CJK_OF_DEEPSEEK,
            r"\p{N}+",
        ),
    ),
    PreTokenizer(("deepseek-coder",), (r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", _CJK_OF_DEEPSEEK, r"\p{N}")),
    PreTokenizer(
        ("deepseek-v3", "hunyuan-dense", "hy_v4", "joyai-llm"), (_THREE_DIGITS, _IDEOGRAPHS_AND_KANA, _DEEPSEEK3)
    ),
    PreTokenizer(("spark2_5",), (_THREE_DIGITS, _IDEOGRAPHS_AND_KANA, rf"{_DEEPSEEK3_WORDS}|[\r\n]|{_SPACES}", _DIGIT)),
    PreTokenizer(
        ("afmoe",),
        (
            _DIGITS_FROM_RIGHT,
            # U+8C48 as in llama.cpp; most likely U+F900 was meant, of which U+8C48 is the normal form.
            "[\u4e00-\u9fff\u3400-\u4dbf\u8c48-\ufaff\u3040-\u309f\u30a0-\u30ff\uff65-\uff9f\u2f00-\u2fdf"
            "\u0e40-\u0e7f\u0e80-\u0eff\u1780-\u17ff\u1000-\u109f\uaa60-\uaa7f\ua9e0-\ua9ff\uac00-\ud7af\u1100-\u11ff]+",
            _DEEPSEEK3,
        ),
    ),
    PreTokenizer(("falcon",), (r"[\p{P}\$\+<=>\^~\|`]+", _GPT2, r"[0-9][0-9][0-9]")),
    PreTokenizer(("bloom", "gpt3-finnish", "poro-chat"), (_BLOOM,)),
    PreTokenizer(("viking",), (_BLOOM, _DIGIT)),
    # [0-9] is the \d of llama.cpp. tokenizers' \d is any decimal digit.
    PreTokenizer(("superbpe",), (r"\p{N}+", r"(?=([0-9]{3})+(?![0-9]))")),
    PreTokenizer(
        ("chameleon",),
        (
            r"<sentinel:[0-9]+>",
            r"(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z",
            r"([\t\n]|    |  )",
            _DIGIT,
            r"[\p{P}!-/:-@\[-`{-~]",
            _GPT2,
        ),
        add_bos=True,
    ),
)
"""Every pre-tokenizer that can be expressed."""

_NOT_BYTE_LEVEL = "its tokens are text with U+2581 for a space and not bytes in GPT-2's alphabet"

REFUSED = {
    "gemma4": _NOT_BYTE_LEVEL,
    "granite-embed-multi-311m": _NOT_BYTE_LEVEL,
    "sarvam-moe": _NOT_BYTE_LEVEL,
    "whitespace": "it leaves the spaces between words out of the tokens, so that ids do not spell the text",
}
"""The names that llama.cpp knows and that are not supported, and why."""

_BY_NAME = {name: entry for entry in PRE_TOKENIZERS for name in entry.names}

DEFAULT = _BY_NAME["default"]


def pre_tokenizer_of(name: str) -> PreTokenizer:
    """The pre-tokenizer of this name in tokenizer.ggml.pre.

    Raises UnsupportedError, which names it and says what to do, for one that is refused or unknown.
    """
    if name in _BY_NAME:
        return _BY_NAME[name]
    reason = REFUSED.get(name, "the name is unknown")
    raise UnsupportedError(
        f"GGUF pre-tokenizer {name[:40]!r} is not supported ({reason}); "
        "export the Hugging Face directory of the model instead, whose tokenizer.json says how text is split"
    )
