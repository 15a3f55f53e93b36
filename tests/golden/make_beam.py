"""Makes beam.json: what transformers' beam search answers for a model that is a plain function of the prefix.

Its logits are exact in float32 and cheap to compute anywhere (`logits_of` here, PrefixModel in
tests/cpp/sampling/beam_search_test.cc), so the golden file holds questions and answers only. Needs torch and
transformers; run it as `python tests/golden/make_beam.py`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
import torch
import transformers
from transformers import GenerationConfig, GenerationMixin, PretrainedConfig, PreTrainedModel, PreTrainedTokenizerFast
from transformers.modeling_outputs import CausalLMOutput

MASK = 0xFFFFFFFF


def mix(x: np.ndarray) -> np.ndarray:
    """A 32-bit integer hash (multiply and xor-shift), elementwise on uint64 values below 2**32."""
    x = ((x ^ (x >> np.uint64(16))) * np.uint64(0x7FEB352D)) & np.uint64(MASK)
    x = ((x ^ (x >> np.uint64(15))) * np.uint64(0x846CA68B)) & np.uint64(MASK)
    return x ^ (x >> np.uint64(16))


def logits_of(prefix: list[int], vocab_size: int) -> np.ndarray:
    """Logits from 0 to 16 in steps of 2**-12, the large ones rare."""
    state = 0x9E3779B9
    for token in prefix:
        state = int(mix(np.array([(state * 31 + token + 1) & MASK], dtype=np.uint64))[0])
    bits = mix((np.arange(vocab_size, dtype=np.uint64) * np.uint64(0x9E3779B1) + np.uint64(state)) & np.uint64(MASK))
    low, high = bits & np.uint64(0xFFFF), bits >> np.uint64(16)
    return ((low * high) >> np.uint64(16)).astype(np.float32) / np.float32(4096)


class PrefixConfig(PretrainedConfig):
    """The least that `generate` asks of a configuration."""

    model_type = "prefix"

    def __init__(self, vocab_size: int = 100, **kwargs: Any) -> None:
        self.vocab_size = vocab_size
        self.num_hidden_layers = 1
        super().__init__(**kwargs)


class PrefixModel(PreTrainedModel, GenerationMixin):
    """Answers `logits_of` the ids that it is given."""

    config_class = PrefixConfig

    def __init__(self, config: PrefixConfig) -> None:
        super().__init__(config)
        self.unused = torch.nn.Parameter(torch.zeros(1))
        self.post_init()

    def forward(self, input_ids: torch.Tensor, **_: Any) -> CausalLMOutput:
        rows = [logits_of(row, self.config.vocab_size) for row in input_ids.tolist()]
        return CausalLMOutput(logits=torch.from_numpy(np.stack(rows))[:, None, :])


def letters_of(token: int) -> str:
    """The text of a token in the cases with stop texts: two of eleven letters."""
    return chr(ord("a") + token // 11) + chr(ord("a") + token % 11)


def letter_tokenizer(vocab_size: int) -> PreTrainedTokenizerFast:
    """Text of two letters a token, which is all that `stop_strings` asks of a tokenizer."""
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel({letters_of(i): i for i in range(vocab_size)}))
    pairs = tokenizers.Regex("..")
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Split(pairs, behavior="isolated")
    tokenizer.decoder = tokenizers.decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


def end_of(tokens: list[int], case: dict[str, Any]) -> int:
    """How many tokens a hypothesis has: padding follows the first eos, and the token that completes a stop text."""
    text = ""
    for i, token in enumerate(tokens):
        text += letters_of(token) if "stop" in case else ""
        if token in case["eos_ids"] or any(stop in text for stop in case.get("stop", [])):
            return i + 1
    return len(tokens)


def answer(case: dict[str, Any]) -> list[dict[str, Any]]:
    """The hypotheses of one case, best first."""
    model = PrefixModel(PrefixConfig(vocab_size=case["vocab_size"])).eval()
    options: dict[str, Any] = {}
    if case["repetition_penalty"] != 1.0:
        options["repetition_penalty"] = case["repetition_penalty"]
    if case["no_repeat_ngram_size"]:
        options["no_repeat_ngram_size"] = case["no_repeat_ngram_size"]
    if case["min_tokens"]:
        options["min_new_tokens"] = case["min_tokens"]
    config = GenerationConfig(
        num_beams=case["num_beams"],
        num_return_sequences=case["num_beams"],
        max_new_tokens=case["max_tokens"],
        length_penalty=case["length_penalty"],
        early_stopping=case["early_stopping"],
        eos_token_id=case["eos_ids"],
        pad_token_id=0,
        do_sample=False,
        use_cache=False,
        return_dict_in_generate=True,
        output_scores=True,
        **options,
    )
    prompt = torch.tensor([case["prompt"]])
    with torch.no_grad():
        stops: dict[str, Any] = {}
        if "stop" in case:
            stops = {"stop_strings": case["stop"], "tokenizer": letter_tokenizer(case["vocab_size"])}
        output = model.generate(prompt, attention_mask=torch.ones_like(prompt), generation_config=config, **stops)
    hypotheses = []
    for ids, score in zip(output.sequences.tolist(), output.sequences_scores.tolist(), strict=True):
        tokens = ids[len(case["prompt"]) :]
        hypotheses.append({"token_ids": tokens[: end_of(tokens, case)], "score": score})
    return hypotheses


def cases() -> list[dict[str, Any]]:
    """A grid of the decisions, then random mixtures."""
    generator = np.random.default_rng(7)
    base = {
        "vocab_size": 120,
        "prompt": [3, 1, 4],
        "max_tokens": 12,
        "eos_ids": [2],
        "length_penalty": 1.0,
        "early_stopping": False,
        "repetition_penalty": 1.0,
        "no_repeat_ngram_size": 0,
        "min_tokens": 0,
    }
    result = [
        {**base, "num_beams": width, "length_penalty": penalty, "early_stopping": early, "eos_ids": eos}
        for width in (2, 4, 8)
        for penalty in (-1.0, 0.0, 1.0, 2.0)
        for early in (False, True)
        for eos in ([2, 17, 45], list(range(40, 54)))
    ]
    for _ in range(72):
        vocab_size = int(generator.choice([50, 200, 1000]))
        # In the first step only one beam counts, so it must have enough continuations: (1 + ids) * width.
        eos = generator.choice(vocab_size, size=int(generator.choice([1, vocab_size // 10])), replace=False)
        result.append(
            {
                **base,
                "vocab_size": vocab_size,
                "num_beams": int(generator.choice([2, 4, 8])),
                "prompt": generator.integers(0, vocab_size, size=int(generator.integers(1, 9))).tolist(),
                "max_tokens": int(generator.integers(1, 20)),
                "eos_ids": sorted(eos.tolist()),
                "length_penalty": float(generator.choice([-0.5, 0.0, 0.6, 1.0, 1.7])),
                "early_stopping": bool(generator.integers(2)),
                "repetition_penalty": float(generator.choice([1.0, 1.0, 1.25])),
                "no_repeat_ngram_size": int(generator.choice([0, 0, 2])),
                "min_tokens": int(generator.choice([0, 0, 4])),
            }
        )
    # Stop texts inside of tokens, across their borders and longer than two tokens. transformers also looks back into
    # the prompt, so its letters are in none of them.
    for stop in (["a", "bc"], ["bcd", "eef"], ["cabg"], ["d", "gh", "ei"]):
        result += [
            {**base, "prompt": [119, 119], "num_beams": width, "early_stopping": early, "length_penalty": penalty,
             "stop": stop, "max_tokens": 16}
            for width in (2, 4, 8)
            for early in (False, True)
            for penalty in (0.0, 1.0)
        ]  # fmt: skip
    for case in result:
        case["min_tokens"] = min(case["min_tokens"], case["max_tokens"])
    return result


def main() -> None:
    """Writes beam.json beside this file."""
    made_with = {"torch": torch.__version__, "transformers": transformers.__version__}
    lines = [json.dumps({**case, "hypotheses": answer(case)}) for case in cases()]
    text = '{"made_with": ' + json.dumps(made_with) + ',\n "cases": [\n' + ",\n".join(lines) + "\n]}\n"
    Path(__file__).with_name("beam.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
