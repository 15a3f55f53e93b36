"""Questions a second of an evaluation: ours, and transformers' own loop beside it in the same run."""

from __future__ import annotations

import contextlib
import json
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import skywork_rt
from skywork_rt.bench.rows import Row, make_row
from skywork_rt.bench.runner import Report
from skywork_rt.bench.stats import median_ratio
from skywork_rt.bench.subjects import Subject
from skywork_rt.errors import BackendUnavailableError
from skywork_rt.evaluate.model_scorer import ModelScorer
from skywork_rt.evaluate.prompts import PromptParts
from skywork_rt.evaluate.scorer import best_choice

__all__ = ["METRIC", "TRANSFORMERS", "QuestionRates", "TransformersPeer", "measure_questions"]

METRIC = "eval_questions"
TRANSFORMERS = "peer:transformers"
_WANTED = 5.0  # times transformers' loop, at least
_SCRIPT = Path(__file__).parent / "drivers" / "transformers_questions.py"
_LAST_WORDS = 600


class TransformersPeer:
    """transformers in a process of another environment's Python. Raises BackendUnavailableError, with the reason."""

    def __init__(self, python: Path, model: Path, threads: int) -> None:
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115  # closed in __exit__
        try:
            self._process = subprocess.Popen(
                [str(python), "-I", str(_SCRIPT)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._stderr
            )
        except OSError as error:
            self._stderr.close()
            raise BackendUnavailableError(
                f"{python} does not start ({error.strerror}): --peer-python must be the Python of an environment with "
                "torch and transformers"
            ) from error
        try:
            self._ask({"model": str(model.absolute()), "threads": threads})
        except BaseException:
            self._end()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._process.kill()
        self._end()

    def run(self, prompts: Sequence[str]) -> tuple[float, list[str]]:
        """Seconds, and the letters that were chosen."""
        answer = self._ask({"prompts": list(prompts)})
        return float(answer["seconds"]), list(answer["choices"])

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None and stdout is not None, "both are pipes"
        with contextlib.suppress(BrokenPipeError):  # its end is noticed below
            stdin.write(json.dumps(request).encode() + b"\n")
            stdin.flush()
        line = stdout.readline()
        answer: dict[str, Any] = json.loads(line) if line else {"error": self._last_words()}
        if "error" in answer:
            raise BackendUnavailableError(
                f"transformers' loop failed: {answer['error']}; --peer-python must be the Python of an environment "
                "with torch and transformers (and gguf for a GGUF file)"
            )
        return answer

    def _last_words(self) -> str:
        self._process.wait()
        self._stderr.seek(0)
        said = " ".join(self._stderr.read().decode("utf-8", "replace")[-_LAST_WORDS:].split())
        return f"its process ended with status {self._process.returncode}. {said}"

    def _end(self) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None, "both are pipes"
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()
        self._stderr.close()


@dataclass
class QuestionRates:
    """Questions a second, one entry a repeat; those of one repeat were measured right after another."""

    subject: Subject
    questions: int
    ours: list[float] = field(default_factory=list)
    theirs: list[float] = field(default_factory=list)
    equal: int = 0
    """Questions that both gave the same answer to."""

    def rows(self) -> list[Row]:
        head = (self.subject.runtime, self.subject.weights, self.subject.bits_per_weight)
        rows = [make_row(*head, METRIC, "questions/s", self.ours)]
        if self.theirs:
            rows.append(make_row(TRANSFORMERS, "f32/f32", 32.0, METRIC, "questions/s", self.theirs))
        return rows

    def comparisons(self) -> list[str]:
        if not self.theirs:
            return []
        return [
            f"{self.subject.label}: {median_ratio(self.ours, self.theirs):.1f} times the questions a second of "
            f"transformers' loop (wanted: at least {_WANTED:g}); {self.equal} of {self.questions} answers are the same"
        ]


def measure_questions(
    bundle: Path,
    subject: Subject,
    prompts: Sequence[PromptParts],
    threads: int,
    repeats: int,
    peer: TransformersPeer | None,
    report: Report,
) -> QuestionRates:
    """All prompts, with all their examples, by one and by the other, in turns.

    Every repeat opens our model anew, which is not timed, so that no repeat finds prompts in its cache.
    """
    rates = QuestionRates(subject, len(prompts))
    for repeat in range(repeats):
        report("measuring", repeat, repeats)
        seconds, ours = _run_ours(bundle, subject, prompts, threads)
        rates.ours.append(len(prompts) / seconds)
        if peer is not None:
            seconds, theirs = peer.run([parts.text(len(parts.examples)) for parts in prompts])
            rates.theirs.append(len(prompts) / seconds)
            rates.equal = sum(a == b for a, b in zip(ours, theirs, strict=True))
    report("measuring", repeats, repeats)
    return rates


def _run_ours(
    bundle: Path, subject: Subject, prompts: Sequence[PromptParts], threads: int
) -> tuple[float, list[str | None]]:
    options: dict[str, Any] = dict(subject.options)
    with skywork_rt.Generator(bundle, **options, threads=threads) as generator:
        scorer = ModelScorer(generator, {})
        generator.generate([0], temperature=0.0, max_tokens=1, ignore_eos=True)
        started = time.perf_counter()
        choices = [best_choice(scored) for scored in scorer.score(prompts)]
        return time.perf_counter() - started, choices
