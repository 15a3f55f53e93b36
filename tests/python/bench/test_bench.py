"""The commands on a tiny model, with every runtime in a process of its own."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import skywork_rt
from bundles import BACKENDS
from skywork_rt import _core
from skywork_rt.bench import stream
from skywork_rt.bench.drivers.predict import cache_steps
from skywork_rt.bench.graphs import open_lite_graph
from skywork_rt.bench.metrics import select_metrics
from skywork_rt.bench.recipe import RecipeConfig, RecipeLoop
from skywork_rt.bench.rows import Row, check_document
from skywork_rt.bench.runner import Plan, run_plan
from skywork_rt.bench.stall import gaps_within
from skywork_rt.bench.subjects import list_subjects, select_subjects
from skywork_rt.bench.workloads import Workload
from skywork_rt.bundle.info import BundleInfo
from skywork_rt.checkpoints.model import ModelConfig
from skywork_rt.errors import CorruptBundleError, InvalidArgumentError
from skywork_rt.export.graph.contract import FULL, INCREMENTAL

pytestmark = pytest.mark.slow
needs_lite = pytest.mark.skipif("lite" not in BACKENDS, reason="SKYWORK_RT_TEST_BACKENDS leaves out lite")


def run_command(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "skywork_rt", "bench", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)


def rows_of(path: Path) -> list[Row]:
    return check_document(json.loads(path.read_text(encoding="utf-8")))


@pytest.fixture(scope="module")
def quick_run(endless_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """What one quick run printed, and its document."""
    path = tmp_path_factory.mktemp("bench") / "rows.json"
    done = run_command(endless_bundle, "--quick", "--json", path, "--threads", "1")
    assert done.returncode == 0, done.stderr
    assert "note:" not in done.stderr
    return done.stdout, path


def test_every_runtime_has_every_metric_and_no_other_field(quick_run: tuple[str, Path]) -> None:
    rows = rows_of(quick_run[1])
    metrics = {
        *("load", "peak_rss", "prefill_512", "ttft_512", "decode_b1", "decode_b4", "tpot_p50", "tpot_p90"),
        *("new_32", "new_64", "new_128", "stream_limit_b1"),
    }
    labels = {(row.runtime, row.weights) for row in rows if row.metric != "memory_stream"}
    expected: set[tuple[str, str]] = set()
    if "native" in BACKENDS:
        expected |= {("skywork_rt:native", weights) for weights in ("f32/f32", "int8/f32", "int8/int8")}
    if "lite" in BACKENDS:
        expected |= {(name, "f32/f32") for name in ("skywork_rt:lite", "lite:predict", "recipe:python-loop")}
    assert labels == expected
    for label in labels:
        ours = {"stream_share_b1"} if label[0].startswith("skywork_rt:") else set()
        assert {row.metric for row in rows if (row.runtime, row.weights) == label} == metrics | ours
    assert all(row.median > 0 for row in rows)


def test_figures_of_one_run_agree_with_each_other(quick_run: tuple[str, Path]) -> None:
    medians = {(row.runtime, row.weights, row.metric): row.median for row in rows_of(quick_run[1])}
    for runtime, weights, metric in list(medians):
        if metric == "prefill_512":
            seconds = medians[runtime, weights, "ttft_512"] / 1e3
            assert medians[runtime, weights, metric] == pytest.approx(512 / seconds)
        if metric == "tpot_p90":
            assert medians[runtime, weights, metric] >= medians[runtime, weights, "tpot_p50"]


def test_the_screen_shows_the_rows_the_ratios_and_the_findings(quick_run: tuple[str, Path]) -> None:
    printed = quick_run[0]
    for heading in ("| runtime ", "| by skywork_rt:", "| finding "):
        assert heading in printed
    if "lite" in BACKENDS:
        assert "cost of our loop over bare Predict, decode_b4" in printed
        assert "over the recipe's Python loop, decode_b1" in printed


def test_the_machine_is_described_without_names_or_paths(quick_run: tuple[str, Path]) -> None:
    machine = json.loads(quick_run[1].read_text(encoding="utf-8"))["machine"]
    assert machine["threads"] == 1
    assert machine["memory_stream_mb_s"] > 10
    assert "/" not in json.dumps({**machine, "compiler": ""})


def test_what_a_model_is_too_short_for_is_left_out_with_a_note(tiny_bundle: Path, tmp_path: Path) -> None:
    done = run_command(
        tiny_bundle, "--metric", "new_*", "--metric", "decode_b1", "--repeat", "1", "--json", tmp_path / "rows.json",
        "--runtime", f"skywork_rt:{BACKENDS[0]}",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "left out: longer than the model's 256 tokens" in " ".join(done.stderr.split())
    assert {row.metric for row in rows_of(tmp_path / "rows.json")} == {
        "new_32",
        "new_64",
        "new_128",
        "memory_stream",
    }  # and no limit, without decode_b1


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--metric", "speed"), "no metric matches 'speed'"),
        (("--runtime", "vllm"), "no runtime of this bundle matches 'vllm'"),
        (("--base", "vllm"), "no runtime of this bundle matches 'vllm'"),
    ],
)
def test_a_wrong_option_ends_the_command_before_it_measures(
    tiny_bundle: Path, arguments: tuple[str, ...], complaint: str
) -> None:
    done = run_command(tiny_bundle, *arguments)
    assert done.returncode == 2
    assert complaint in " ".join(done.stderr.split())


@pytest.mark.skipif(len(BACKENDS) < 2, reason="SKYWORK_RT_TEST_BACKENDS leaves one backend only")
def test_a_runtime_that_fails_is_named_and_the_others_go_on(tiny_bundle: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(tiny_bundle, damaged)
    for graph in BundleInfo.open(damaged).manifest["graphs"]:
        data = bytearray((damaged / graph["file"]).read_bytes())
        data[len(data) // 2] ^= 1
        (damaged / graph["file"]).write_bytes(data)
    done = run_command(
        damaged, "--metric", "new_32", "--repeat", "1", "--json", tmp_path / "rows.json",
        "--runtime", "skywork_rt:*", "--base", "skywork_rt:lite",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "note: skywork_rt:lite f32/f32: CorruptBundleError" in done.stderr
    assert {row.runtime for row in rows_of(tmp_path / "rows.json")} == {"skywork_rt:native", "memory:stream"}


def test_ctrl_c_keeps_what_was_measured(tiny_bundle: Path) -> None:
    subjects = select_subjects(list_subjects(tiny_bundle), [f"skywork_rt:{BACKENDS[0]}"])[:1]
    plan = Plan(tiny_bundle, subjects, select_metrics(["new_32", "new_64"]), repeats=5, threads=1, model_length=256)

    def report(stage: str, done: int, total: int) -> None:
        if stage == "measuring" and done == 4:  # two warm-ups and two measurements of twelve turns
            raise KeyboardInterrupt

    measurements = run_plan(plan, report)
    assert measurements.notes == ["interrupted: these are the figures until then"]
    assert {metric: len(samples) for (_, metric), samples in measurements.samples.items()} == {"new_32": 1, "new_64": 1}


@pytest.mark.skipif("native" not in BACKENDS, reason="SKYWORK_RT_TEST_BACKENDS leaves out native")
def test_large_models_are_measured_in_one_pass_beside_the_memorys_limit(
    endless_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is asked: which figures there are and how they hang together, so less memory is read than for real ones."""
    monkeypatch.setattr(stream, "_BYTES", 1 << 24)
    monkeypatch.setattr(stream, "_QUICK_BYTES", 1 << 24)
    subjects = select_subjects(list_subjects(endless_bundle), ["skywork_rt:native int8*"])
    metrics = select_metrics(["load", "peak_rss", "prefill_512", "decode_b1"])
    plan = Plan(endless_bundle, subjects, metrics, repeats=2, threads=1, model_length=65536, fresh_processes=True)
    stages: list[tuple[str, int, int]] = []
    measurements = run_plan(plan, lambda *step: stages.append(step))
    assert measurements.notes == []
    assert {name: len(samples) for (_, name), samples in measurements.samples.items()} == dict.fromkeys(
        (metric.name for metric in metrics), 2
    )
    assert len(measurements.streams) == 5, "before the run and after each runtime"
    rows = {(row.weights, row.metric): row for row in measurements.rows()}
    for subject in subjects:
        limit = rows[subject.weights, "stream_limit_b1"]
        assert limit.min <= limit.median <= limit.max
        assert limit.max == pytest.approx(max(measurements.streams) / subject.read_bytes(512 + 64))
        assert len(measurements.shares[subject]) == 2 * 7, "seven rounds in each process"
        assert rows[subject.weights, "stream_share_b1"].min > 0
        assert rows[subject.weights, "peak_rss"].median > subject.file_bytes / 2**20
    assert [stage for stage, _, _ in stages[-1:]] == ["measuring"]
    assert stages[-1][1] == stages[-1][2] == 8


