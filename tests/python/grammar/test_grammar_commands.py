"""Grammars on the command line: `generate` and `bench grammar`."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer", "minimum": 0, "maximum": 99}}, "required": ["a"]}
SCHEMA["additionalProperties"] = False
QUIET = ("--backend", "native", "--threads", "1")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "skywork_rt", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_generate_keeps_to_a_file_or_an_expression(tiny_bundle: Path, tmp_path: Path) -> None:
    schema, grammar = tmp_path / "schema.json", tmp_path / "words.gbnf"
    schema.write_text(json.dumps(SCHEMA))
    grammar.write_text('root ::= word " " word\nword ::= [a-z]{3}\n')
    wanted = (("--json-schema", str(schema)), ("--regex", "[0-9]{3}-[0-9]{4}"), ("--grammar", str(grammar)))
    answers = []
    for option in wanted:
        done = run("generate", str(tiny_bundle), "a", "--json", "--seed", "1", *option, *QUIET)
        assert done.returncode == 0, done.stderr
        answers.append(json.loads(done.stdout)["outputs"][0]["text"])
    jsonschema.validate(json.loads(answers[0]), SCHEMA)
    assert re.fullmatch("[0-9]{3}-[0-9]{4}", answers[1])
    assert re.fullmatch("[a-z]{3} [a-z]{3}", answers[2])


def test_what_is_no_grammar_is_told_before_the_model_is_loaded(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text("[1")
    nowhere = tmp_path / "nowhere"
    for options, reason in (
        (("--json-schema", str(nowhere)), "--json-schema: .*nowhere' cannot be read as text"),
        (("--json-schema", str(wrong)), "no JSON"),
        (("--regex", "a", "--grammar", str(wrong)), "--regex and --grammar are given"),
        (("--regex", "a", "--num-beams", "2", "--temperature", "0"), "a grammar follows samples, not beams"),
    ):
        done = run("generate", str(nowhere), "a", *options)
        assert done.returncode == 2 and re.search(reason, done.stderr), done.stderr


@pytest.mark.slow
def test_bench_grammar_measures_free_and_constrained_rows(endless_bundle: Path, tmp_path: Path) -> None:
    document = tmp_path / "rows.json"
    options = ("--rows", "2", "--tokens", "16", "--repeat", "1", "--threads", "1", "--json", str(document))
    done = run("bench", "grammar", str(endless_bundle), *options)
    assert done.returncode == 0, done.stderr
    rows = {row["metric"]: row["median"] for row in json.loads(document.read_text())["rows"]}
    for case in ("free", "schema", "regex"):
        assert rows[f"{case}_tokens_per_second"] > 0 and rows[f"{case}_choosing_us"] > 0
    assert rows["schema_compile_ms"] > 0 and rows["mask_p99_us"] >= rows["mask_p50_us"] > 0
    assert "of the free tokens a second" in done.stdout
