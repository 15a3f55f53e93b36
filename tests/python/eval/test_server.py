"""Evaluating a server answers as evaluating its model does, through real HTTP and httpx, whatever the server lacks."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from completions_server import Manners, serving
from question_sets import files_of, write_directory

from skywork_rt import BackendError, Generator, InvalidArgumentError
from skywork_rt.bundle.info import BundleInfo
from skywork_rt.cli.app import run
from skywork_rt.evaluate.letters import letters_of_tokenizer
from skywork_rt.evaluate.model_scorer import ModelScorer
from skywork_rt.evaluate.prompts import PromptParts, prompts_of
from skywork_rt.evaluate.questions import read_task
from skywork_rt.evaluate.scorer import Scored, best_choice
from skywork_rt.evaluate.server_client import ServerClient
from skywork_rt.evaluate.server_scorer import ServerScorer
from skywork_rt.evaluate.tasks import TASKS
from skywork_rt.text.tokenizer import load_tokenizer

COUNTS = {"anatomy": 6, "marketing": 3}


@pytest.fixture(scope="module")
def generator(endless_bundle: Path) -> Iterator[Generator]:
    # Every letter of a random model is among its 512 best tokens.
    with Generator(endless_bundle, backend="native", max_length=2048, max_batch=4, max_logprobs=-1) as opened:
        yield opened


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_directory(tmp_path_factory.mktemp("mmlu"), files_of("mmlu", COUNTS))


@pytest.fixture(scope="module")
def prompts(data: Path) -> list[PromptParts]:
    task = TASKS["mmlu"]
    entries = read_task(task, data, task.chosen(list(COUNTS)), "test", 2, None)
    return [parts for entry in entries for parts in prompts_of(task, entry)]


@pytest.fixture(scope="module")
def expected(generator: Generator, prompts: list[PromptParts]) -> list[Scored]:
    return list(ModelScorer(generator, {}).score(prompts))


def score(
    generator: Generator, manners: Manners, prompts: list[PromptParts], **options: int
) -> tuple[list[Scored], str]:
    with serving(generator, manners) as url:
        client = ServerClient(url, pause=0.01, attempts=3)
        try:
            scorer = ServerScorer(client, None, **options)
            found = list(scorer.score(iter(prompts)))
            return found, " ".join(scorer.notes(found))
        finally:
            client.close()


def assert_equal(found: list[Scored], expected: list[Scored]) -> None:
    assert [scored.shots for scored in found] == [scored.shots for scored in expected]
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.logprobs == pytest.approx(theirs.logprobs, abs=1e-5)


def test_the_best_tokens_have_all_letters(
    generator: Generator, prompts: list[PromptParts], expected: list[Scored], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("skywork_rt.evaluate.server_scorer._MOST_LOGPROBS", (511,))
    manners = Manners(most_logprobs=511, echoes=False)
    found, notes = score(generator, manners, prompts, concurrency=3)
    assert_equal(found, expected)
    assert "lacked a letter" not in notes
    assert manners.seen["/v1/completions"] == len(prompts)
    assert manners.most_at_once <= 3


def test_letters_that_are_not_among_the_best_are_echoed(
    generator: Generator, prompts: list[PromptParts], expected: list[Scored]
) -> None:
    found, notes = score(generator, Manners(most_logprobs=5), prompts)
    assert_equal(found, expected)
    assert f"For {len(prompts)} questions the server's best tokens lacked a letter" in notes
    assert "For 0 it stays unknown" in notes


@pytest.mark.slow
def test_a_server_that_takes_ids_is_asked_once(
    generator: Generator, prompts: list[PromptParts], expected: list[Scored]
) -> None:
    manners = Manners(names_ids=True)
    found, notes = score(generator, manners, prompts)
    assert [scored.logprobs for scored in found] == [scored.logprobs for scored in expected], "the same bits"
    assert manners.seen["/v1/completions"] == len(prompts)
    assert "lacked a letter" not in notes
    few = Manners(names_ids=True, most_logprobs=5)  # ids are not what it refuses
    found, notes = score(generator, few, prompts, concurrency=1)
    assert [scored.logprobs for scored in found] == [scored.logprobs for scored in expected]
    assert few.seen["/v1/completions"] == len(prompts) + 2, "20 and 10 best ones were asked for once"
    assert "lacked a letter" not in notes
    refusing = Manners(names_ids=False, most_logprobs=5)
    found, notes = score(generator, refusing, prompts, concurrency=1)
    assert_equal(found, expected)
    assert "lacked a letter" in notes


@pytest.mark.parametrize("manners", [Manners(echoes=False), Manners(refuses_echo=True)], ids=["ignored", "refused"])
def test_without_echo_unknown_letters_are_said(
    generator: Generator, prompts: list[PromptParts], expected: list[Scored], manners: Manners
) -> None:
    found, notes = score(generator, manners, prompts)
    assert f"For {len(prompts)} it stays unknown" in notes
    known = 0
    for ours, theirs in zip(found, expected, strict=True):
        pairs = [pair for pair in zip(ours.logprobs, theirs.logprobs, strict=True) if pair[0] is not None]
        assert all(a == pytest.approx(b, abs=1e-5) for a, b in pairs)
        if pairs:  # the best of all letters is among them
            known += 1
            assert best_choice(ours) == best_choice(theirs)
        else:
            assert not ours.answered
    assert known == sum(scored.answered for scored in found)


@pytest.mark.slow
def test_too_long_prompts_lose_examples(generator: Generator, prompts: list[PromptParts]) -> None:
    lengths = [[len(generator.encode(parts.text(shots))) for shots in range(3)] for parts in prompts]
    longest = max(length[1] for length in lengths)  # two examples fit some, one fits all
    found, _ = score(generator, Manners(longest=longest, echoes=False), prompts)
    assert [scored.shots for scored in found] == [2 if length[2] <= longest else 1 for length in lengths]
    assert {scored.shots for scored in found} != {2}
    nothing, _ = score(generator, Manners(longest=3), prompts)
    assert all(not scored.answered and scored.shots == 0 for scored in nothing)


def test_what_passes_is_tried_again_and_what_does_not_is_told(
    generator: Generator, prompts: list[PromptParts], expected: list[Scored]
) -> None:
    manners = Manners(failures=[503, 429], echoes=False)
    found, _ = score(generator, manners, prompts[:1], concurrency=1)
    assert found[0].shots == 2 and not manners.failures
    with pytest.raises(BackendError, match=r"did not answer in 3 attempts; the last one: status 500: busy"):
        score(generator, Manners(failures=[500] * 3), prompts[:1])
    with pytest.raises(InvalidArgumentError, match=r"answered 401: no key: name the environment variable"):
        score(generator, Manners(key="secret"), prompts[:1])
    with pytest.raises(InvalidArgumentError, match="has 2 models: name one with --model: a, b"):
        score(generator, Manners(models=("a", "b")), prompts[:1])
    with pytest.raises(InvalidArgumentError, match="answered 418"):
        score(generator, Manners(failures=[418]), prompts[:1])
    client = ServerClient("http://127.0.0.1:9", pause=0.01, attempts=2)
    with pytest.raises(BackendError, match=r"ConnectError.*Is the server running"):
        client.run(client.get("/models"))
    client.close()
    with pytest.raises(InvalidArgumentError, match="must begin with http"):
        ServerClient("localhost:8000")
    with pytest.raises(InvalidArgumentError, match="NO_SUCH_KEY of --api-key-env is not set"):
        ServerClient("http://localhost:8000", "NO_SUCH_KEY")


@pytest.mark.slow
def test_the_command_line_evaluates_a_server(
    generator: Generator,
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MY_KEY", "secret")
    arguments = ["eval", "mmlu", "-d", str(data), "--subjects", ",".join(COUNTS), "-o", str(tmp_path / "out")]
    with serving(generator, Manners(key="secret")) as url:
        assert run([*arguments, "--url", url + "/v1/", "--api-key-env", "MY_KEY", "--concurrency", "2"]) == 0
        assert (tmp_path / "out" / "marketing.csv").exists()
        assert "stays unknown" in capsys.readouterr().out
        assert run([*arguments, "--url", url, "--threads", "2"]) == 2
        assert "--threads say how a MODEL is opened" in capsys.readouterr().err
        assert run(arguments) == 2
        assert "give a MODEL or a server's --url" in capsys.readouterr().err
        assert run([*arguments, str(data), "--model", "x", "--concurrency", "2"]) == 2
        assert "--model, --concurrency: only with --url" in capsys.readouterr().err


@pytest.mark.slow
def test_letters_with_and_without_a_space_are_not_mixed(smollm2_bundle: Path, data: Path) -> None:
    """SmolLM2 has both, and after "Answer:" the one with a space is far likelier; the recipe's has none."""
    task = TASKS["mmlu"]
    entries = read_task(task, data, task.chosen(["anatomy"]), "test", 1, 1)
    asked = list(prompts_of(task, entries[0]))
    with Generator(smollm2_bundle, backend="native", weights="int4", max_length=1024) as smollm2:
        expected = list(ModelScorer(smollm2, {}).score(asked))
        (spaced,) = smollm2.encode(" A")
        best = smollm2.generate(asked[0].text(1), max_tokens=1, temperature=0, logprobs=20).logprobs
        assert best is not None and spaced in best[0], "or the test would show nothing"
        for manners in (Manners(), Manners(tokenizes=False)):
            found, notes = score(smollm2, manners, asked)
            assert_equal(found, expected)
            assert ("route /tokenize" in notes) and ("name its tokenizer" in notes) != manners.tokenizes