@pytest.mark.parametrize("runtime", ["skywork_rt:lite", "skywork_rt:native int8/f32"])
def test_serving_is_simulated_all_ways_under_both_loads(endless_bundle: Path, tmp_path: Path, runtime: str) -> None:
    path = tmp_path / "rows.json"
    options = ("--requests", "6", "--slots", "2", "--prompt-tokens", "4", "--threads", "1", "--runtime", runtime)
    done = run_command("serve-sim", endless_bundle, *options, "--json", path)
    assert done.returncode == 0, done.stderr
    rows = rows_of(path)
    ways = {"skywork_rt:continuous", "skywork_rt:static", "skywork_rt:static_shrinking"}
    admissions = {"skywork_rt:reserve", "skywork_rt:optimistic"} if "native" in runtime else set()
    assert {row.runtime for row in rows} == ways | admissions
    for load in ("serve_quarter", "serve_filled"):
        assert {row.runtime for row in rows if row.metric == f"{load}_throughput"} == admissions
        assert all(row.median > 0 for row in rows if row.metric == f"{load}_throughput")
    for load in ("serve", "serve_poisson"):
        for name in ("throughput", "ttft_p50", "ttft_p99", "tpot_p50", "tpot_p99"):
            assert sum(row.metric == f"{load}_{name}" for row in rows) == 3
    assert "x the throughput of static batches" in done.stdout
    assert ("max_tokens 4x the output" in done.stdout) == ("native" in runtime)


