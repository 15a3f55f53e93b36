"""What a grammar costs: the same requests free and constrained, in turns, in one process."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from skywork_rt.api.generator import Generator
from skywork_rt.api.params import SamplingParams
from skywork_rt.bench.rows import Row, make_row
from skywork_rt.errors import InvalidArgumentError, UnsupportedError
from skywork_rt.grammar.grammar import Grammar

__all__ = ["batches", "check_counts", "measure_grammars"]

_PROMPT = "A list of people, as JSON:\n"
_SCHEMA: dict[str, Any] = {
    "type": "array",
    "minItems": 40,
    "maxItems": 40,
    "items": {
        "type": "object",
        "properties": {
            "name": {"type": "string", "minLength": 3, "maxLength": 20},
            "age": {"type": "integer", "minimum": 18, "maximum": 99},
            "city": {"enum": ["Beijing", "Shanghai", "Xi'an", "Lanzhou", "Wuhan"]},
            "tags": {"type": "array", "items": {"type": "string", "maxLength": 12}, "maxItems": 3},
        },
        "required": ["name", "age", "city", "tags"],
        "additionalProperties": False,
    },
}
"""Longer than an output: every row makes max_tokens tokens, as the free ones do."""
_REGEX = r"([A-Z][a-z]{2,12} [0-9]{1,3}(\.[0-9]+)?\n){400}"


@dataclass
class _Case:
    """One kind of output, and what was seen of it."""

    name: str
    grammar: Grammar | None
    rates: list[float] = field(default_factory=list)
    """Tokens a second over all rows."""
    choosing: list[float] = field(default_factory=list)
    """Engine seconds a token of choosing, its mask included."""
    waits: list[float] = field(default_factory=list)
    """Times a hundred tokens that a row sat a step out."""
    saved: list[float] = field(default_factory=list)
    """Steps that guesses saved, a hundred tokens."""


def measure_grammars(
    generator: Generator, rows: int, tokens: int, repeats: int, report: Callable[[], None]
) -> tuple[list[Row], list[str]]:
    """Rows of the measurement, and sentences that compare. `report` is called after each batch."""
    cases = [_Case("free", None), _Case("schema", Grammar.json_schema(_SCHEMA)), _Case("regex", Grammar.regex(_REGEX))]
    compile_ms = {case.name: _compile_ms(generator, case.grammar) for case in cases if case.grammar is not None}
    runtime = f"skywork_rt:{generator.options['backend']}"
    _run(generator, cases[0], rows, min(tokens, 8))  # everything is in its place
    cases[0] = _Case("free", None)
    for _ in range(repeats):
        for case in cases:
            _run(generator, case, rows, tokens)
            report()
    stats = generator.grammar_stats()
    made: list[Row] = []
    for case in cases:
        made.append(make_row(runtime, "none", 0.0, f"{case.name}_tokens_per_second", "tok/s", case.rates))
        made.append(make_row(runtime, "none", 0.0, f"{case.name}_choosing_us", "us", case.choosing))
        if case.grammar is not None:
            made.append(make_row(runtime, "none", 0.0, f"{case.name}_waits_per_100_tokens", "1", case.waits))
            made.append(make_row(runtime, "none", 0.0, f"{case.name}_saved_steps_per_100_tokens", "1", case.saved))
            made.append(make_row(runtime, "none", 0.0, f"{case.name}_compile_ms", "ms", [compile_ms[case.name]]))
    for share in ("p50", "p99"):
        made.append(make_row(runtime, "none", 0.0, f"mask_{share}_us", "us", [1e6 * stats[f"mask_{share}_seconds"]]))
    return made, list(_sentences(made, runtime))


def _compile_ms(generator: Generator, grammar: Grammar) -> float:
    """Of a grammar that was not asked for before; the first one brings the library and the vocabulary."""
    if generator.grammar_stats()["compiled"] == 0:
        _compile(generator, Grammar.regex("warm"))
    began = time.perf_counter()
    _compile(generator, grammar)
    return 1e3 * (time.perf_counter() - began)


def _compile(generator: Generator, grammar: Grammar) -> None:
    while not generator.compile_grammar(grammar):
        time.sleep(0.0002)


def _run(generator: Generator, case: _Case, rows: int, tokens: int) -> None:
    params = [
        SamplingParams(max_tokens=tokens, temperature=1.0, seed=seed, grammar=case.grammar, ignore_eos=True)
        for seed in range(rows)
    ]
    before, waited = generator.stats(), generator.grammar_stats()["waits"]
    began = time.perf_counter()
    results = generator.generate([_PROMPT] * rows, params)
    seconds = time.perf_counter() - began
    after = generator.stats()
    made = sum(len(output.token_ids) for result in results for output in result.outputs)
    if made == 0:
        raise UnsupportedError("no token was made, so there is nothing to measure")
    case.rates.append(made / seconds)
    case.choosing.append(1e6 * (after["sampling_seconds"] - before["sampling_seconds"]) / made)
    case.waits.append(100 * (generator.grammar_stats()["waits"] - waited) / made)
    case.saved.append(100 * max(0.0, 1 - rows * (after["steps"] - before["steps"]) / made))


def _sentences(rows: list[Row], runtime: str) -> Iterator[str]:
    medians = {row.metric: row.median for row in rows if row.runtime == runtime}
    free, rate = medians["free_choosing_us"], medians["free_tokens_per_second"]
    for name in ("schema", "regex"):
        share = 100 * medians[f"{name}_tokens_per_second"] / rate
        more = medians[f"{name}_choosing_us"] - free
        yield (
            f"{name}: {share:.0f}% of the free tokens a second; the engine's thread takes {more:.0f} us more a token, "
            f"and the grammar compiled in {medians[f'{name}_compile_ms']:.1f} ms"
        )
    yield f"a mask takes {medians['mask_p50_us']:.0f} us (median) to {medians['mask_p99_us']:.0f} us (p99), beside it"


def check_counts(rows: int, tokens: int, generator: Generator) -> None:
    """Refuses more than the generator holds at once, which would measure its queue."""
    most = generator.options["max_batch"]
    if rows > most:
        raise InvalidArgumentError(f"--rows is {rows}, but at most {most} run at once")
    if tokens + 32 > generator.max_length:
        raise InvalidArgumentError(f"--tokens is {tokens}, but the model's length is {generator.max_length}")


def batches(repeats: int) -> int:
    """How often `report` is called."""
    return 3 * repeats
