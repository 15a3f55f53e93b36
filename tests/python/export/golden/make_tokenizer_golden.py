"""Makes tokenizer.json beside it: ids of SmolLM2's tokenizer from two implementations that share no code with ours.

Run once, with transformers, torch, gguf and regex installed: ``python make_tokenizer_golden.py MODEL.gguf``. The first
implementation is transformers' own conversion of a GGUF tokenizer; the second is the byte-pair algorithm written out
below with the ``regex`` package. Where transformers ignores the model's pre-tokenizer (digits on their own), the second
decides, and the file says so.
"""

from __future__ import annotations

import itertools
import json
import sys
from pathlib import Path

import gguf
import regex
import transformers

TEXTS = [
    "The capital of France is",
    "Hello, world! I'm sure you'll agree that they've been here; it's fine.",
    "  leading spaces, trailing spaces   ",
    "tabs\tand\nnew lines\r\n\n\nand   runs    of spaces",
    "陕西的省会是西安，甘肃的省会是兰州，河南的省会是郑州",
    "中文和 English 混排，标点符号：“引号”、顿号。",
    "def fibonacci(n: int) -> int:\n    return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)\n",
    "#include <vector>\nint main() { std::vector<int> v{1, 22, 333}; return v[0] != 0x1F; }",
    "emoji 😀👩‍👩‍👧‍👦🇨🇳 and ☃️ and 𝔘𝔫𝔦𝔠𝔬𝔡𝔢",
    "1234567890 3.14159 1,000,000 2024-11-24 ½ ² Ⅷ ٣",
    "naïve café Ångström Ελληνικά Русский العربية हिन्दी 日本語 한국어",
    "<|im_start|>user\nWhat is 2+2?<|im_end|>\n<|im_start|>assistant\n",
    "not special: <|im_begin|> <im_end> |im_end|",
    "",
    " ",
    "a",
    "\u00a0\u2003\u200b zero width and odd spaces \ufeff",
]

SPLIT = regex.compile(r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+")
DIGIT = regex.compile(r"\p{N}")


def alphabet() -> dict[int, str]:
    keep = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    table, extra = {}, 0
    for byte in range(256):
        if byte in keep:
            table[byte] = chr(byte)
        else:
            table[byte] = chr(256 + extra)
            extra += 1
    return table


def pieces(text: str) -> list[str]:
    """Digits on their own, the rest by GPT-2's pattern."""
    out, position = [], 0
    for match in DIGIT.finditer(text):
        out += SPLIT.findall(text[position : match.start()])
        out.append(match.group())
        position = match.end()
    return out + SPLIT.findall(text[position:])


class Reference:
    def __init__(self, reader: gguf.GGUFReader) -> None:
        field = lambda key: reader.fields["tokenizer.ggml." + key].contents()  # noqa: E731
        self.ids = {token: i for i, token in enumerate(field("tokens"))}
        self.rank = {tuple(merge.split(" ")): i for i, merge in enumerate(field("merges"))}
        special = [t for t, kind in zip(field("tokens"), field("token_type"), strict=True) if kind == 3]
        self.special = regex.compile("(" + "|".join(map(regex.escape, sorted(special, key=len, reverse=True))) + ")")
        self.alphabet = alphabet()

    def encode(self, text: str) -> list[int]:
        ids = []
        for i, part in enumerate(self.special.split(text)):
            if i % 2:
                ids.append(self.ids[part])
            else:
                for piece in pieces(part):
                    ids += self.merge([self.alphabet[b] for b in piece.encode()])
        return ids

    def merge(self, symbols: list[str]) -> list[int]:
        while True:
            pairs = list(itertools.pairwise(symbols))
            best = min(pairs, key=lambda pair: self.rank.get(pair, 1 << 30), default=None)
            if best not in self.rank:
                return [self.ids[s] for s in symbols]
            joined, i = [], 0
            while i < len(symbols):
                if tuple(symbols[i : i + 2]) == best:
                    joined.append("".join(best))
                    i += 2
                else:
                    joined.append(symbols[i])
                    i += 1
            symbols = joined


def main() -> None:
    path = Path(sys.argv[1])
    reference = Reference(gguf.GGUFReader(path))
    theirs = transformers.AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    cases = []
    for text in TEXTS:
        ids = reference.encode(text)
        agree = theirs.encode(text, add_special_tokens=False) == ids
        cases.append({"text": text, "ids": ids, "transformers_agrees": agree})
    made_with = f"transformers {transformers.__version__}, regex {regex.__version__}, gguf of {path.name}"
    body = {"made_with": made_with, "cases": cases}
    out = Path(__file__).with_name("tokenizer.json")
    out.write_text(json.dumps(body, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    print(sum(case["transformers_agrees"] for case in cases), "of", len(cases), "agree with transformers")
    for case in cases:
        if not case["transformers_agrees"]:
            print(repr(case["text"]), case["ids"][:12], theirs.encode(case["text"], add_special_tokens=False)[:12])


main()
