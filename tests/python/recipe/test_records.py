"""The log of a training, its curve, and tokens a second."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import tiny_training as tiny

from skywork_rt.errors import InvalidArgumentError
from skywork_rt.recipe.configs import find_config
from skywork_rt.recipe.train.curve import draw_curve
from skywork_rt.recipe.train.model_shape import model_shape
from skywork_rt.recipe.train.records import LossLog, StepRecord, read_log
from skywork_rt.recipe.train.settings import at, read_settings
from skywork_rt.recipe.train.throughput import StepClock, flops_per_token, peak_of


def test_a_record_reads_back_equal_also_where_json_has_no_number(tmp_path: Path) -> None:
    records = [
        StepRecord(1, 1, 2.5, learning_rate=1e-3, loss_scale=65536.0, grad_norm=0.5, tokens_per_second=10.0),
        StepRecord(2, 1, math.inf, grad_norm=-math.inf, overflow=True),
        StepRecord(3, 1, 2.25, eval_loss=800.0, eval_perplexity=math.inf),
    ]
    log = LossLog(tmp_path / "loss.jsonl", 0)
    for record in records:
        log.add(record)
    log.close()
    assert read_log(tmp_path / "loss.jsonl") == records
    assert math.isnan(StepRecord.from_json(StepRecord(1, 1, math.nan).to_json()).loss)


def test_a_resumed_log_keeps_what_was_done_before_and_no_half_line(tmp_path: Path) -> None:
    path = tmp_path / "loss.jsonl"
    log = LossLog(path, 0)
    for step in range(1, 6):
        log.add(StepRecord(step, 1, float(step)))
    log.close()
    with path.open("a") as file:
        file.write('{"step": 6, "epo')  # a process that was killed
    resumed = LossLog(path, 3)
    resumed.add(StepRecord(4, 1, 40.0))
    resumed.close()
    assert [(record.step, record.loss) for record in read_log(path)] == [(1, 1.0), (2, 2.0), (3, 3.0), (4, 40.0)]
    with pytest.raises(InvalidArgumentError, match=r"none\.jsonl does not exist"):
        read_log(tmp_path / "none.jsonl")


def test_a_curve_is_drawn_of_what_is_finite(tmp_path: Path) -> None:
    path = tmp_path / "loss.png"
    draw_curve([StepRecord(1, 1, math.nan, overflow=True)], path)
    assert not path.exists()
    draw_curve([StepRecord(1, 1, math.nan), StepRecord(2, 1, 1.0, eval_loss=1.5)], path)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert [file.name for file in tmp_path.iterdir()] == ["loss.png"]


def test_speed_counts_steps_and_neither_the_first_nor_what_lies_between() -> None:
    now = [0.0]
    clock = StepClock(100, lambda: now[0])
    assert clock.step_done() is None
    for _ in range(2):  # a step of 2 s, then an evaluation of 50 s
        clock.resume()
        now[0] += 2
        assert clock.step_done() == 50
        now[0] += 50
    clock.resume()
    now[0] += 1
    assert clock.step_done(3) == 300
    assert clock.mean() == pytest.approx(500 / 5)


def test_operations_a_token_are_those_of_the_formula() -> None:
    tiny_model = model_shape(tiny.settings(Path("x"))["model"]["model_config"])
    multiplied = sum(value.size for name, value in tiny.initial_weights().items() if "embedding" not in name)
    assert flops_per_token(tiny_model, 16) == 6 * multiplied + 12 * 2 * 32 * 16
    skywork = model_shape(at(read_settings(find_config("run_skywork_13b")), "model.model_config"))
    assert flops_per_token(skywork, 4096) == pytest.approx(9.3e10, rel=0.01)


def test_peaks_are_found_by_the_beginning_of_a_devices_name() -> None:
    assert peak_of("Ascend910B3") == 313e12
    assert peak_of("Ascend 910A") == 256e12
    assert peak_of("Ascend910B9") is None
    assert peak_of("NVIDIA A100-SXM4-80GB") == 312e12
    assert peak_of("CPU") is None
