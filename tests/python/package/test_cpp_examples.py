"""The C++ examples, built as a user would against the installed package, give what Python gives."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import skywork_rt

PROMPTS = [[5, 6, 7], [8], list(range(20, 60)), [9, 9, 9, 9]]
EXAMPLES = Path(__file__).parents[3] / "examples"


def _tool(name: str) -> str:
    """A program of this environment, or of the machine."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    assert found is not None, f"{name} is missing: pip install {name}"
    return found


def _build(example: str, directory: Path, parent: Path = EXAMPLES) -> Path:
    where = subprocess.run(
        [sys.executable, "-m", "skywork_rt", "--cmakedir"], check=True, capture_output=True, text=True
    )
    configure = [_tool("cmake"), "-S", str(parent / example), "-B", str(directory), "-DCMAKE_BUILD_TYPE=Release"]
    configure += [f"-Dskywork_rt_DIR={where.stdout.strip()}", "-DCMAKE_CXX_FLAGS=-Wall -Wextra -Werror"]
    for command in (configure, [_tool("cmake"), "--build", str(directory)]):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    return directory / example


@pytest.fixture(scope="module")
def expected(tiny_bundle: Path) -> list[list[int]]:
    """Greedy ids of PROMPTS, alone, through Python."""
    with skywork_rt.Generator(tiny_bundle) as generator:
        params = skywork_rt.SamplingParams(temperature=0, max_tokens=20)
        return [list(generator.generate(prompt, params).token_ids) for prompt in PROMPTS]


def test_hello_prints_the_ids_that_python_generates(
    tmp_path: Path, tiny_bundle: Path, expected: list[list[int]]
) -> None:
    program = _build("cpp_hello", tmp_path)
    command = [str(program), str(tiny_bundle), *map(str, PROMPTS[0])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [int(word) for word in done.stdout.splitlines()[-1].split()] == expected[0]


def test_a_mask_of_ones_own_leaves_the_choice_to_the_model(tmp_path: Path, tiny_bundle: Path) -> None:
    """It takes the choice that begins with the likelier token, and ends with it."""
    program = _build("cpp_choices", tmp_path)
    choices = [[40, 41], [50], [50, 51, 52]]
    with skywork_rt.Generator(tiny_bundle) as generator:
        params = skywork_rt.SamplingParams(temperature=0, max_tokens=1, logprob_token_ids=[40, 50])
        (rows,) = generator.generate(PROMPTS[0], params).outputs[0].logprobs or []
        eos = generator.model.eos_ids
    command = [str(program), str(tiny_bundle), *(",".join(map(str, ids)) for ids in [PROMPTS[0], *choices])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    *chosen, end = [int(word) for word in done.stdout.split()]
    assert chosen in choices and end in eos
    assert chosen[0] == (40 if rows[40].logprob > rows[50].logprob else 50)


@pytest.fixture(scope="module")
def at_exit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program that exits with its generator alive."""
    return _build("at_exit", tmp_path_factory.mktemp("at_exit"), Path(__file__).parent)


@pytest.mark.parametrize("state", ["idle", "running"])
@pytest.mark.parametrize("place", ["global", "local"])
def test_a_program_may_exit_with_its_generator_alive(
    at_exit: Path, endless_bundle: Path, backend: str, place: str, state: str
) -> None:
    """Whether statics of the libraries below are destroyed before it or after it, and in the midst of an answer."""
    for _ in range(3):  # what depends on threads shows now and then
        command = [str(at_exit), str(endless_bundle), backend, place, state]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert (done.returncode, done.stdout, done.stderr) == (0, "generated\n", "")


@pytest.fixture
def service(tmp_path: Path, tiny_bundle: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """cpp_service on a free port."""
    program = _build("cpp_service", tmp_path)
    command = [str(program), str(tiny_bundle)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        found = re.match(r"port (\d+)", process.stdout.readline())
        assert found is not None
        yield process, int(found[1])
        process.kill()


def _ask(port: int, prompt: list[int], max_tokens: int) -> list[str]:
    with socket.create_connection(("127.0.0.1", port)) as connection, connection.makefile("rw") as stream:
        stream.write(" ".join(map(str, [max_tokens, *prompt])) + "\n")
        stream.flush()
        lines: list[str] = []
        while not lines or lines[-1].split()[0] == "tokens":
            lines.append(stream.readline())
        return lines


def test_service_answers_clients_at_once_each_with_its_own_ids(
    service: tuple[subprocess.Popen[str], int], expected: list[list[int]]
) -> None:
    process, port = service
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda i: _ask(port, PROMPTS[i % 4], 20), range(32)))
    for i, lines in enumerate(answers):
        assert [int(word) for line in lines[:-1] for word in line.split()[1:]] == expected[i % 4]
        assert lines[-1].startswith("done ")
    assert _ask(port, [10**9], 5)[-1].startswith("error invalid_argument ")
    with socket.create_connection(("127.0.0.1", port)) as leaver:  # goes away in the middle of its answer
        leaver.sendall(b"60 5 6 7\n")
        leaver.recv(1)
    assert _ask(port, PROMPTS[1], 20)[-1].startswith("done ")
    output, _ = process.communicate(timeout=60)  # closes its standard input
    assert re.search(r"served \d+ requests", output)
    assert process.returncode == 0
