"""Makes gguf_cases.json beside it: ids and ends by llama.cpp for the vocabularies of gguf_cases.py.

Run once, with gguf installed: ``python make_gguf_cases_golden.py libllama.so`` (see llama_cpp.py).
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from gguf_cases import CASES, CONTROL, ENDS, TEXTS, TOGETHER, USER, with_ends
from llama_cpp import Llama


def main() -> None:
    llama = Llama(sys.argv[1])
    with tempfile.TemporaryDirectory() as work:
        path = Path(work) / "vocabulary.gguf"
        ids = {}
        for name, vocabulary in CASES.items():
            ids[name] = llama.encode(vocabulary.write(path), TEXTS, add_special=True)[1]
        ends = {
            str(kind): [text for text in ENDS if 257 in llama.ends(with_ends(text, kind=kind).write(path))]
            for kind in (CONTROL, USER)
        }
        together = [
            [index - 257 for index in llama.ends(with_ends(*texts).write(path)) if index > 256] for texts in TOGETHER
        ]
    body = {"made_with": "llama.cpp of llama_cpp_python 0.3.36", "ids": ids, "ends": ends, "together": together}
    out = Path(__file__).with_name("gguf_cases.json")
    out.write_text(json.dumps(body, ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8")
    print(len(ids), "vocabularies", {kind: len(texts) for kind, texts in ends.items()}, "ends", together)


main()
