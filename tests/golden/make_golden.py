"""Makes smollm2.json and smollm2_logits.npz once, with transformers and torch in float32.

    python tests/golden/make_golden.py SmolLM2-135M-Instruct.Q4_1.gguf

The tests read the two files and need neither package. Text becomes ids through `tokenizers` objects that are built here
from the GGUF's own metadata, independently of the exporter.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import tokenizers
import torch
import transformers
from golden_prompts import BEAM_PROMPTS, BEAM_TOKENS, BEAM_WIDTHS, CHOICES, LOGPROB_PROMPTS, LOGPROB_TOP, PROMPTS
from tokenizers import decoders, models, pre_tokenizers

HERE = Path(__file__).parent
GREEDY_TOKENS = 40
LOGIT_POSITIONS = 40  # the first so many of every prompt, and its last one
LOGIT_COLUMNS = 192


def build_tokenizer(path: Path) -> tokenizers.Tokenizer:
    """Byte-level BPE with digits apart: what the GGUF pre-tokenizer name `smollm` stands for."""
    reader = gguf.GGUFReader(path)
    tokens = reader.get_field("tokenizer.ggml.tokens").contents()
    merges = [tuple(merge.split(" ")) for merge in reader.get_field("tokenizer.ggml.merges").contents()]
    types = reader.get_field("tokenizer.ggml.token_type").contents()
    assert reader.get_field("tokenizer.ggml.pre").contents() == "smollm"
    tokenizer = tokenizers.Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([t for t, kind in zip(tokens, types, strict=True) if kind == 3])
    return tokenizer


def all_logits(model: Any, ids: list[int]) -> torch.Tensor:
    """Logits [len(ids), vocab] of one forward pass over the whole sequence."""
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0].float()


def greedy(model: Any, ids: list[int]) -> tuple[list[int], list[float]]:
    """Greedy ids (past any eos) and the distance between the two best logits at each step."""
    cache = transformers.DynamicCache()
    out: list[int] = []
    margins: list[float] = []
    feed = ids
    with torch.no_grad():
        for _ in range(GREEDY_TOKENS):
            row = model(torch.tensor([feed]), past_key_values=cache, use_cache=True).logits[0, -1]
            best = torch.topk(row, 2)
            out.append(int(best.indices[0]))
            margins.append(round(float(best.values[0] - best.values[1]), 6))
            feed = out[-1:]
    return out, margins


def beams(model: Any, ids: list[int], width: int) -> dict[str, Any]:
    """transformers' own beam search: every hypothesis, best first, with its length-normalised score."""
    out = model.generate(
        torch.tensor([ids]),
        attention_mask=torch.ones(1, len(ids), dtype=torch.long),
        generation_config=transformers.GenerationConfig(
            num_beams=width, num_return_sequences=width, max_new_tokens=BEAM_TOKENS, do_sample=False,
            length_penalty=1.0, early_stopping=False, eos_token_id=2, pad_token_id=2,
            return_dict_in_generate=True, output_scores=True,
        ),
    )  # fmt: skip
    hypotheses = []
    for sequence, score in zip(out.sequences.tolist(), out.sequences_scores.tolist(), strict=True):
        new = sequence[len(ids) :]
        if 2 in new:  # what follows the first eos is padding
            new = new[: new.index(2) + 1]
        hypotheses.append({"token_ids": new, "score": round(score, 6)})
    return {"width": width, "hypotheses": hypotheses}


def prompt_logprobs(model: Any, ids: list[int]) -> list[dict[str, Any] | None]:
    """None for the first token; then the token's log-probability and rank and the best of its place."""
    table = torch.log_softmax(all_logits(model, ids).double(), dim=-1)
    rows: list[dict[str, Any] | None] = [None]
    for position, token in enumerate(ids[1:]):
        row = table[position]
        best = torch.topk(row, LOGPROB_TOP)
        rows.append({
            "logprob": round(float(row[token]), 6),
            "rank": int((row > row[token]).sum()) + 1,
            "top_ids": best.indices.tolist(),
            "top_logprobs": [round(float(v), 6) for v in best.values],
        })  # fmt: skip
    return rows


def score(model: Any, context: list[int], continuation: list[int]) -> tuple[float, bool]:
    table = torch.log_softmax(all_logits(model, context + continuation).double(), dim=-1)
    rows = table[len(context) - 1 : -1]
    total = float(sum(rows[i, token] for i, token in enumerate(continuation)))
    return round(total, 6), rows.argmax(dim=-1).tolist() == continuation


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("gguf", type=Path)
    path: Path = parser.parse_args().gguf
    torch.set_num_threads(2)
    tokenizer = build_tokenizer(path)
    model = transformers.AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32)
    model.eval()

    def encode(text: str) -> list[int]:
        return list(tokenizer.encode(text, add_special_tokens=False).ids)

    columns = np.sort(np.random.default_rng(7).choice(model.config.vocab_size, LOGIT_COLUMNS, replace=False))
    arrays: dict[str, np.ndarray] = {"columns": columns.astype(np.int32)}
    prompts = []
    for name, text in PROMPTS:
        ids = encode(text)
        assert tokenizer.decode(ids, skip_special_tokens=False) == text
        rows = all_logits(model, ids)
        positions = sorted({*range(min(len(ids), LOGIT_POSITIONS)), len(ids) - 1})
        chosen = rows[positions]
        arrays[f"{name}/positions"] = np.array(positions, np.int32)
        arrays[f"{name}/logits"] = chosen[:, columns].numpy()
        arrays[f"{name}/logsumexp"] = torch.logsumexp(chosen.double(), -1).numpy()
        arrays[f"{name}/range"] = (chosen.amax(-1) - chosen.amin(-1)).numpy()
        out, margins = greedy(model, ids)
        prompts.append({"name": name, "text": text, "ids": ids, "greedy": out, "margins": margins,
                        "greedy_text": tokenizer.decode(out, skip_special_tokens=True)})  # fmt: skip
        print(name, len(ids), repr(prompts[-1]["greedy_text"][:60]), min(margins), flush=True)
    by_name = {p["name"]: p["ids"] for p in prompts}
    choices = []
    for context, continuations, right in CHOICES:
        scored = [score(model, encode(context), encode(c)) for c in continuations]
        choices.append({"context": context, "continuations": continuations, "right": right,
                        "context_ids": encode(context), "continuation_ids": [encode(c) for c in continuations],
                        "sums": [s for s, _ in scored], "greedy": [g for _, g in scored]})  # fmt: skip
    golden = {
        "made_with": {
            "torch": torch.__version__, "transformers": transformers.__version__, "gguf": gguf_version(),
            "tokenizers": tokenizers.__version__, "python": platform.python_version(), "dtype": "float32",
            "source": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        },
        "prompts": prompts,
        "beams": {name: [beams(model, by_name[name], width) for width in BEAM_WIDTHS] for name in BEAM_PROMPTS},
        "prompt_logprobs": {name: prompt_logprobs(model, by_name[name]) for name in LOGPROB_PROMPTS},
        "choices": choices,
    }  # fmt: skip
    (HERE / "smollm2.json").write_text(json.dumps(golden, ensure_ascii=False, separators=(",", ":")) + "\n")
    np.savez_compressed(HERE / "smollm2_logits.npz", **arrays)


def gguf_version() -> str:
    from importlib.metadata import version

    return version("gguf")


if __name__ == "__main__":
    main()
