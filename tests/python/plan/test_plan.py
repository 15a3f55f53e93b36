"""The planner: counts that are known, sums that must add up, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from skywork_rt.bundle.info import BundleInfo
from skywork_rt.checkpoints.model import ModelConfig
from skywork_rt.checkpoints.synthetic.presets import PRESETS, preset, with_changes
from skywork_rt.cli.app import app
from skywork_rt.cli.plan import _request
from skywork_rt.errors import InvalidArgumentError
from skywork_rt.plan.devices import DEVICES
from skywork_rt.plan.geometry import Geometry
from skywork_rt.plan.losses import BATCH, fit, losses
from skywork_rt.plan.probe import Probe, Products, between, measure
from skywork_rt.plan.processor import Processor, packed_bytes
from skywork_rt.plan.published import ATLAS_800T_A2
from skywork_rt.plan.report import device_report, markdown
from skywork_rt.plan.roofline import Roofline

SKYWORK = Geometry(preset("skywork-13b"))
ASCEND = DEVICES["ascend-910b"]


def run(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["plan", *arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_skyworks_counts_are_the_published_ones() -> None:
    roofline = Roofline(SKYWORK, ASCEND)
    assert SKYWORK.parameters == 13_854_113_280
    assert roofline.cache_bytes_per_token == 958_464
    assert round(roofline.weight_bytes / 1e9, 1) == 27.7
    assert round(4096 * roofline.cache_bytes_per_token / 1e9, 2) == 3.93


def test_the_recipes_graphs_hold_63_gb_of_which_most_is_zeros_and_weights_twice() -> None:
    report = device_report(SKYWORK.config, ASCEND, 1, 4096, 32, 128)
    assert round(report["recipe"]["exported_bytes"] / 1e9) == 63


def test_a_step_is_the_sum_of_its_matrices() -> None:
    config = preset("llama-2-7b")
    geometry = Geometry(config)
    named = {matrix.name: (matrix.rows, matrix.cols) for matrix in geometry.layer_matrices()}
    assert named["down_proj"] == (4096, 11008)
    assert named["k_proj"] == (4096, 4096)
    # 2 N a token, N without the embedding table and the norms, and 4 times layers, width and context for attention.
    multiplied = geometry.parameters - geometry.embedding - (2 * config.layers + 1) * config.hidden_size
    assert geometry.decode_flops(100) == 2 * multiplied + 4 * 32 * 4096 * 100


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_prefill_is_as_many_decode_steps_but_for_the_head(name: str) -> None:
    geometry = Geometry(preset(name))
    steps = sum(geometry.decode_flops(position + 1) - 2 * geometry.head.size for position in range(64))
    assert geometry.prefill_flops(64) == pytest.approx(steps + 2 * geometry.head.size, rel=1e-12)


def test_a_step_takes_the_longer_of_reading_and_computing() -> None:
    roofline = Roofline(SKYWORK, ASCEND)
    one, many = roofline.decode_step(1, 100), roofline.decode_step(4096, 0)
    assert one.seconds == one.bytes / ASCEND.bytes_per_second > one.flops / ASCEND.flops
    assert many.seconds == many.flops / ASCEND.flops > many.bytes / ASCEND.bytes_per_second


def test_the_published_rows_are_a_line_which_is_taken_apart_without_rest() -> None:
    measured = fit(ATLAS_800T_A2)
    for length, rate in ATLAS_800T_A2.items():
        if length >= 64:
            assert measured.start + measured.step * length == pytest.approx(BATCH * length / rate, rel=0.05)
    parts = losses(Roofline(SKYWORK, ASCEND), measured, 32, 512, 4096)
    whole = parts.roofline + parts.whole_cache + parts.rewriting + parts.host + parts.rest
    assert whole == pytest.approx(measured.step)
    assert min(parts.roofline, parts.whole_cache, parts.rewriting, parts.host, parts.rest) > 0
    assert parts.prefill_own < parts.prefill_full < measured.start


def test_continuous_batching_never_has_more_rows_than_fit() -> None:
    report = device_report(SKYWORK.config, ASCEND, 2, 4096, 512, 128)
    rows = {row["requests"]: row["rows"] for row in report["continuous"]}
    assert rows == {8: 8, 32: 32, 128: int((64e9 - 2 * SKYWORK.parameters) // (640 * 958_464))}
    rates = [row["tokens_per_second"] for row in report["continuous"]]
    assert rates == sorted(rates)


def test_a_model_that_does_not_fit_is_said_to_not_fit() -> None:
    report = device_report(SKYWORK.config, DEVICES["a100-40gb"], 4, 4096, 512, 128)
    assert not report["memory"]["fits"]
    assert report["memory"]["most_rows"] == 3
    assert "does NOT fit" in "\n".join(markdown(report))


def test_packed_bytes_are_those_of_the_file(tiny_bundle: Path) -> None:
    bundle = BundleInfo.open(tiny_bundle)
    config = ModelConfig.from_json(bundle.section("model"))
    geometry = Geometry(config)
    file = bundle.directory / bundle.section("weights")["int8"]
    layers = config.layers * sum(packed_bytes(matrix, "int8") for matrix in geometry.layer_matrices())
    tables = packed_bytes(geometry.head, "int8") * (1 if config.tied_embeddings else 2)
    norms = 4 * (2 * config.layers + 1) * config.hidden_size
    # Beside them the file has a header, and tensors begin at multiples of 64 bytes.
    assert layers + tables + norms <= file.stat().st_size <= 1.2 * (layers + tables + norms) + 65536


def _probe(read: float = 1e9, multiply: float = 1e-12, pack: float = 0.0, region: float = 0.0) -> Probe:
    costs = Products({1: read}, {1: multiply, 96: multiply}, {1: pack})
    return Probe(2, 1e9, region, {1: read}, 0.0, {(w, a): costs for w in ("int4", "int8") for a in ("f32", "int8")})


def test_decoding_is_bound_by_reading_and_prompts_by_arithmetic() -> None:
    geometry = Geometry(preset("llama-2-7b"))
    reading = Processor(geometry, _probe(multiply=0.0), "int8")
    assert reading.decode(0) == pytest.approx(reading.bytes_read / 1e9)
    assert reading.decode(0, batch=8) == pytest.approx(reading.decode(0))
    assert reading.decode(100) == pytest.approx((reading.bytes_read + 100 * 8 * 32 * 4096) / 1e9)
    computing = Processor(geometry, _probe(read=1e30), "int8")
    products = geometry.layer_products * 96  # and the head, for one token, at the rate of reading
    assert computing.prefill(96) == pytest.approx(products * 1e-12)
    assert computing.prefill(192) == pytest.approx(2 * computing.prefill(96))


def test_int4_keeps_its_head_at_int8() -> None:
    geometry = Geometry(preset("llama-2-7b"))
    layers = 32 * sum(packed_bytes(matrix, "int4") for matrix in geometry.layer_matrices())
    assert Processor(geometry, _probe(), "int4").bytes_read == layers + packed_bytes(geometry.head, "int8")


def test_regions_and_packing_add_up() -> None:
    geometry = Geometry(preset("tiny"))
    free = Processor(geometry, _probe(read=1e30, multiply=0.0), "int8").decode(1)
    assert free < 1e-20
    regions = Processor(geometry, _probe(read=1e30, multiply=0.0, region=1.0), "int8").decode(1)
    assert regions == pytest.approx(6 * geometry.config.layers)


def test_tables_are_interpolated_over_logarithms() -> None:
    assert between({1: 0.0, 4: 2.0}, 2) == pytest.approx(1.0)
    assert between({1: 0.5, 4: 2.0}, 100) == 2.0


def test_what_was_not_probed_is_not_predicted() -> None:
    with pytest.raises(InvalidArgumentError, match="no bf16 weights with f32 activations"):
        Processor(SKYWORK, _probe(), "bf16")


@pytest.mark.slow
def test_the_probe_measures_this_processor() -> None:
    probe = measure(1, [("int8", "f32"), ("int8", "int8")], sizes=(1 << 22, 1 << 24))
    assert 1e8 < probe.stream < 1e13
    assert 0 <= probe.region < 1e-3
    for products in probe.products.values():
        assert all(1e8 < rate < 1e13 for rate in products.read.values())
        assert all(0 < seconds < 1e-8 for seconds in products.multiply.values())
        # Sharing the reading of weights among many tokens must not cost more than each reading them.
        assert products.multiply[96] < 2 * products.multiply[1]
    assert Processor(Geometry(preset("smollm2-135m")), probe, "int8").decode(512) > 0


def test_the_command_prints_the_published_rows_beside_the_roofline() -> None:
    text = run("--like", "skywork-13b", "--device", "ascend-910b", "--batch", "2", "--length", "4096")
    assert "45.17" in text
    assert "36.73" in text
    assert "weights 27.71 GB, cache 958,464 bytes a token" in text
    loaded: dict[str, Any] = json.loads(run("--like", "skywork-13b", "--device", "ascend-910b", "--json"))
    assert loaded["published"]["atlas_800t_a2"]["1024"] == 45.17
    assert [row["new_tokens"] for row in loaded["rows"]] == [1024, 512, 256, 128, 64, 32]


def test_other_models_are_planned_without_the_recipe(tiny_bundle: Path, tmp_path: Path) -> None:
    assert "45.17" not in run("--like", "llama-2-7b", "--device", "a100-80gb")
    assert "on a100-80gb" in run(str(tiny_bundle), "--device", "a100-80gb")
    config = {
        "model_type": "llama",
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "hidden_size": 64,
        "intermediate_size": 128,
        "vocab_size": 100,
        "max_position_embeddings": 256,
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    text = run(str(tmp_path), "--device", "mine", "--memory", "1", "--bandwidth", "0.1", "--tflops", "1")
    assert "on mine" in text
    assert json.loads(run(str(tmp_path / "config.json"), "--device", "a100-80gb", "--json"))["length"] == 256


def test_a_typical_request_is_one_that_the_model_takes() -> None:
    assert _request(None, None, preset("skywork-13b")) == (512, 128)
    short = with_changes(preset("tiny"), max_length=100)
    assert _request(None, None, short) == (80, 20)
    assert _request(None, 99, short) == (1, 99)
    assert _request(99, None, short) == (99, 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give either a model"),
        (["--like", "skywork-13b", "bundle"], "give either a model"),
        (["--like", "skywork-13b", "--device", "ascend910b"], "did you mean 'ascend-910b'"),
        (["--like", "skywork-13b", "--device", "toaster"], "there is no device 'toaster'. Known: ascend-910b"),
        (["--like", "skywork-13b", "--device", "x", "--memory", "4"], "needs all of --memory, --bandwidth"),
        (["--like", "skywork-13b", "--device", "ascend-910b", "--length", "5000"], "made for 4096 tokens"),
        (["--like", "tiny", "--weights", "int5"], "there are no weights 'int5'"),
        (
            ["--like", "skywork-13b", "--device", "ascend-910b", "--prompt", "4000", "--new", "100"],
            "--prompt 4000 and --new 100 are 4100 tokens, but skywork-13b was made for 4096",
        ),
    ],
)
def test_wrong_arguments_are_named(arguments: list[str], message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message.replace(".", r"\.")):
        CliRunner().invoke(app, ["plan", *arguments], catch_exceptions=False)
