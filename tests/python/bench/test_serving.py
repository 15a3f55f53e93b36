"""`bench serve` on our own server, and on servers that fail in every way."""

from __future__ import annotations

import asyncio
import json
import math
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from skywork_rt.bench.process import BenchError
from skywork_rt.bench.rows import check_document
from skywork_rt.bench.serve_sim import Clock, at_once, poisson
from skywork_rt.bench.serving.calls import Call, Lengths, Shape, arrive, make_calls, parse_lengths, read_calls
from skywork_rt.bench.serving.client import Answer, Client
from skywork_rt.bench.serving.figures import summarise
from skywork_rt.bench.serving.limits import Limits, parse_limits
from skywork_rt.bench.serving.load import parse_loads, run_clients, run_rate
from skywork_rt.bench.serving.processes import ServerProcess, parse_cpus, process_tree
from skywork_rt.bench.serving.targets import free_port, parse_targets, wait_until_ready
from skywork_rt.cli.app import run
from skywork_rt.errors import InvalidArgumentError

ONE = Call("hello", 4)


@pytest.fixture(scope="module")
def server_url(tiny_bundle: Path) -> Iterator[str]:
    """Our own server, in a process of its own."""
    port = free_port()
    command = f"{sys.executable} -m skywork_rt serve m={tiny_bundle} --port {port} --threads 1 --backend native"
    url = f"http://127.0.0.1:{port}"

    async def ready(process: ServerProcess) -> None:
        async with Client(url, "", timeout=5) as client:
            await wait_until_ready(client, "ours", 60, process.check_alive)

    with ServerProcess("ours", command) as process:
        asyncio.run(ready(process))
        yield url


