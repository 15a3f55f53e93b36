"""`peer:transformers`: questions answered by transformers' own loop, in an environment of its own that has torch.

Started as `PYTHON transformers_questions.py` by skywork_rt.bench.questions; imports nothing of ours. The loop is the
one of the recipe's evaluation scripts: a prompt is tokenised, goes through the model by itself, and the likeliest of
four ids at its last position is the answer.

Reads one JSON request a line from stdin and answers with one line on stdout:

    {"model": directory or GGUF file, "threads": n}  -> {"versions": {…}}
    {"prompts": [text, …]}                           -> {"seconds": s, "choices": ["A", …]}

A failure is answered with {"error": text}. Ends with its input.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any


class Loop:
    """The model and its tokenizer."""

    def __init__(self, model: str, threads: int) -> None:
        import torch
        import transformers

        self._torch = torch
        torch.set_num_threads(threads)
        transformers.utils.logging.set_verbosity_error()
        path = Path(model)
        where, options = (str(path), {}) if path.is_dir() else (str(path.parent), {"gguf_file": path.name})
        self._model = transformers.AutoModelForCausalLM.from_pretrained(where, dtype=torch.float32, **options).eval()
        self._tokenizer = transformers.AutoTokenizer.from_pretrained(where, **options)
        self._ids = [self._tokenizer(letter)["input_ids"][-1] for letter in "ABCD"]
        self.versions = {"torch": torch.__version__, "transformers": transformers.__version__}

    def run(self, prompts: list[str]) -> dict[str, Any]:
        started = time.perf_counter()
        with self._torch.no_grad():
            choices = ["ABCD"[int(self._logits(prompt)[self._ids].argmax())] for prompt in prompts]
        return {"seconds": time.perf_counter() - started, "choices": choices}

    def _logits(self, prompt: str) -> Any:
        return self._model(self._torch.tensor([self._tokenizer(prompt)["input_ids"]])).logits[0, -1]


def main() -> None:
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print is no answer
    loop: Loop | None = None
    for line in sys.stdin:
        try:
            request = json.loads(line)
            if "model" in request:
                loop = Loop(request["model"], request["threads"])
                answer: dict[str, Any] = {"versions": loop.versions}
            else:
                assert loop is not None, "the model comes first"
                answer = loop.run(request["prompts"])
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        replies.write(json.dumps(answer) + "\n")
        replies.flush()


if __name__ == "__main__":
    main()
