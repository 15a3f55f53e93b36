from __future__ import annotations

import pytest

from skywork_rt.bench.metrics import METRICS, SEED_LENGTHS, metrics_of, select_metrics, workloads_of
from skywork_rt.bench.workloads import Trace, Workload, random_prompts
from skywork_rt.errors import InvalidArgumentError

NAMES = [
    *("load", "peak_rss", "prefill_512", "decode_b1", "ttft_512", "tpot_p50", "tpot_p90", "decode_b4", "decode_b16"),
    *("new_32", "new_64", "new_128", "new_256", "new_512", "new_1024"),
]


def test_every_published_metric_is_there() -> None:
    assert [metric.name for metric in METRICS] == NAMES


def test_metrics_are_read_off_one_clock() -> None:
    # 512 prompt tokens in half a second, then 100 tokens, each 10 ms, but ten of 20 ms.
    gaps = (0.01,) * 90 + (0.02,) * 10
    trace = Trace(first_token=0.5, total=0.5 + sum(gaps), decoded=100, generated=101, gaps=gaps)
    read = {metric.name: metric.read(trace) for metric in METRICS if metric.read is not None}
    assert read["prefill_512"] == 1024
    assert read["ttft_512"] == 500
    assert read["decode_b1"] == pytest.approx(100 / 1.1)
    assert read["tpot_p50"] == pytest.approx(10)
    assert read["tpot_p90"] == pytest.approx(10)
    assert read["new_32"] == pytest.approx(101 / 1.6)


def test_metrics_of_one_workload_share_its_run() -> None:
    (workload,) = workloads_of(select_metrics(["prefill_512", "ttft_512", "decode_b1", "tpot_*"]))
    assert workload == Workload("b1", 1, 512, 128)
    assert {m.name for m in metrics_of(METRICS, workload)} == {
        "prefill_512", "ttft_512", "decode_b1", "tpot_p50", "tpot_p90",
    }  # fmt: skip


def test_the_seeds_table_is_batch_two() -> None:
    workloads = workloads_of(select_metrics(["new_*"]))
    assert [(w.batch, w.new_tokens) for w in workloads] == [(2, length) for length in SEED_LENGTHS]


def test_patterns_choose_metrics_in_the_tables_order() -> None:
    assert [m.name for m in select_metrics(["peak_rss", "decode_b1*"])] == ["peak_rss", "decode_b1", "decode_b16"]


def test_an_unknown_metric_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InvalidArgumentError, match=r"no metric matches 'decode_b3'; there are load, .*new_1024"):
        select_metrics(["decode_b1", "decode_b3"])


def test_prompts_differ_by_seed_and_stay_inside_the_vocabulary() -> None:
    workload = Workload("w", 3, 50, 1)
    first, second = random_prompts(workload, 7, 1), random_prompts(workload, 7, 2)
    assert len(first) == 3 and all(prompt.shape == (50,) for prompt in first)
    assert all(prompt.min() >= 0 and prompt.max() < 7 for prompt in first)
    assert not any((a == b).all() for a, b in zip(first, second, strict=True))
    assert all((a == b).all() for a, b in zip(first, random_prompts(workload, 7, 1), strict=True))
