"""Makes tokenizer_cases.json beside it: what transformers' AutoTokenizer gives for each of tokenizer_cases.py.

Run once, where transformers, sentencepiece and protobuf are installed: ``python make_tokenizer_cases_golden.py``.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import transformers

sys.path.insert(0, str(Path(__file__).parents[1]))
from tokenizer_cases import CASES, TEXTS, Case


def golden(case: Case, directory: Path) -> dict[str, Any]:
    tokenizer = transformers.AutoTokenizer.from_pretrained(case.write(directory))
    ids = {name: getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "unk", "pad")}
    return {
        "class": type(tokenizer).__name__,
        **ids,
        "special_tokens": tokenizer.special_tokens_map,
        "ids": [tokenizer.encode(text) for text in TEXTS],
    }


def main() -> None:
    transformers.logging.set_verbosity_error()
    with tempfile.TemporaryDirectory() as work:
        cases = {name: golden(case, Path(work) / str(index)) for index, (name, case) in enumerate(CASES.items())}
    body = {"made_with": f"transformers {transformers.__version__}", "cases": cases}
    out = Path(__file__).with_name("tokenizer_cases.json")
    out.write_text(json.dumps(body, ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8")
    print(len(cases), "cases")


main()
