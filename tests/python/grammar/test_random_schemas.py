"""Five hundred random schemas on the real engine: what ends by itself is valid, what is cut is a valid beginning.

The model has random weights and SmolLM2's vocabulary, so that nothing but the grammar makes its outputs what they are;
tokens that close a text or an object are made likelier, as they are with a model that has learnt to write.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import llguidance
import pytest
from schemas import random_schema

import skywork_rt
from skywork_rt import Generator, Grammar, RequestOutput, SamplingParams, _core
from skywork_rt.grammar.library_text import library_text

pytestmark = pytest.mark.slow

COUNT = 500
SCHEMAS = [random_schema(seed) for seed in range(COUNT)]
CLOSING = {b'"', b'",', b'"}', b"}", b"]", b'"]', b"}}"}
PROMPT = "JSON: "


@pytest.fixture(scope="module")
def wide(wide_bundle: Path) -> Iterator[Generator]:
    with Generator(wide_bundle, backend="native", threads=1, max_batch=32) as generator:
        yield generator


@pytest.fixture(scope="module")
def bias(wide_bundle: Path) -> dict[int, float]:
    vocabulary = _core.Vocabulary(str(wide_bundle / "vocab.bin"))
    return {token: 9.0 for token in range(len(vocabulary)) if vocabulary.token_bytes(token) in CLOSING}


def params_of(index: int, bias: dict[int, float]) -> SamplingParams:
    grammar = Grammar.json_schema(SCHEMAS[index])
    return SamplingParams(grammar=grammar, max_tokens=300, temperature=1.0, seed=index, logit_bias=bias)


@pytest.fixture(scope="module")
def results(wide: Generator, bias: dict[int, float]) -> list[RequestOutput]:
    return wide.generate([PROMPT] * COUNT, [params_of(index, bias) for index in range(COUNT)])


def test_what_ends_by_itself_is_valid(results: list[RequestOutput]) -> None:
    ended = 0
    for schema, result in zip(SCHEMAS, results, strict=True):
        (output,) = result.outputs
        if output.finish_reason == "stop":
            ended += 1
            validate(output.text, schema)
    assert ended >= 450, "the others were cut at max_tokens"


def test_what_is_cut_is_a_valid_beginning(wide: Generator, wide_bundle: Path, results: list[RequestOutput]) -> None:
    """A matcher that llguidance makes itself, of the model's tokenizer.json, takes the same tokens and can go on; and
    so it takes those of what ended, after which it accepts."""
    tokenizer = llguidance.LLTokenizer((wide_bundle / "tokenizer.json").read_text(encoding="utf-8"))
    cut = [(s, r) for s, r in zip(SCHEMAS, results, strict=True) if r.outputs[0].finish_reason == "length"]
    assert cut, "300 tokens are too few for some"
    for schema, result in cut:
        matcher = fresh_matcher(tokenizer, schema)
        for token in result.outputs[0].token_ids:
            assert matcher.consume_token(token), matcher.get_error()
        assert matcher.compute_bitmask().strip(b"\0"), "it can go on"
        assert not matcher.get_error()
    for schema, result in list(zip(SCHEMAS, results, strict=True))[::10]:
        if result.outputs[0].finish_reason == "stop":
            matcher = fresh_matcher(tokenizer, schema)
            *tokens, end = result.outputs[0].token_ids
            assert end in wide.model.eos_ids
            assert matcher.consume_tokens(tokens) and matcher.is_accepting()


def test_a_schema_gives_the_same_alone_as_among_others(
    wide: Generator, bias: dict[int, float], results: list[RequestOutput]
) -> None:
    for index in range(0, COUNT, 50):
        alone = wide.generate(PROMPT, params_of(index, bias))
        assert alone.outputs[0].token_ids == results[index].outputs[0].token_ids


def test_free_rows_come_to_the_same_bits_beside_constrained_ones(wide: Generator, bias: dict[int, float]) -> None:
    free = [SamplingParams(max_tokens=40, temperature=1.0, seed=seed, logprobs=3) for seed in range(8)]
    alone = [wide.generate(PROMPT, params) for params in free]
    mixed = [each for pair in zip(free, [params_of(i, bias) for i in range(8)], strict=True) for each in pair]
    together = wide.generate([PROMPT] * 16, mixed)[::2]
    for left, right in zip(alone, together, strict=True):
        assert left.outputs[0].token_ids == right.outputs[0].token_ids
        assert left.outputs[0].logprobs == right.outputs[0].logprobs, "to the last bit"


def test_logprobs_are_those_of_the_raw_logits(wide: Generator) -> None:
    grammar = Grammar.regex("[0-9]{3}")
    result = wide.generate(PROMPT, grammar=grammar, max_tokens=8, temperature=0, logprobs=2)
    raw = wide.generate(PROMPT, max_tokens=1, temperature=0, logprobs=2)
    assert result.outputs[0].logprobs is not None and raw.outputs[0].logprobs is not None
    first, free = result.outputs[0].logprobs[0], raw.outputs[0].logprobs[0]
    best = [token for token, entry in free.items() if entry.rank <= 2]
    assert {token: first[token] for token in best} == {token: free[token] for token in best}
    assert first[result.outputs[0].token_ids[0]].rank > 1, "the digit was not the model's own choice"


def fresh_matcher(tokenizer: Any, schema: dict[str, Any]) -> Any:
    kind, text = library_text(Grammar.json_schema(schema))
    assert kind == "json_schema"
    return llguidance.LLMatcher(tokenizer, llguidance.LLMatcher.grammar_from_json_schema(text))


def validate(text: str, schema: dict[str, Any]) -> None:
    validator = jsonschema.Draft202012Validator
    validator(schema, format_checker=validator.FORMAT_CHECKER).validate(json.loads(text))


def test_the_check_would_notice() -> None:
    with pytest.raises(jsonschema.ValidationError):
        validate('{"a": "x"}', {"type": "object", "properties": {"a": {"type": "integer"}}})
    assert skywork_rt.Grammar is Grammar
