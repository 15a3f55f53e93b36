"""Grammars on every backend, with everything else that a request may ask for."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from skywork_rt import (
    AsyncGenerator,
    CancelledError,
    ClosedError,
    DeadlineExceededError,
    Generator,
    Grammar,
    InvalidArgumentError,
    SamplingParams,
    SkyworkError,
    UnsupportedError,
)

PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 8}, "age": {"type": "integer", "minimum": 0, "maximum": 99}},
    "required": ["name", "age"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def native(tiny_bundle: Path) -> Iterator[Generator]:
    with Generator(tiny_bundle, backend="native", threads=1, max_batch=16) as generator:
        yield generator


@pytest.fixture(scope="module")
def spaced(sentencepiece_bundle: Path) -> Iterator[Generator]:
    with Generator(sentencepiece_bundle, backend="native", threads=1) as generator:
        yield generator


def test_every_kind_of_grammar_on_every_backend(generator: Generator) -> None:
    texts = {
        Grammar.regex(r"[0-9]{3}-[a-f]{2}"): r"[0-9]{3}-[a-f]{2}",
        Grammar.choice(["yes", "no", 'a"\\\n']): 'yes|no|a"\\\\\n',
        Grammar.gbnf('root ::= d{2} | "x"\nd ::= [0-9]'): "[0-9]{2}|x",
        Grammar.lark("start: /[ab]{3}/"): "[ab]{3}",
        Grammar.regex("多字节|ü"): "多字节|ü",
    }
    results = generator.generate(["a"] * 5, [SamplingParams(grammar=grammar, seed=3) for grammar in texts])
    for result, pattern in zip(results, texts.values(), strict=True):
        assert re.fullmatch(pattern, result.text), result.text
        assert result.outputs[0].finish_reason == "stop"
        assert result.outputs[0].stop_reason in generator.model.eos_ids
    person = generator.generate("a", grammar=Grammar.json_schema(PERSON), seed=1, max_tokens=200)
    assert set(json.loads(person.text)) == {"name", "age"}
    some = generator.generate("a", grammar=Grammar.json_object(), seed=1, max_tokens=30)
    assert some.text.startswith("{")


def test_samples_follow_their_own_ways(native: Generator) -> None:
    result = native.generate("a", grammar=Grammar.regex("[a-z]{12}"), n=6, seed=4, temperature=2.0)
    texts = [output.text for output in result.outputs]
    assert all(re.fullmatch("[a-z]{12}", text) for text in texts)
    assert len(set(texts)) > 1
    again = native.generate("a", grammar=Grammar.regex("[a-z]{12}"), n=6, seed=4, temperature=2.0)
    assert [output.text for output in again.outputs] == texts


def test_what_a_grammar_guesses_changes_no_output(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    people = Grammar.json_schema({"type": "array", "items": PERSON, "minItems": 6, "maxItems": 6})
    bounded = Grammar.lark('start: (word ", fixed "){6}\nword[max_tokens=3]: /[a-z]+/')  # which cannot be taken back
    outputs, guessed, steps = [], [], []
    for most in (0, 4):
        monkeypatch.setattr("skywork_rt.grammar.desk._MOST_AHEAD", most)
        with Generator(tiny_bundle, backend="native", threads=1) as generator:
            asked = [
                SamplingParams(grammar=grammar, max_tokens=160, temperature=seed / 2, seed=seed, logprobs=1)
                for grammar in (people, bounded)
                for seed in range(4)
            ]
            results = [generator.generate("a", params).outputs[0] for params in asked]
            outputs.append([(each.token_ids, each.cumulative_logprob) for each in results])
            stats = generator.grammar_stats()
            guessed.append((stats["guessed"] > 0, stats["right"] > 0))
            steps.append(generator.stats()["steps"])
    assert outputs[0] == outputs[1]
    assert steps[1] < steps[0], "what nobody has measured yet is tried at least"
    assert guessed == [(False, False), (True, True)]


def test_a_stream_has_the_same_text(native: Generator) -> None:
    asked = SamplingParams(grammar=Grammar.json_schema(PERSON), seed=9, max_tokens=200)
    with native.stream("a", asked) as stream:
        text = "".join(piece.text for piece in stream)
    assert text == native.generate("a", asked).text

    async def ask() -> str:
        async with AsyncGenerator(native) as generator:
            return (await generator.generate("a", asked)).text

    assert asyncio.run(ask()) == text


def test_a_special_token_is_written_by_its_name(native: Generator) -> None:
    result = native.generate("a", grammar=Grammar.lark('start: "x" <s> "y"'), skip_special_tokens=False)
    assert result.text == "x<s>y"
    assert native.model.bos_id in result.outputs[0].token_ids


def test_a_cut_output_ends_by_length_as_a_valid_beginning(native: Generator) -> None:
    result = native.generate("a", grammar=Grammar.regex("(abc){9}"), max_tokens=5)
    assert result.outputs[0].finish_reason == "length"
    assert ("abc" * 9).startswith(result.text) and result.text


def test_eos_and_stop_ids_end_what_may_end(native: Generator) -> None:
    """Ignored eos ids do not end an output that may go on; but a complete one ends."""
    letters = Grammar.regex("[ab]*")
    long = native.generate("a", grammar=letters, ignore_eos=True, max_tokens=40, seed=1)
    assert long.outputs[0].finish_reason == "length" and len(long.outputs[0].token_ids) == 40
    whole = native.generate("a", grammar=Grammar.regex("ab?c"), ignore_eos=True, seed=1)
    assert whole.outputs[0].finish_reason == "stop" and whole.text in ("ac", "abc")
    (q,) = native.encode("q", add_special_tokens=False)
    stopped = native.generate("a", grammar=letters, ignore_eos=True, stop_token_ids=[q], logit_bias={q: 50.0}, seed=1)
    assert stopped.outputs[0].stop_reason == q and stopped.text == ""
    early = native.generate("a", grammar=letters, stop_token_ids=[q], logit_bias={q: 50.0}, min_tokens=7, seed=1)
    assert len(early.outputs[0].token_ids) >= 8, "an output that may go on has min_tokens"
    within = native.generate("a", grammar=Grammar.regex("[a-z]{5}"), stop_token_ids=[q], logit_bias={q: 50.0}, seed=1)
    assert re.fullmatch("[a-z]{5}", within.text), "nor do they cut one that may not"
    only = native.generate("a", grammar=Grammar.regex("[a-b]q[a-b]"), stop_token_ids=[q], seed=1)
    assert only.text in ("a", "b") and only.outputs[0].stop_reason == q, "unless nothing else can follow"
    short = native.generate("a", grammar=Grammar.regex("ab"), min_tokens=30)
    assert short.text == "ab" and short.outputs[0].finish_reason == "stop", "one that may not has not"


def test_stop_texts_end_before_the_grammar_does(native: Generator) -> None:
    result = native.generate("a", grammar=Grammar.regex("(abc){9}"), stop="bca")
    assert result.text == "a" and result.outputs[0].stop_reason == "bca"


def test_bans_and_penalties_act_within_the_grammar(native: Generator) -> None:
    a, b = (native.encode(letter, add_special_tokens=False)[0] for letter in "ab")
    banned = native.generate("x", grammar=Grammar.regex("[ab]"), logit_bias={a: float("-inf")})
    assert banned.text == "b"
    words = native.generate("x", grammar=Grammar.regex("[ab]"), bad_words_ids=[[b]])
    assert words.text == "a"
    other = native.stream("x", max_tokens=40, ignore_eos=True, seed=3)
    with pytest.raises(InvalidArgumentError, match=r"no token of .* is left to choose: relax logit_bias"):
        native.generate("x", grammar=Grammar.regex("a"), logit_bias={a: float("-inf")})
    assert other.result.outputs[0].finish_reason == "length", "and nobody else hears of it"


def test_the_prefix_cache_is_shared_with_free_requests(native: Generator) -> None:
    prompt = "the same beginning of a prompt, which is long enough to be kept " * 2
    native.generate(prompt, max_tokens=1)
    result = native.generate(prompt, grammar=Grammar.regex("[0-9]{3}"))
    assert result.num_cached_tokens > 0 and re.fullmatch("[0-9]{3}", result.text)


@pytest.mark.parametrize(
    ("grammar", "reason"),
    [
        (Grammar.regex("a("), r"the grammar \(regex\) is wrong(?s:.*)unclosed group"),
        (Grammar.lark("start: nothing"), r'at 1\(8\): unknown name: "nothing"'),
        (Grammar.lark("start: <|nope|>"), "unknown special token"),
        (Grammar.json_schema({"type": "wizard"}), "Invalid type: wizard"),
        (Grammar.json_schema({"type": "array", "uniqueItems": True}), "uniqueItems"),
        (Grammar.json_schema({"type": "integer", "minimum": 5, "maximum": 3}), "minimum .5. is greater than maximum"),
        (Grammar.json_schema({"$ref": "http://example.com/x"}), "not fetch resources"),
    ],
    ids=lambda value: None if isinstance(value, str) else repr(value)[:40],
)
def test_a_wrong_grammar_is_told_before_anything_is_generated(native: Generator, grammar: Grammar, reason: str) -> None:
    other = native.stream("x", max_tokens=30, ignore_eos=True, seed=3)
    for _ in range(2):  # the second time it is known already
        with pytest.raises(InvalidArgumentError, match=reason), native.stream("a", grammar=grammar) as stream:
            for piece in stream:
                raise AssertionError(f"{piece} was generated")
    assert len(other.result.outputs[0].token_ids) == 30
    with pytest.raises(InvalidArgumentError, match=reason):
        while not native.compile_grammar(grammar):
            time.sleep(0.001)


def test_a_dead_end_is_an_error_of_its_request(native: Generator) -> None:
    """A recursion that never ends has no output at all."""
    with pytest.raises(InvalidArgumentError, match=r"at a dead end after 0 tokens"):
        native.generate("a", grammar=Grammar.json_schema({"$ref": "#"}))
    assert native.generate("a", grammar=Grammar.regex("ab")).text == "ab"


def test_compiled_grammars_are_kept_for_the_next_request(native: Generator) -> None:
    grammar = Grammar.regex("[k-p]{4}")
    before = native.grammar_stats()
    for _ in range(3):
        native.generate("a", grammar=grammar)
    grown = {name: value - before[name] for name, value in native.grammar_stats().items()}
    assert grown["compiled"] == 1
    assert grown["reused"] >= 2
    of_tokens = grown["masks"] - (grown["guessed"] - grown["right"])
    assert of_tokens == 12, "one a token that goes on; the first one is the grammar's own"


def test_texts_begin_as_sentencepiece_writes_them(spaced: Generator) -> None:
    """A piece that begins with a space loses it at the start of an answer, and keeps it where a prompt goes on."""
    messages = [{"role": "user", "content": "hi"}]
    for pattern in ("the [a-z]{2,4}", "[a-z]{3}", " x", "é[0-9]"):
        for seed in range(4):
            answer = spaced.chat(messages, grammar=Grammar.regex(pattern), seed=seed, temperature=2.0)
            assert re.fullmatch(pattern, answer.text), (pattern, answer.text)
            going_on = spaced.generate("hi", grammar=Grammar.regex(pattern), seed=seed, temperature=2.0)
            assert re.fullmatch(pattern, going_on.text), (pattern, going_on.text)
    with_space = [i for i in range(spaced.model.vocab_size) if spaced.decode([i, i]) == "the the"]
    answer = spaced.chat(messages, grammar=Grammar.choice(["the"]), logit_bias={with_space[0]: 50.0})
    assert answer.outputs[0].token_ids[0] == with_space[0], "the piece that models begin words with may be chosen"
    assert answer.text == "the"


def test_a_bundle_without_a_tokenizer_says_so(bare_bundle: Path) -> None:
    with Generator(bare_bundle, backend="native", threads=1) as generator:
        with pytest.raises(UnsupportedError, match="has no vocabulary"):
            generator.generate([5, 6], grammar=Grammar.regex("a"))
        assert generator.generate([5, 6], max_tokens=2).outputs


def test_without_the_library_the_extra_is_named(tiny_bundle: Path) -> None:
    code = (
        "import sys; sys.modules['llguidance'] = None\n"
        "from skywork_rt import Generator, Grammar, UnsupportedError\n"
        f"generator = Generator({str(tiny_bundle)!r}, backend='native', threads=1)\n"
        "try: generator.generate('a', grammar=Grammar.regex('a'))\n"
        "except UnsupportedError as error: print(error)\n"
        "print(len(generator.generate('a', max_tokens=2).outputs))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "the package llguidance is not installed: pip install 'skywork-rt[grammar]'\n1\n"


SLOW = Grammar.json_schema(
    {"type": "object", "properties": {f"p{i}": {"type": "string", "maxLength": 100} for i in range(4000)}}
)
"""It compiles for a second or two."""


@pytest.mark.slow
def test_a_grammar_that_is_slow_to_compile_holds_nobody_up(native: Generator) -> None:
    waits = native.stream("a", grammar=SLOW, max_tokens=2)
    began = time.monotonic()
    results = native.generate(["b"] * 4, max_tokens=60, ignore_eos=True, seed=5)
    quick = native.generate("b", grammar=Grammar.regex("[0-9]{5}"))
    took = time.monotonic() - began
    assert all(len(result.outputs[0].token_ids) == 60 for result in results) and len(quick.text) == 5
    assert not native.compile_grammar(SLOW), f"it is still being compiled after {took} s"
    waits.close()
    with pytest.raises(DeadlineExceededError):
        native.generate("a", grammar=SLOW, max_tokens=2, deadline=0.05)


@pytest.mark.slow
def test_requests_may_be_cancelled_and_generators_closed_at_any_time(endless_bundle: Path) -> None:
    """While grammars are compiled and masks are filled; threads and memory go with them."""
    for round_ in range(6):
        generator = Generator(endless_bundle, backend="native", threads=1)
        asked = [SamplingParams(grammar=Grammar.regex(f"[a-z]{{{i + 2000}}}"), max_tokens=3000) for i in range(8)]
        streams = [generator.stream("a", params, n=2) for params in asked]
        streams.append(generator.stream("a", grammar=SLOW))
        if round_ % 2:
            for stream in streams[:4]:
                next(iter(stream))
                stream.close()
        generator.close()
        for stream in streams[4:]:
            with pytest.raises((CancelledError, ClosedError)):
                stream.result  # noqa: B018


@pytest.mark.slow
@pytest.mark.parametrize(
    "grammar",
    [
        Grammar.regex("(a|b)?" * 2600),
        Grammar.regex("(a{1,1000}){1,1000}"),
        Grammar.regex("(" * 5000 + "a" + ")" * 5000),
        Grammar.lark("start: " + "(" * 9000 + '"a"' + ")" * 9000),
        Grammar.lark("start: r0\n" + "".join(f'r{i}: "x" r{i + 1}\n' for i in range(3500)) + 'r3500: "y"\n'),
        Grammar.lark("start: A0\n" + "".join(f'A{i}: "x" A{i + 1}\n' for i in range(3500)) + 'A3500: "y"\n'),
        Grammar.json_schema('{"items":' * 900 + "{}" + "}" * 900),
        Grammar.json_schema({"$defs": {f"d{i}": {"allOf": [{"$ref": f"#/$defs/d{i + 1}"}]} for i in range(20000)} | {
            "d20000": {"type": "null"}}, "$ref": "#/$defs/d0"}),
        Grammar.json_schema({"enum": [f"value {i}" for i in range(30000)]}),
        Grammar.json_schema({"allOf": [{"anyOf": [{"required": [f"{i}{j}"]} for j in range(3)]} for i in range(12)]}),
        Grammar.choice([f"option {i}" for i in range(20000)]),
    ],
    ids=range(11),
)  # fmt: skip
def test_a_hostile_grammar_ends_or_is_refused(native: Generator, grammar: Grammar) -> None:
    """Neither the process nor the others suffer: deep rules, huge alternatives, exponential repetitions."""
    other = native.stream("x", max_tokens=30, ignore_eos=True, seed=3)
    try:
        native.generate("a", grammar=grammar, max_tokens=20, deadline=30)
    except DeadlineExceededError:
        raise
    except SkyworkError as error:
        assert "gramm" in str(error), error
    assert len(other.result.outputs[0].token_ids) == 30