@pytest.mark.parametrize("runtime", [f"skywork_rt:{backend}" for backend in BACKENDS])
def test_the_wait_of_a_stream_for_a_prompt_is_measured(endless_bundle: Path, tmp_path: Path, runtime: str) -> None:
    path = tmp_path / "rows.json"
    options = ("--prompt-tokens", "400", "--stretch", "2", "--stretch", "0", "--threads", "1", "--json", path)
    label = f"{runtime} *" if runtime == "skywork_rt:lite" else f"{runtime} int8/int8"
    done = run_command("stall", endless_bundle, "--runtime", label, *options)
    assert done.returncode == 0, done.stderr
    rows = {(row.runtime, row.metric): row for row in rows_of(path)}
    metrics = (
        "prompt_alone",
        "prompt_beside",
        "prompt_share",
        "decode",
        "median_gap",
        "longest_gap",
        "cancel",
        "deadline",
    )
    assert set(rows) == {(f"{runtime} stretch {s}", f"stall_{metric}") for s in (0, 2) for metric in metrics}
    for stretch in (0, 2):
        of = {metric: rows[f"{runtime} stretch {stretch}", f"stall_{metric}"].median for metric in metrics}
        assert of["prompt_share"] == pytest.approx(100 * of["prompt_beside"] / of["prompt_alone"])
        assert of["longest_gap"] > 0 and of["decode"] > 0
    assert "times a decode step), prompts at" in done.stdout


def test_gaps_count_that_overlap_with_the_prompt() -> None:
    times = [0.0, 1.0, 5.0, 6.0, 9.0, 20.0]
    assert gaps_within(times, 5.5, 9.5) == [1.0, 3.0, 11.0], "the stream still waits when the prompt has been read"
    assert gaps_within(times, 0.5, 4.0) == [1.0, 4.0]
    assert gaps_within(times, 5.5, 5.6) == [1.0]
    assert gaps_within([], 0.0, 1.0) == [0.0]


def test_sampling_is_measured_beside_the_recipe(tmp_path: Path) -> None:
    done = run_command("sampling", "--vocab-size", "2000", "--repeat", "1", "--json", tmp_path / "rows.json")
    assert done.returncode == 0, done.stderr
    rows = rows_of(tmp_path / "rows.json")
    assert {row.metric for row in rows if row.runtime == "recipe:numpy"} == {"sample_greedy", "sample_mixed"}
    cuts = {f"sample_{cut}{flat}" for cut in ("temperature", "top_p", "min_p", "typical_p") for flat in ("", "_flat")}
    ours = {row.metric for row in rows if row.runtime == "skywork_rt:sampler"}
    assert ours == {"sample_greedy", "sample_greedy_logprobs5", "sample_mixed", *cuts}
    for metric in ("sample_greedy", "sample_mixed"):
        assert f"{metric}: " in done.stdout


def test_the_host_is_measured_at_every_width_beside_the_argmax(tmp_path: Path) -> None:
    done = run_command("host", "--vocab-size", "100", "--repeat", "1", "--json", tmp_path / "rows.json")
    assert done.returncode == 0, done.stderr
    rows = rows_of(tmp_path / "rows.json")
    for width in (1, 16, 256, 1000):
        values = {row.runtime: row.median for row in rows if row.metric == f"host_row_{width}"}
        assert set(values) == {"skywork_rt:engine", "argmax"}
        (beside,) = (row.median for row in rows if row.metric == f"host_beside_argmax_{width}")
        assert beside == pytest.approx(values["skywork_rt:engine"] - values["argmax"])
        assert f"{width} rows: " in done.stdout


