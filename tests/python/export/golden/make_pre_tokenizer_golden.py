"""Makes pre_tokenizers.json beside it: ids by llama.cpp for every pre-tokenizer that a GGUF file can name.

Run once, with gguf, regex and tokenizers installed: ``python make_pre_tokenizer_golden.py libllama.so``, a build of
llama.cpp (see llama_cpp.py). The vocabulary is trained here without any
pre-tokenizer, so that it has tokens across every boundary which a pre-tokenizer draws; some tokens are in no merge, so
that ids show whether a piece that is a token is taken whole. llama.cpp does not split as Mistral's tokenizers do (of
"tekken"), so these ids come from their pattern by the ``regex`` package and the byte-pair algorithm written out below.
"""

from __future__ import annotations

import itertools
import json
import random
import sys
import tempfile
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gguf
import regex
import tokenizers
from llama_cpp import Llama
from tokenizers import Tokenizer, models, trainers
from tokenizers.pre_tokenizers import ByteLevel

NAMES = """
default minicpm5 llama3 llama-v3 llama-bpe falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano deepseek-llm
deepseek-coder deepseek-v3 spark2_5 youtu falcon mpt starcoder gpt-2 phi-2 jina-es jina-de gigachat jina-v2-es
jina-v2-de a.x-4.0 mellum modern-bert jais-2 jina-v1-en jina-v2-code roberta-bpe refact command-r qwen2
deepseek-r1-qwen kormo f2llmv2 qwen35 stablelm2 olmo dbrx smaug-bpe poro-chat chatglm-bpe glm4 glm5 viking jais tekken
smollm codeshell bloom gpt3-finnish exaone exaone4 exaone-moe chameleon minerva-7b megrez gpt-4o llama4 kanana2 talkie
granite-embed-multi-97m tiny_aya cohere2moe superbpe trillion granite-docling bailingmoe bailingmoe2 llada-moe
seed-coder hunyuan hunyuan-dense hy_v4 joyai-llm kimi-k2 ufakzeka grok-2 afmoe laguna minimax-m2 solar-open mellum2
"""

TEXTS = [
    "The quick brown fox isn't here; it's over there, and they've said we'll go.",
    "HE'S SURE I'D SAY THEY'RE WE'VE I'M IT'LL DON'T, it'S We'Re o'clock l'été 'tis 'dog",
    "1 12 123 1234 12345 1234567 1234567890 3.14159 1,000,000 2024-11-24 x1234y 0x1F",
    "  a   b    c     12      ,  x ",
    "tabs\t\tand\nlines\r\n\r\n\n  \n\t\n end \n",
    "   \n\n   \nx  \r\n",
    "   ",
    " 世界  中文",
    "def getUserName(self, HTTPServer2: int) -> str:\n    return f'{self.x}' if 1 < 2 else None\n",
    "#include <vector>\n\tint main() { std::vector<int> v{1,22,333}; return !v[0] && v[1]!=0; } // a/b\n/*c*/",
    "今天天气很好，我们去公园。他说：“你好！”……2024年12月31日，价格￥123元、（测试）",
    "日本語のテキスト、カタカナとひらがな。한국어 문장입니다. ㄱㄴㄷ ㄅㄆㄇ",
    "Привет, МИР! приВет Ελλάδα Ábc ÀÉÎ éTé ǅ ß ſ 'ſ",
    "हिन्दी में नमस्ते দুনিয়া ไทยภาษา",
    "العربية ١٢٣٤٥ ۱۲۳ ،السلام؟ עברית तीन १२३४।",
    "emoji 😀👩‍👩‍👧 🇨🇳 ☃️ ❤️! 𝔘𝔫 𝟙𝟚𝟛𝟜",
    "½ ² Ⅷ ③ x² m³ 5½ ¼½¾⅓",
    "\u00a0a\u2003b\u200bc\u3000d\u0085e \u00a0\u00a0f\ufeff",
    "$5 + €3 = <8>^2 ~ |x| `code` @user #tag %5 a_b __init__ -- ... !!! ?! «q» “w”",
    "a/b\\c://x.y/z?k=v&w=1#frag\n//\n/\r\n!\n\n!!/\n",
    "cafe\u0301 e\u0301te\u0301 n\u0303 u\u0308ber A\u030angstro\u0308m",
    "!knowledge knowledge 777 .777 piano's",
    "(a)[b]{c}\"d\"'e' it''s 's 't 'S 'LL 'll'x",
    "IMGIMGABCZ <sentinel:12> IMGIMGABCDEZ\t\n    x",
    "CamelCaseWord XMLHttp iPhone McDonald's USA's ABCdefGHI",
    "12 34  56   789\n1000\n 20000 3000000,40x50",
    "Türkiye'nin İstanbul'da ığüşöç kedi'S",
    "Sentence one.  Sentence two.   Three…four。five，six।seven۔eight",
    "\u0300a \u0301\u0302b -\u0303 क\u093c",
    "<|begin_of_text|>hello<|end_of_text|> <|end_of_text|>  <|begin|>",
    "x" * 7 + " " * 17 + "y" + "\n" * 5 + "\t" * 3 + "z",
    "ΑΒΓ'S δεζ's 汉字's 字'T １２３４ ａｂｃ！？～",
    "",
]

SPECIAL = ["<|begin_of_text|>", "<|end_of_text|>"]
WORDS = [word for text in TEXTS for word in text.split()] + ["da", "dan", "`"] * 15
SPACES = [" "] * 12 + ["  ", "   ", "     ", "\n", "\n\n", "\r\n", "\t", "\n    ", " \n", "", "", "\u3000", "\u00a0"]
WHOLE = ["knowledge", "\u0120knowledge", "777", "!?!", "\u0120piano", "\u0120\u0120\u0120", "it's"]  # in no merge


UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
TEKKEN = regex.compile(
    rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+|[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*|\p{{N}}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def corpus() -> Iterator[str]:
    """Lines of words in a random but fixed order; every piece of a word with its neighbours comes up often."""
    chosen = random.Random(7)
    for _ in range(3000):
        yield "".join(chosen.choice(WORDS) + chosen.choice(SPACES) for _ in range(8))


def vocabulary() -> tuple[list[str], list[str]]:
    """Tokens and merges."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False, use_regex=False)
    trainer = trainers.BpeTrainer(
        vocab_size=1750, max_token_length=9, initial_alphabet=sorted(ByteLevel.alphabet()), show_progress=False
    )
    tokenizer.train_from_iterator(corpus(), trainer)
    model = json.loads(tokenizer.to_str())["model"]
    merges = [" ".join(merge) for merge in model["merges"]]
    tokens = sorted(model["vocab"], key=model["vocab"].__getitem__)
    return [*SPECIAL, *tokens, *(token for token in WHOLE if token not in model["vocab"])], merges


def write_gguf(path: Path, pre: str, tokens: list[str], merges: list[str]) -> None:
    """A GGUF file without weights."""
    writer = gguf.GGUFWriter(path, "llama")
    for key in ("block_count", "context_length", "embedding_length", "feed_forward_length"):
        writer.add_uint32(f"llama.{key}", 8)
    writer.add_uint32("llama.attention.head_count", 1)
    writer.add_float32("llama.attention.layer_norm_rms_epsilon", 1e-5)
    writer.add_string("tokenizer.ggml.model", "gpt2")
    writer.add_string("tokenizer.ggml.pre", pre)
    writer.add_array("tokenizer.ggml.tokens", tokens)
    writer.add_array("tokenizer.ggml.token_type", [3, 3] + [1] * (len(tokens) - 2))
    writer.add_array("tokenizer.ggml.merges", merges)
    writer.add_uint32("tokenizer.ggml.bos_token_id", 0)
    writer.add_uint32("tokenizer.ggml.eos_token_id", 1)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


class Tekken:
    """The ids of tekken by Mistral's own pattern, for a piece that is a token is taken whole."""

    def __init__(self, tokens: list[str], merges: list[str]) -> None:
        self._ids = {token: index for index, token in enumerate(tokens)}
        self._rank = {tuple(merge.split(" ")): index for index, merge in enumerate(merges)}
        self._alphabet = alphabet()
        self._special = regex.compile("(" + "|".join(map(regex.escape, SPECIAL)) + ")")

    def encode(self, text: str) -> list[int]:
        ids: list[int] = []
        for index, part in enumerate(self._special.split(text)):
            if index % 2:
                ids.append(self._ids[part])
            else:
                for piece in TEKKEN.findall(part):
                    ids += self._merged("".join(self._alphabet[byte] for byte in piece.encode()))
        return ids

    def _merged(self, piece: str) -> list[int]:
        symbols = [piece] if piece in self._ids else list(piece)
        while len(symbols) > 1:
            ranks = [self._rank.get(pair, len(self._rank)) for pair in itertools.pairwise(symbols)]
            if min(ranks) == len(self._rank):
                break
            place = ranks.index(min(ranks))
            symbols[place : place + 2] = ["".join(symbols[place : place + 2])]
        return [self._ids[symbol] for symbol in symbols]


def alphabet() -> dict[int, str]:
    """GPT-2's character for every byte."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    return {byte: chr(byte) for byte in plain} | {byte: chr(256 + index) for index, byte in enumerate(others)}


def answers(llama: Llama, tokens: list[str], merges: list[str], texts: list[str]) -> Iterator[dict[str, Any]]:
    """Of every name: whether BOS is added by default, the texts' ids, and for which texts llama.cpp has others."""
    with tempfile.TemporaryDirectory() as folder:
        for name in NAMES.split():
            path = Path(folder, f"{name}.gguf")
            write_gguf(path, name, tokens, merges)
            adds_bos, theirs = llama.encode(path, texts)
            ids = [Tekken(tokens, merges).encode(text) for text in texts] if name == "tekken" else theirs
            differ = [index for index, own in enumerate(ids) if own != theirs[index]]
            yield {"name": name, "add_bos": adds_bos, "ids": ids, "llama.cpp differs": differ}


def main() -> None:
    tokens, merges = vocabulary()
    texts = list(dict.fromkeys([*TEXTS, *(unicodedata.normalize("NFC", text) for text in TEXTS)]))
    cases: list[dict[str, Any]] = [{"text": text, "ids": []} for text in texts]
    names = {}
    for answer in answers(Llama(sys.argv[1]), tokens, merges, texts):
        for case, ids in zip(cases, answer["ids"], strict=True):
            if ids not in case["ids"]:
                case["ids"].append(ids)
        answer["ids"] = [case["ids"].index(ids) for case, ids in zip(cases, answer["ids"], strict=True)]
        names[answer["name"]] = {key: value for key, value in answer.items() if key != "name" and value != []}
    versions = f"tokenizers {tokenizers.__version__}, regex {regex.__version__}"
    made_with = f"llama.cpp of llama_cpp_python 0.3.36, {versions}"
    body = {"made_with": made_with, "tokens": tokens, "merges": merges, "cases": cases, "names": names}
    lines = json.dumps(body, ensure_ascii=False, separators=(",", ":")).replace(',{"text"', ',\n{"text"')
    out = Path(__file__).with_name("pre_tokenizers.json")
    out.write_text(lines.replace('},"', '},\n"') + "\n", encoding="utf-8")
    print(out.stat().st_size, "bytes,", [len(case["ids"]) for case in cases], "different answers to the texts")


main()
