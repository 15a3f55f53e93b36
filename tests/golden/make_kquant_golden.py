"""Makes smollm2_kquants.json once, with transformers and torch in float32, of what
tests/python/kquant_files.py makes.

    python tests/golden/make_kquant_golden.py FOLDER_OF_THE_FILES

transformers reads each GGUF file itself, dequantised by the gguf package.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

HERE = Path(__file__).parent
NAMES = ("Q4_K_M", "Q2_K")
GREEDY_TOKENS = 20
COLUMNS = 96
PROMPTS = (
    [504, 3575, 282, 4649, 314],  # The capital of France is
    [1604, 21052, 24, 94, 727],
    [6403, 2238, 253, 655, 28, 281, 253, 1165, 5894],
    [504, 3971, 5384, 281, 653, 5917, 817],
    [2068, 12544, 253, 8978, 28, 346, 737],
    [11846, 1038, 99, 418],
    [788, 216, 33, 41, 38, 41, 28, 18032, 25803],
    [504, 2365, 6354, 16438],
    [16286, 2791, 314],
    [65, 42, 1812, 314, 216, 34, 27, 34, 47, 198, 49, 42],
)


def answer(model: Any, ids: list[int]) -> dict[str, Any]:
    """Greedy ids past any eos, and the logits of the prompt's last position: some columns, the range and logsumexp."""
    with torch.no_grad():
        row = model(torch.tensor([ids])).logits[0, -1].float()
        feed = list(ids)
        for _ in range(GREEDY_TOKENS):
            feed.append(int(model(torch.tensor([feed])).logits[0, -1].argmax()))
    columns = np.random.default_rng(0).choice(len(row), COLUMNS, replace=False)
    return {
        "ids": ids,
        "greedy": feed[len(ids) :],
        "columns": columns.tolist(),
        "logits": [round(float(row[c]), 6) for c in columns],
        "range": round(float(row.max() - row.min()), 6),
    }


def main() -> None:
    folder = Path(sys.argv[1])
    files = {}
    for name in NAMES:
        model = transformers.AutoModelForCausalLM.from_pretrained(
            folder, gguf_file=f"SmolLM2-135M-Instruct.{name}.gguf", dtype=torch.float32
        ).eval()
        files[name] = [answer(model, ids) for ids in PROMPTS]
    body = {"torch": torch.__version__, "transformers": transformers.__version__, "files": files}
    (HERE / "smollm2_kquants.json").write_text(json.dumps(body) + "\n")


if __name__ == "__main__":
    main()