def test_decoding_is_measured_beside_a_prompt_with_all_its_logits(endless_bundle: Path, tmp_path: Path) -> None:
    arguments = ("--runtime", "skywork_rt:native int8/f32", "--repeat", "2", "--threads", "1")
    done = run_command("width", endless_bundle, *arguments, "--json", tmp_path / "rows.json")
    assert done.returncode == 0, done.stderr
    rows = rows_of(tmp_path / "rows.json")
    assert {(row.runtime, row.weights) for row in rows} == {("skywork_rt:native", "int8/f32")}
    widths = {name.format(width) for width in (8, 16, 64) for name in ("decode_b{}_after_64", "decode_share_b{}")}
    assert {row.metric for row in rows} == {"prompt_with_logits", *widths}
    assert "16 rows after 64 tokens decode at" in done.stdout


@needs_lite
def test_the_recipes_loop_says_what_our_engine_says(tiny_bundle: Path) -> None:
    config = ModelConfig.from_json(BundleInfo.open(tiny_bundle).section("model"))
    full, incremental = (open_lite_graph(tiny_bundle, config, contract, 1) for contract in (FULL, INCREMENTAL))
    loop = RecipeLoop(config, full, incremental, sequence_length=96)
    prompts = [[7, 21, 3], [400], list(range(30, 60))]
    rows = loop.generate(prompts, 64, RecipeConfig(eos_token_id=None, pad_token_id=511))
    with skywork_rt.Generator(tiny_bundle, backend="lite", threads=1) as generator:
        for prompt, row in zip(prompts, rows, strict=True):
            ours = generator.generate(prompt, temperature=0.0, max_tokens=64 - len(prompt), ignore_eos=True)
            assert row == [*prompt, *ours.token_ids]


@needs_lite
def test_bare_graphs_get_the_cache_that_our_backend_would_give_them() -> None:
    workload = Workload("w", 2, 100, 200)
    steps = list(cache_steps(workload, max_length=280))
    assert sum(count for _, count in steps) == workload.new_tokens - 1
    longest = workload.prompt_tokens
    for slots, count in steps:
        longest += count
        assert slots >= min(longest, 280)
    assert [slots for slots, _ in steps] == sorted({slots for slots, _ in steps})


@needs_lite
class TestBareGraphs:
    @pytest.fixture
    def graph(self, tiny_bundle: Path) -> _core.bench.GraphSession:
        return _core.bench.GraphSession(str(tiny_bundle), self.file(tiny_bundle), 1)

    @staticmethod
    def file(bundle: Path) -> str:
        graphs: list[dict[str, Any]] = BundleInfo.open(bundle).manifest["graphs"]
        return next(str(graph["file"]) for graph in graphs if graph["contract"] == INCREMENTAL)

    def test_inputs_are_the_contracts(self, graph: _core.bench.GraphSession) -> None:
        names = [name for name, _, _ in graph.inputs]
        assert set(names) == {
            *("tokens", "cos", "sin", "cache_mask", "key_0", "value_0", "key_1", "value_1"),
        }
        assert [dtype for name, dtype, _ in graph.inputs if name == "tokens"] == ["int32"]

    def test_an_input_that_is_not_bound_is_named(self, graph: _core.bench.GraphSession) -> None:
        with pytest.raises(InvalidArgumentError, match="is not bound"):
            graph.run()
        with pytest.raises(InvalidArgumentError, match="is not bound"):
            graph.time_runs(1)

    def test_wrong_arrays_are_refused(self, graph: _core.bench.GraphSession) -> None:
        index = next(i for i, (name, _, _) in enumerate(graph.inputs) if name == "tokens")
        with pytest.raises(InvalidArgumentError, match="takes a contiguous int32 array, but this is float32"):
            graph.bind(index, np.zeros((1, 1), np.float32))
        with pytest.raises(InvalidArgumentError, match="but no input 99"):
            graph.bind(99, np.zeros(1, np.float32))
        with pytest.raises(InvalidArgumentError, match="has 8 inputs; there are 1 shapes"):
            graph.resize([[1, 1]])

    def test_a_file_that_the_bundle_does_not_list_is_refused(self, tiny_bundle: Path) -> None:
        with pytest.raises(CorruptBundleError, match=r"other\.ms"):
            _core.bench.GraphSession(str(tiny_bundle), "other.ms", 1)
