from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from measured import LITE, NATIVE, PREDICT, RECIPE, three_repeats

from skywork_rt.bench.findings import find, ratios
from skywork_rt.bench.markdown import findings_table, number, ratio_table, rows_table, seed_table, table
from skywork_rt.bench.runner import Measurements


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_a_table_is_markdown_and_aligned() -> None:
    assert table(("a", "bb"), [("xyz", "1")], right=(1,)).splitlines() == [
        "| a   | bb |",
        "|-----|---:|",
        "| xyz |  1 |",
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0.00"),
        (0.01234, "0.0123"),
        (0.5, "0.500"),
        (1.2345, "1.23"),
        (48.26, "48.3"),
        (710.4, "710"),
        (27000.2, "27000"),
    ],
)
def test_numbers_have_three_significant_digits_at_least(value: float, text: str) -> None:
    assert number(value) == text


def test_rows_come_a_runtime_after_the_other() -> None:
    lines = rows_table(three_repeats().rows()).splitlines()[2:]
    assert [tuple(cells(line)[i] for i in (0, 1, 3, 4)) for line in lines[:3] + lines[-5:]] == [
        ("skywork_rt:lite", "f32/f32", "decode_b1", "50.0"),
        ("skywork_rt:lite", "f32/f32", "stream_limit_b1", "55.8"),
        ("skywork_rt:lite", "f32/f32", "stream_share_b1", "84.0"),
        ("skywork_rt:native", "int4/f32", "peak_rss", "225"),
        ("skywork_rt:native", "int4/f32", "decode_b1", "175"),
        ("skywork_rt:native", "int4/f32", "stream_limit_b1", "243"),
        ("skywork_rt:native", "int4/f32", "stream_share_b1", "58.0"),
        ("memory:stream", "none", "memory_stream", "30000"),
    ]


def test_ratios_do_not_follow_the_machines_mood() -> None:
    found = ratios(three_repeats(), "decode_b1", LITE)
    assert found == {LITE: 1.0, PREDICT: pytest.approx(1.02), RECIPE: pytest.approx(0.4), NATIVE: pytest.approx(3.5)}


def test_a_ratio_needs_every_repeat_of_both() -> None:
    measurements = three_repeats()
    measurements.samples[NATIVE, "decode_b1"].pop()
    assert NATIVE not in ratios(measurements, "decode_b1", LITE)
    assert ratios(measurements, "load", LITE) == {}


def test_the_ratio_table_names_its_base() -> None:
    lines = ratio_table(three_repeats(), RECIPE).splitlines()
    assert cells(lines[0])[0] == "by recipe:python-loop f32/f32"
    assert cells(lines[2]) == ["decode_b1", "2.50x", "2.55x", "1.00x", "8.75x"]


def test_the_seeds_table_stands_beside_the_published_columns() -> None:
    lines = [cells(line) for line in seed_table(three_repeats()).splitlines()]
    assert lines[0] == ["new tokens", "Atlas 800T A2", "A100", "skywork_rt:lite f32/f32"]
    assert lines[2] == ["1024", "1.00", "1.00", "1.00"]
    assert lines[-1] == ["32", "0.24", "0.45", "0.80"]


def test_no_seeds_table_without_every_length() -> None:
    measurements = three_repeats()
    del measurements.samples[LITE, "new_256"]
    assert seed_table(measurements) == ""


def test_the_findings_state_each_promise_with_its_figure() -> None:
    found = {f.text: (f.value, f.wanted) for f in find(three_repeats())}
    assert found["cost of our loop over bare Predict, decode_b1"] == ("+2.0 %", "at most 3 %")
    assert found["skywork_rt:lite over the recipe's Python loop, decode_b1"] == ("2.50x", "")
    assert found["skywork_rt:native int4/f32 over skywork_rt:lite, decode_b1"] == ("3.50x", "at least 3x")
    assert found["skywork_rt:lite f32/f32: throughput at 32 new tokens by that at 1024"] == ("0.80", "at least 0.85")
    limit = found["skywork_rt:native int4/f32: short decode by what reading 100.0 MB of weights allows"]
    assert limit == ("58 % (57 … 60)", "")  # the promise is about large models
    assert found["skywork_rt:native int4/f32: peak_rss beside 125 MB of weights and cache"] == (
        "100 MB",
        "at most 300 MB",
    )
    assert "| finding" in findings_table(find(three_repeats()))


def test_nothing_measured_finds_nothing() -> None:
    assert find(Measurements()) == []


def test_the_limit_of_the_memory_stands_beside_every_decoding_rate() -> None:
    rows = {(row.runtime, row.metric): row for row in three_repeats().rows()}
    limit = rows["skywork_rt:native", "stream_limit_b1"]
    assert (limit.weights, limit.unit) == ("int4/f32", "tokens/s")
    read = 100_000_000 + (512 + 64) * 40960
    assert [limit.median, limit.min, limit.max] == pytest.approx([30e9 / read, 29e9 / read, 31e9 / read])
    assert ("lite:predict", "stream_limit_b1") in rows
    assert rows["memory:stream", "memory_stream"].median == 30000
    share = rows["skywork_rt:native", "stream_share_b1"]
    assert (share.unit, share.median, share.min, share.max) == ("%", 58, 57, 60)
    without = three_repeats()
    del without.samples[NATIVE, "decode_b1"]
    assert ("skywork_rt:native", "stream_limit_b1") not in {(row.runtime, row.metric) for row in without.rows()}


def test_a_plot_needs_a_whole_seeds_table_and_becomes_a_file(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the [bench] extra is not installed")
    from skywork_rt.bench.plot import plot_seed_table
    from skywork_rt.errors import UnsupportedError

    with pytest.raises(UnsupportedError, match="new_32"):
        plot_seed_table(tmp_path / "plot.png", Measurements())
    plot_seed_table(tmp_path / "plot.png", three_repeats())
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_the_share_of_the_memorys_speed_is_a_promise_about_large_models() -> None:
    measurements = three_repeats()
    large = replace(NATIVE, weight_bytes=9e9)
    measurements.shares[large] = measurements.shares.pop(NATIVE)
    (finding,) = (f for f in find(measurements) if "what reading 9000.0 MB of weights allows" in f.text)
    assert finding.wanted == "at least 60 %"
