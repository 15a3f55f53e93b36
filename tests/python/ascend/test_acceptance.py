"""examples/ascend_acceptance.sh and .py, as someone with a card runs them, but on the processor."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from ascend_acceptance import NEW_TOKENS, Compared, _compare, report
from mindir_bytes import caches, rows_inputs, write_mindir

from bundles import tiny_source
from skywork_rt import CompletionOutput, Logprob
from skywork_rt.export.adopt import adopt

SCRIPT = Path(__file__).parents[3] / "examples" / "ascend_acceptance.sh"
QUESTIONS = (
    "id,question,A,B,C,D,answer,explanation\r\n0,水的化学式是什么？,H2O,CO2,NaCl,O2,A,因为如此\r\n"
    "1,一年有多少个月？,10,11,12,13,C,因为如此\r\n"
)


def environment(**variables: str) -> dict[str, str]:
    own = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], "ON": "native"}
    return own | {"SKYWORK_RT": f"{sys.executable} -m skywork_rt", **variables}


def run(*arguments: Path | str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [str(SCRIPT), *map(str, arguments)]
    return subprocess.run(
        command, env=environment(**variables), capture_output=True, text=True, timeout=300, check=False
    )


def interrupt_at(step: str, *arguments: Path, **variables: str) -> tuple[int, str]:
    """Ctrl-C while the step runs: the status, and all that was said."""
    command = [str(SCRIPT), *map(str, arguments)]
    with subprocess.Popen(
        command, env=environment(**variables), start_new_session=True, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        said = ""
        for line in process.stderr:
            said += line
            if line == f"== {step}\n":
                os.killpg(process.pid, signal.SIGINT)
        return process.wait(timeout=60), said


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random checkpoint with a tokenizer, long enough for the published table and five-shot questions."""
    return tiny_source(tmp_path_factory.mktemp("model"), max_length=1536)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two questions of one subject of C-Eval."""
    folder = tmp_path_factory.mktemp("data")
    for split in ("dev", "val"):
        (folder / "ceval" / split).mkdir(parents=True)
        (folder / "ceval" / split / f"law_{split}.csv").write_text(QUESTIONS, encoding="utf-8", newline="")
    return folder


@pytest.mark.slow
def test_every_step_is_in_the_report_and_what_is_there_is_not_made_again(
    model: Path, data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out with a space"
    options = {"DATA": str(data), "EVAL_OPTIONS": "--subjects law --shots 2"}
    status, said = interrupt_at("export", model, out, **options)
    assert (status, said.splitlines()[-1]) == (130, "interrupted: the same command goes on where it was")
    assert "== parity" not in said
    assert not (out / "report.md").exists()

    broken = run(model, out, **options, PYTHON="false")
    assert broken.returncode == 1, broken.stderr
    written = (out / "report.md").read_text(encoding="utf-8")
    assert "**Failed: parity.**" in written
    assert "## parity (failed)" in written
    for part in ("machine", "export", "table", "bound", "ceval"):
        assert f"\n## {part}\n" in written
    assert "new_32 " in written
    assert not list(out.glob("*.partial"))

    mended = run(model, out, **options)
    assert mended.returncode == 0, mended.stderr
    assert [line for line in mended.stderr.splitlines() if line.startswith("==")] == ["== parity"]
    assert mended.stdout == f"{out}/report.md\n"
    written = (out / "report.md").read_text(encoding="utf-8")
    assert "Every step passed." in written
    assert "failed" not in written
    assert "8 of 8 prompts pass, 0 of them after a near tie." in written

    other = run(model, out, **options, WEIGHTS="int8")
    assert other.returncode == 2
    assert "> processor's weights: int8" in other.stderr
    assert "was made with other settings" in other.stderr


@pytest.mark.slow
def test_without_a_card_the_report_says_what_is_missing(
    tokenizer: Path, write_yaml: Callable[..., Path], tmp_path: Path
) -> None:
    parameters = caches(2, (1, 2, 64, 16)) | {"model.tok_embeddings.embedding_weight": ("float16", (512, 32))}
    graphs = [
        write_mindir(tmp_path / f"{new}.mindir", rows_inputs(1, new, 64), parameters, ["Assign"]) for new in (64, 1)
    ]
    out = tmp_path / "out"
    out.mkdir()
    adopt(*graphs, out / "bundle", tokenizer=tokenizer, config=write_yaml())
    done = run(tokenizer, out, ON="ascend")
    assert done.returncode == 1
    assert "warning: there is no Ascend card here" in done.stderr
    assert "Traceback" not in done.stderr
    written = (out / "report.md").read_text(encoding="utf-8")
    assert "**Failed: parity table.**" in written
    assert written.count("libge_runner.so of CANN are missing") == 2


@pytest.mark.parametrize(
    ("arguments", "variables", "words"),
    [
        (["model"], {}, "ascend_acceptance.sh CHECKPOINT OUT"),
        (["none", "out"], {}, "there is no checkpoint none"),
        ([".", "out"], {"ON": "lite"}, "ON is lite, but must be ascend or native"),
        ([".", "out"], {"DATA": "/nowhere"}, "DATA is /nowhere, where there is none of ceval, mmlu and cmmlu"),
        ([".", "out"], {"SKYWORK_RT": "no-such-command"}, "there is no command no-such-command"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_made(
    arguments: list[str], variables: dict[str, str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run(*arguments, **variables)
    assert done.returncode == 2
    assert words in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_its_help_names_every_variable() -> None:
    done = run("--help")
    assert done.returncode == 0
    for name in ("DATA", "BATCH", "WEIGHTS", "EXPORT_OPTIONS", "EVAL_OPTIONS", "ON", "REPEAT", "SKYWORK_RT", "PYTHON"):
        assert f"\n  {name}" in done.stdout


def answer(ids: list[int], rows: list[dict[int, float]]) -> CompletionOutput:
    logprobs = [{token: Logprob(value, 1) for token, value in row.items()} for row in rows]
    return CompletionOutput(0, "", ids, "length", None, logprobs, None)


CERTAIN = {7: -0.01, 8: -6.0}
EVEN = {7: -0.70, 8: -0.75, 9: -3.0}


@pytest.mark.parametrize(
    ("ours", "theirs", "expected", "passes"),
    [
        (([7, 7], [CERTAIN, EVEN]), ([7, 7], [CERTAIN, EVEN]), Compared("p", 2, None, 0.0), True),
        (([7, 8], [CERTAIN, {8: -0.7}]), ([7, 7], [CERTAIN, EVEN]), Compared("p", 1, 0.05, 0.0), True),
        (([7, 9], [CERTAIN, {9: -0.7}]), ([7, 7], [CERTAIN, EVEN]), Compared("p", 1, 2.3, 0.0), False),
        (([7, 5], [CERTAIN, {5: -0.7}]), ([7, 7], [CERTAIN, EVEN]), Compared("p", 1, math.inf, 0.0), False),
        # the other one ended here with its eos, 8
        (([7, 7], [CERTAIN, CERTAIN]), ([8], [{8: -0.2, 7: -1.7}]), Compared("p", 0, 1.5, 0.0), False),
        (([7], [{7: -0.5}]), ([7], [CERTAIN]), Compared("p", 1, None, 0.49), False),
        (([7], [{7: math.nan}]), ([7], [CERTAIN]), Compared("p", 1, None, math.nan), False),
    ],
)
def test_a_near_tie_passes_and_another_answer_does_not(
    ours: tuple[list[int], list[dict[int, float]]],
    theirs: tuple[list[int], list[dict[int, float]]],
    expected: Compared,
    passes: bool,
) -> None:
    found = _compare("p", answer(*ours), answer(*theirs))
    assert (found.prompt, found.equal) == (expected.prompt, expected.equal)
    assert found.gap == pytest.approx(expected.gap)
    assert found.worst == pytest.approx(expected.worst, nan_ok=True)
    table, passed = report([found], tie=0.1, tolerance=0.1)
    assert passed is passes
    assert f"{int(passes)} of 1 prompts pass" in table


def test_a_prompt_with_a_bar_does_not_break_the_table() -> None:
    table, _ = report([Compared("a|b\nc", NEW_TOKENS, None, 0.0)], tie=0.1, tolerance=0.1)
    assert "| a\\|b c | 64 | - | 0.0000 |  |" in table
