"""Makes mmlu_choices.json: what transformers answers to 200 questions of MMLU, and the perplexity of a text.

    python tests/golden/make_mmlu_choices.py SmolLM2-135M-Instruct.Q4_1.gguf samples-all-large.jsonl _cot_prompts.json

Needs torch, transformers and gguf. Prompts, positions and windows are written here once more, from the recipe's and
transformers' own descriptions, and share no code with the package.

`perplexity`: of windows as in transformers' guide "Perplexity of fixed-length models": `nll` and `tokens` are sums over
every token once; `guide` is the number that the guide's loop itself prints, which weights a window's mean by its
targets less one.
"""

from __future__ import annotations

import argparse
import json
import math
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import transformers
from make_golden import build_tokenizer
from mmlu_questions import SUBJECTS, examples, questions, running_text

HERE = Path(__file__).parent
SHOTS = 5
WINDOWS = [(256, 128), (200, 200)]


def block(row: tuple[str, ...], with_answer: bool) -> str:
    question, a, b, c, d, answer = row
    text = f"Question: {question}\nChoices:\nA. {a}\nB. {b}\nC. {c}\nD. {d}\nAnswer:"
    return f"{text} {answer}\n\n" if with_answer else text


def answer_all(model: Any, tokenizer: Any, shown: Any, asked: Any) -> dict[str, Any]:
    ids = [tokenizer(letter)["input_ids"][-1] for letter in "ABCD"]
    found: dict[str, Any] = {}
    for subject in SUBJECTS:
        title = subject.replace("_", " ")
        head = f"The following are multiple choice questions (with answers) about {title}.\n\n"
        head += "".join(block(row, True) for row in shown[subject][:SHOTS])
        rows = []
        for row in asked[subject]:
            logits = model(torch.tensor([tokenizer(head + block(row, False))["input_ids"]])).logits[0, -1]
            rows.append([round(float(value), 4) for value in torch.log_softmax(logits.double(), -1)[ids]])
        found[subject] = rows
        print(subject, flush=True)
    return found


def perplexity(model: Any, ids: list[int], window: int, stride: int) -> dict[str, Any]:
    total, count, guide_sum, guide_count, previous = 0.0, 0, 0.0, 0, 0
    for begin in range(0, len(ids), stride):
        end = min(begin + window, len(ids))
        target = end - previous
        inputs = torch.tensor([ids[begin:end]])
        labels = inputs.clone()
        labels[:, :-target] = -100
        out = model(inputs, labels=labels)
        valid = int((labels != -100).sum())
        scored = int((labels[:, 1:] != -100).sum())
        guide_sum += float(out.loss) * (valid - 1)
        guide_count += valid - 1
        total += float(out.loss.double()) * scored
        count += scored
        previous = end
        if end == len(ids):
            break
    return {
        "window": window, "stride": stride, "nll": round(total, 3), "tokens": count,
        "guide": round(math.exp(guide_sum / guide_count), 6),
    }  # fmt: skip


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("gguf", type=Path)
    parser.add_argument("samples", type=Path)
    parser.add_argument("prompts", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(2)
    model = transformers.AutoModelForCausalLM.from_pretrained(
        given.gguf.parent, gguf_file=given.gguf.name, dtype=torch.float32
    )
    model.eval()
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=build_tokenizer(given.gguf), clean_up_tokenization_spaces=False
    )
    ids = tokenizer(running_text(given.samples))["input_ids"]
    golden = {
        "made_with": {name: version(name) for name in ("torch", "transformers")},
        "perplexity": [perplexity(model, ids, *sizes) for sizes in WINDOWS],
        "logprobs": answer_all(model, tokenizer, examples(given.prompts), questions(given.samples)),
    }
    text = json.dumps(golden, separators=(",", ":"))
    (HERE / "mmlu_choices.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