def test_letters_are_known_by_the_vocabulary(tiny_bundle: Path) -> None:
    class Spaced:
        """A vocabulary as Llama's: a letter is one piece with its space."""

        def encode(self, text: str, *, add_special_tokens: bool | None = None) -> list[int]:
            return [ord(text)]

        def token(self, token_id: int) -> str:
            return "▁" + chr(token_id)

    letters = letters_of_tokenizer(Spaced())  # type: ignore[arg-type]  # no more of it is asked
    assert letters.space and letters.text("B") == " B"
    assert letters.find({"A": -1.0, " A": -2.0}, "A") == -2.0
    assert letters.find({"A": -1.0, "▁A": -3.0}, "A") == -3.0
    assert letters.find({"A": -1.0}, "A") is None
    tokenizer = load_tokenizer(BundleInfo.open(tiny_bundle))
    assert tokenizer is not None
    assert letters_of_tokenizer(tokenizer).find({"ĠA": -3.0, "A": -1.0}, "A") == -1.0


@pytest.mark.slow
def test_ctrl_c_does_not_wait_for_a_server_that_hangs(data: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        arguments = ["mmlu", "-d", data, "--subjects", "anatomy", "-o", tmp_path / "out", "--url", url, "--model", "x"]
        command = [sys.executable, "-m", "skywork_rt", "eval", *map(str, arguments)]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        connection, _ = silent.accept()  # it has asked
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=30)
        connection.close()
    assert process.returncode == 130
    assert told.strip().endswith("interrupted") and "Traceback" not in told
