"""Makes smollm2_tasks.json: what transformers says of SmolLM2 where whole tasks are concerned.

`lm_eval`: the numbers that lm-evaluation-harness finds with its own `hf` model on the local tasks of
tests/python/eval/tasks, log-likelihoods of every answer included. `beam_stops`: beam search with stop texts.

Needs torch, transformers, gguf, accelerate and lm-eval; run it as
`python tests/golden/make_smollm2_tasks.py SmolLM2-135M-Instruct.Q4_1.gguf`.
"""

from __future__ import annotations

import argparse
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import transformers
from golden_prompts import PROMPTS
from lm_eval import simple_evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from make_golden import build_tokenizer

HERE = Path(__file__).parent
TASKS = HERE.parent / "python" / "eval" / "tasks"
NAMES = ["skywork_facts", "skywork_sentences", "skywork_answers"]

#: Prompt, stop texts, width.
BEAM_STOPS = [
    ("design", ["\n", " the"], 4),
    ("design", [","], 2),
    ("function", ["):", "return"], 4),
    ("provinces", ["，", "。"], 4),
    ("emoji", ["!", "?"], 8),
]
BEAM_TOKENS = 24


def evaluate(model: Any, tokenizer: Any, chat: bool) -> dict[str, Any]:
    """Metrics and, of every document, what each of its requests gave."""
    harness = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=16, add_bos_token=False)
    results = simple_evaluate(
        model=harness, tasks=NAMES[:1] if chat else NAMES, task_manager=TaskManager(include_path=str(TASKS)),
        log_samples=True, apply_chat_template=chat, bootstrap_iters=0,
    )  # fmt: skip
    return {
        name: {
            "metrics": {
                key.removesuffix(",none"): value
                for key, value in results["results"][name].items()
                if isinstance(value, float) and "stderr" not in key
            },
            "responses": [sample["filtered_resps"] for sample in results["samples"][name]],
        }
        for name in results["samples"]
    }


def beams_with_stops(model: Any, tokenizer: Any, name: str, stops: list[str], width: int) -> dict[str, Any]:
    """Every hypothesis, best first, up to and with the token that completes a stop text."""
    ids = tokenizer(dict(PROMPTS)[name], add_special_tokens=False)["input_ids"]
    out = model.generate(
        torch.tensor([ids]), attention_mask=torch.ones(1, len(ids), dtype=torch.long), num_beams=width,
        num_return_sequences=width, max_new_tokens=BEAM_TOKENS, do_sample=False, eos_token_id=2, pad_token_id=2,
        return_dict_in_generate=True, output_scores=True, stop_strings=stops, tokenizer=tokenizer,
    )  # fmt: skip
    hypotheses = []
    for sequence, score in zip(out.sequences.tolist(), out.sequences_scores.tolist(), strict=True):
        new = sequence[len(ids) :]
        text = ""
        for i in range(len(new)):
            text = tokenizer.decode(new[: i + 1])
            if new[i] == 2 or any(stop in text for stop in stops):
                new = new[: i + 1]
                break
        hypotheses.append({"token_ids": new, "score": round(score, 6)})
    return {"prompt": name, "stop": stops, "width": width, "max_tokens": BEAM_TOKENS, "hypotheses": hypotheses}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("gguf", type=Path)
    path: Path = parser.parse_args().gguf
    torch.set_num_threads(1)
    model = transformers.AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32)
    model.eval()
    template = transformers.AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name).chat_template
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=build_tokenizer(path), bos_token="<|im_start|>", eos_token="<|im_end|>",
        pad_token="<|im_end|>", chat_template=template, clean_up_tokenization_spaces=False,
    )  # fmt: skip
    golden = {
        "made_with": {name: version(name) for name in ("torch", "transformers", "lm-eval")},
        "beam_stops": [beams_with_stops(model, tokenizer, *case) for case in BEAM_STOPS],
        "lm_eval": evaluate(model, tokenizer, chat=False),
        "lm_eval_chat": evaluate(model, tokenizer, chat=True),
    }
    text = json.dumps(golden, ensure_ascii=False, separators=(",", ":"))
    (HERE / "smollm2_tasks.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