@pytest.mark.slow
def test_every_load_is_measured(server_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["bench", "serve", "--url", f"ours={server_url}", "--url", f"again={server_url}", "--clients", "1,3"]
    arguments += ["--rates", "50,inf", "--requests", "6", "--prompt-tokens", "50-90", "--output-tokens", "8"]
    files = ["--json", str(tmp_path / "rows.json"), "--plot", str(tmp_path / "plot.svg")]
    assert run([*arguments, *files, "--slo", "ttft=10s,e2e=20s", "--markdown", str(tmp_path / "told.md")]) == 0
    told = capsys.readouterr().out
    rows = check_document(json.loads((tmp_path / "rows.json").read_text()))
    found = {(row.runtime, row.metric): row.median for row in rows}
    for server in ("server:ours", "server:again"):
        for load in ("clients_1", "clients_3", "rate_50", "rate_inf"):
            assert found[server, f"{load}_errors"] == 0
            assert found[server, f"{load}_within_limits"] == 1
            ratio = found[server, f"{load}_throughput"] / found[server, f"{load}_requests"]
            assert ratio == pytest.approx(8), "the server counted 8 tokens an answer"
            assert 0 < found[server, f"{load}_ttft_p50"] <= found[server, f"{load}_e2e_p99"]
    assert told.count("6 of 6") == 8 and "(ours: usage; again: usage)" in told
    assert (tmp_path / "told.md").read_text().strip() == told.strip()
    assert (tmp_path / "plot.svg").stat().st_size > 1000


@pytest.mark.slow
def test_a_server_that_was_started_is_charged_and_ended(
    tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = process_tree(os.getpid())
    command = f"{sys.executable} -m skywork_rt serve m={tiny_bundle} --port {{port}} --threads 1 --backend native"
    arguments = ["bench", "serve", "--start", f"ours={command}", "--clients", "4", "--requests", "8", "--cpus", "0"]
    arguments += ["--chat", "--prompt-tokens", "100", "--output-tokens", "16", "--json", str(tmp_path / "rows.json")]
    assert run(arguments) == 0
    rows = {row.metric: row.median for row in check_document(json.loads((tmp_path / "rows.json").read_text()))}
    assert rows["clients_4_cpu_per_token"] > 0 and rows["clients_4_rss"] > 10
    assert "8 of 8" in capsys.readouterr().out
    assert process_tree(os.getpid()) == before


@pytest.mark.slow
def test_a_server_that_does_not_start_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    command = f"{sys.executable} -c 'raise SystemExit(\"no model {{port}}\")'"
    assert run(["bench", "serve", "--start", f"broken={command}"]) == 1
    assert "broken: the server ended with status 1: no model" in capsys.readouterr().err


# Servers that fail: no real one does so when it is asked to.

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def answering(raw: bytes | None) -> AsyncIterator[str]:
    """A server that answers every request with these bytes and closes; None: that says nothing."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if raw is None:
            await asyncio.sleep(5)
        else:
            writer.write(raw)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def http(body: bytes, status: str = "200 OK", length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    return f"HTTP/1.1 {status}\r\nContent-Length: {size}\r\nConnection: close\r\n\r\n".encode() + body


PIECE = b'data: {"choices": [{"text": "a"}]}\n\n'


@pytest.mark.parametrize(
    ("raw", "error"),
    [
        (http(b'{"error": {"message": "busy"}}', "429 Too Many Requests"), "http 429"),
        (http(b"oops", "500 Internal Server Error"), "http 500"),
        (http(PIECE), "cut"),
        (http(PIECE, length=1000), "cut"),
        (http(PIECE + b'data: {"error": {"code": "replica_lost"}}\n\n'), "in stream: replica_lost"),
        (http(b"data: [DONE]\n\n"), "no tokens"),
        (http(b"data: {nothing\n\n"), "not OpenAI's"),
        (b"HTTP", "connection"),
        (None, "timeout"),
    ],
)
async def test_what_fails_is_counted_by_its_kind(raw: bytes | None, error: str) -> None:
    async with answering(raw) as url, Client(url, "m", timeout=0.2) as client:
        answer = await client.call(ONE, Clock(), 0.0)
    assert answer.error == error and answer.message
    assert summarise([answer]).errors == {error: 1}


async def test_tokens_are_the_servers_count_or_else_pieces() -> None:
    usage = b'data: {"choices": [], "usage": {"completion_tokens": 7, "prompt_tokens": 3}}\n\n'
    for events, tokens, counted_by in ((PIECE * 2, 2, "pieces"), (PIECE * 2 + usage, 7, "usage")):
        async with answering(http(events + b"data: [DONE]\n\n")) as url, Client(url, "m", timeout=5) as client:
            answer = await client.call(ONE, Clock(), 0.0)
        assert (answer.error, answer.tokens, answer.counted_by) == (None, tokens, counted_by)


def test_figures_of_known_moments() -> None:
    slow = Answer(0.0, 0.1, [1.0, 2.0, 4.0], 4.0, tokens=4, counted_by="usage")
    fast = Answer(1.0, 1.0, [1.1, 1.2], 1.2, tokens=2, counted_by="usage")
    lost = Answer(2.0, 2.0, [2.1], 3.0, tokens=1, error="cut", message="why")
    figures = summarise([slow, fast, lost], Limits(ttft=0.5))
    assert figures.tokens_per_second == 6 / 4 and figures.requests_per_second == 2 / 4
    assert figures.ttft[50] == pytest.approx(100) and figures.ttft[99] == 1000
    assert figures.tpot[99] == pytest.approx(1000), "three tokens came in three seconds after the first"
    assert figures.itl[99] == 2000 and figures.e2e[99] == 4000
    assert figures.goodput == 1 / 4 and figures.within == pytest.approx(1 / 3)
    assert (figures.done, figures.errors, figures.first_error) == (2, {"cut": 1}, "why")


async def test_at_a_rate_nobody_waits_for_another() -> None:
    running = most = 0

    async def send(call: Call, clock: Clock, arrival: float) -> Answer:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.1)
        running -= 1
        return Answer(arrival, clock.now(), [clock.now()], clock.now(), 1)

    calls = [Call("x", 1, time=0.001 * i) for i in range(20)]
    answers = await run_rate(calls, send)
    assert most == 20 and [answer.arrival for answer in answers] == [call.time for call in calls]
    running = most = 0
    await run_clients(calls, 3, send)
    assert most == 3


def test_calls_are_those_of_the_simulation() -> None:
    """The same lengths, arrivals and vocabulary give both the same work."""
    calls = make_calls(Shape(Lengths(64, 64), Lengths(16, 512), 1000), 200, 5)
    simulated = at_once(200, 64, 1000, 5)
    assert {len(call.prompt) for call in calls} == {64}
    mean = sum(call.new_tokens for call in calls) / 200
    assert mean == pytest.approx(sum(arrival.new_tokens for arrival in simulated) / 200, rel=0.2)
    assert [call.time for call in arrive(calls, 3, 7)] == [arrival.time for arrival in poisson(simulated, 3, 7)]
    assert calls == make_calls(Shape(Lengths(64, 64), Lengths(16, 512), 1000), 200, 5)


def test_groups_share_the_start_of_their_prompts() -> None:
    calls = make_calls(Shape(Lengths(50, 50), Lengths(1, 1), 1000, shared_tokens=40, groups=3), 60, 0)
    assert len({call.prompt[:40] for call in calls}) == 3
    assert len({call.prompt for call in calls}) == 60


def test_a_workload_is_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    path.write_text(
        '{"prompt": "hi", "output_tokens": 3}\n\n{"prompt": [1, 2], "output_tokens": 4, "time": 1.5}\n'
        '{"messages": [{"role": "user", "content": "hi"}], "output_tokens": 5}\n'
    )
    text, ids, chat = read_calls(path)
    assert (text.prompt, ids.prompt, ids.time, chat.is_chat) == ("hi", (1, 2), 1.5, True)


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "3",
        '{"output_tokens": 3}',
        '{"prompt": "", "output_tokens": 3}',
        '{"prompt": [true], "output_tokens": 3}',
        '{"prompt": "x", "output_tokens": 0}',
        '{"prompt": "x", "output_tokens": 1, "time": -1}',
        '{"prompt": "x", "output_tokens": 1, "size": 1}',
        '{"messages": [{"role": "user"}], "output_tokens": 1}',
        "[" * 100_000,
    ],
)
def test_a_line_that_is_no_call_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "calls.jsonl"
    path.write_text('{"prompt": "x", "output_tokens": 1}\n' + line)
    with pytest.raises(InvalidArgumentError, match="line 2"):
        read_calls(path)


@pytest.mark.parametrize(
    "parse",
    [
        lambda: parse_limits("ttft"),
        lambda: parse_limits("ttft=5"),
        lambda: parse_limits("speed=5ms"),
        lambda: parse_lengths("--prompt-tokens", "9-3"),
        lambda: parse_lengths("--prompt-tokens", "0"),
        lambda: parse_lengths("--prompt-tokens", "many"),
        lambda: parse_loads(None, None),
        lambda: parse_loads("0", None),
        lambda: parse_loads("nan", None),
        lambda: parse_loads(None, "-1"),
        lambda: parse_targets([], []),
        lambda: parse_targets(["localhost:80"], []),
        lambda: parse_targets(["a=http://x", "a=http://y"], []),
        lambda: parse_targets([], ["ours=skywork-rt serve B"]),
        lambda: parse_targets([], ["skywork-rt serve B --port {port}"]),
        lambda: parse_cpus("--cpus", "x"),
        lambda: parse_cpus("--cpus", "100000"),
    ],
)
def test_options_that_are_wrong_are_refused(parse: Callable[[], object]) -> None:
    with pytest.raises(InvalidArgumentError):
        parse()


def test_limits_and_loads_are_read() -> None:
    assert parse_limits("ttft=500ms, tpot=0.05s") == Limits(ttft=0.5, tpot=0.05)
    assert [str(load) for load in parse_loads("2.5,inf", "1,16")] == ["1 client", "16 clients", "2.5/s", "all at once"]
    assert math.isinf(parse_loads("inf", None)[0].rate or 0)


@pytest.mark.parametrize("option", ["--json", "--markdown", "--plot"])
def test_a_file_that_cannot_be_written_is_told_before_anything_is_measured(
    option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path, reason in ((tmp_path / "none" / "x.svg", "does not exist"), (tmp_path, "is a folder")):
        assert run(["bench", "serve", "--url", "http://127.0.0.1:9", option, str(path)]) == 2
        assert reason in capsys.readouterr().err


async def test_who_is_not_there_is_told(free_url: str) -> None:
    async with Client(free_url, "m", timeout=1) as client:
        assert (await client.call(ONE, Clock(), 0.0)).error == "connection"
        with pytest.raises(BenchError, match="not ready after"):
            await wait_until_ready(client, "ours", 0.2)


@pytest.fixture
def free_url() -> str:
    return f"http://127.0.0.1:{free_port()}"


@pytest.mark.slow
async def test_clients_of_all_kinds_in_small(tiny_bundle: Path) -> None:
    """What the long test does, in two seconds: every figure comes from the real server."""
    from skywork_rt.bench.serving.mixed import MixedPlan, measure

    few, cpus = Lengths(4, 40), sorted(os.sched_getaffinity(0))
    plan = MixedPlan(tiny_bundle, 20, 1.0, 8, "native", few, Lengths(60, 200), cpus[0], cpus[-1])
    outcome = await measure(plan, lambda *_: None)
    assert outcome.figures.errors == {} and outcome.figures.done > 20 and outcome.figures.left > 0
    assert outcome.ratio > 0.05 and outcome.engine_ms_per_token > 0 and outcome.loop_ms_per_token > 0


@pytest.mark.long
async def test_five_hundred_clients_for_two_minutes(smollm2_bundle: Path) -> None:
    """Bounds are loose, for busy machines; `skywork-rt bench serve-load BUNDLE` says how it really is."""
    from skywork_rt.bench.serving.mixed import MixedPlan, measure

    plan = MixedPlan(smollm2_bundle, backend="native", prompt_tokens=Lengths(16, 128), output_tokens=Lengths(8, 64))
    outcome = await measure(plan, lambda *_: None)
    assert outcome.figures.errors == {}
    assert outcome.figures.done > 100 and outcome.figures.left > 0
    assert outcome.ratio > 0.7
    assert outcome.loop_ms_per_token < 2
    assert outcome.idle_after < 10
    cache = plan.cached_tokens * 30 * 3 * 64 * 2 * 4  # layers, heads of keys and values, floats
    assert outcome.rss_end - outcome.rss_warm < cache
