"""What an export for Ascend is asked to be: gears, caches and the configuration for GE; what is refused, by name."""

from __future__ import annotations

import errno
import itertools
import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reference_forms
from random_models import CASES

from skywork_rt.checkpoints.model import ModelConfig
from skywork_rt.checkpoints.synthetic.presets import preset
from skywork_rt.checkpoints.synthetic.source import SyntheticSource
from skywork_rt.errors import CheckpointError, InternalError, InvalidArgumentError, UnsupportedError
from skywork_rt.export.device_cache import FORMS, FULL, INCREMENTAL, DeviceForm, Gear, parse_gears
from skywork_rt.export.graph.ascend import build, device_ops, weights
from skywork_rt.export.graph.ascend.contract import inputs
from skywork_rt.export.graph.ascend.ge_config import context_cfg
from skywork_rt.export.graph.ascend.options import AscendOptions, plan_form
from skywork_rt.export.graph.ascend.weights import cache_parameters, device_weights, lay_out, write_data
from skywork_rt.support.stages import no_progress

SKYWORK = preset("skywork-13b")


def planned(config: ModelConfig = SKYWORK, **options: Any) -> DeviceForm:
    return plan_form(AscendOptions(**options), config)


def test_one_row_of_the_models_length_unless_told_otherwise() -> None:
    form = planned()
    assert (form.form, form.precision, form.rows, form.positions) == ("assign", "float16", 1, 4096)
    assert form.full_gears == form.incremental_gears == ((1, 4096),)
    assert not form.dynamic(FULL)
    assert form.cache_shape(SKYWORK) == (1, 36, 4096, 128)
    assert form.cache_section() == {"rows": 1, "positions": 4096}
    assert DeviceForm.from_json(json.loads(json.dumps(form.to_json()))) == form


GEARS: list[Gear] = [(4, 1024), (1, 256), (1, 256)]


@pytest.mark.parametrize(
    ("form", "steps"),
    [
        # a batch that began in any of its gears goes on with the same rows to the last position
        ("assign", ((1, 256), (1, 4096), (4, 1024), (4, 4096), (8, 4096))),
        ("indexed", ((1, 256), (4, 1024), (8, 4096))),
        ("paged", ((1, 1), (4, 1), (8, 1))),
    ],
)
def test_gears_are_ascending_and_end_with_the_largest(form: str, steps: tuple[Gear, ...]) -> None:
    found = planned(batch=8, gears=GEARS, form=form)
    assert found.dynamic(FULL)
    assert found.dynamic(INCREMENTAL)
    assert found.full_gears == ((1, 256), (4, 1024), (8, 4096))
    assert found.incremental_gears == steps


def test_blocks_hold_all_rows_and_one_block_for_padding() -> None:
    form = planned(batch=3, seq_length=100, form="paged")
    assert (form.block_tokens, form.table, form.blocks) == (16, 7, 22)
    assert form.cache_section() == {"blocks": 22, "block_tokens": 16, "table": 7}
    assert form.cache_shape(SKYWORK) == (22, 16, 36, 128)
    assert planned(batch=3, seq_length=100, form="paged", block_size=100, num_blocks=9).blocks == 9


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"batch": 0}, "batch is 0, but must be a whole number from 1 to"),
        ({"batch": True}, "batch is True"),
        ({"batch": "2"}, "batch is '2'"),
        ({"seq_length": 1}, "seq_length is 1, but must be a whole number from 2 to 4096"),
        ({"seq_length": 8192}, "seq_length is 8192, but must be a whole number from 2 to 4096"),
        ({"form": "ring"}, "cache_form is 'ring', but must be one of assign, indexed, paged"),
        ({"precision": "bfloat16"}, "precision is 'bfloat16', but must be one of float16, float32"),
        ({"gears": [(2, 256)]}, "gear 2x256 does not lie within batch 1 and seq_length 4096"),
        ({"gears": [(1, 5000)]}, "gear 1x5000 does not lie within"),
        ({"gears": [(0, 256)]}, "gear 0x256 does not lie within"),
        ({"gears": [(1, n) for n in range(1, 300)]}, "there are 300 gears, and CANN takes 100 at most"),
        (
            {"batch": 60, "gears": [(n, 64) for n in range(1, 61)]},
            "incremental graph of form assign gets 120 gears, each batch at the full length too",
        ),
        ({"gears": [(1, "256")]}, r"gears has \(1, '256'\); each is a pair of whole numbers"),
        ({"gears": "1x256"}, "gears has '1'; each is a pair"),
        ({"block_size": 16}, "block_size is for cache_form paged; cache_form is assign"),
        ({"form": "indexed", "num_blocks": 16}, "num_blocks is for cache_form paged; cache_form is indexed"),
        ({"form": "paged", "block_size": 0}, "block_size is 0"),
        ({"form": "paged", "num_blocks": 256}, "takes 256 blocks of 16, and the first block is for padding: .* 257"),
    ],
)
def test_what_cannot_be_is_refused_by_its_name(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(InvalidArgumentError, match=complaint):
        planned(**options)


@pytest.mark.parametrize(
    ("model", "part"),
    [("qwen3", "qk_norm"), ("smollm3", "layers_without_rope"), ("biases", "output_bias.* and .*mlp_bias")],
)
def test_parts_that_the_contract_has_no_place_for_are_refused_by_name(model: str, part: str) -> None:
    with pytest.raises(UnsupportedError, match=part):
        planned(CASES[model].config)


def test_gears_are_read_from_text() -> None:
    assert parse_gears(" 1x256, 4x1024 ,") == ((1, 256), (4, 1024))
    assert parse_gears("") == ()
    for text in ("256", "1x", "x256", "1x-2", "1*256", "1x2x3", "1x256;4x1024", "1x٤"):
        with pytest.raises(InvalidArgumentError, match="write each as rows x tokens, such as 1x256,4x1024"):
            parse_gears(text)
    for text in ("0x4", "1x0", "1x99999999999", "9" * 5000 + "x1", "65537x1"):
        with pytest.raises(InvalidArgumentError, match="rows are 1 to 65536, tokens 1 to 16777216"):
            parse_gears(text)
    with pytest.raises(InvalidArgumentError, match="--step-gears names 1x256 twice"):
        parse_gears("1x256,2x256,1x256", "--step-gears")


def test_the_configuration_is_the_recipes_own_where_there_is_one_gear() -> None:
    assert context_cfg(FULL, planned()).split() == [
        "[ascend_context]", "plugin_custom_ops=All", "provider=ge", "[ge_session_options]", "ge.exec.formatMode=1",
        "ge.exec.precision_mode=must_keep_origin_dtype", "ge.externalWeight=1", "ge.exec.atomicCleanPolicy=1",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("form", "role", "lines"),
    [
        (
            "indexed", FULL,
            ["ge.inputShape=batch_index:-1;batch_valid_length:-1;tokens:-1,-1;zactivate_len:-1",
             "ge.dynamicDims=1,1,1,256,256;4,4,4,1024,1024;8,8,8,4096,4096"],
        ),
        (
            "indexed", INCREMENTAL,
            ["ge.inputShape=batch_index:-1;batch_valid_length:-1;tokens:-1,1;zactivate_len:-1",
             "ge.dynamicDims=1,1,1,256;4,4,4,1024;8,8,8,4096"],
        ),
        (
            "paged", FULL,
            ["ge.inputShape=batch_valid_length:-1;slot_mapping:-1;tokens:-1,-1",
             "ge.dynamicDims=1,256,1,256;4,4096,4,1024;8,32768,8,4096"],
        ),
        (
            "paged", INCREMENTAL,
            ["ge.inputShape=batch_valid_length:-1;block_tables:-1,256;slot_mapping:-1;tokens:-1,1",
             "ge.dynamicDims=1,1,1,1;4,4,4,4;8,8,8,8"],
        ),
    ],
)  # fmt: skip
def test_the_configuration_tells_ge_the_gears(form: str, role: Any, lines: list[str]) -> None:
    text = context_cfg(role, planned(batch=8, gears=GEARS, form=form)).splitlines()
    assert text[text.index("[ge_graph_options]") + 1 :] == [*lines, "ge.dynamicNodeType=1"]


@pytest.mark.parametrize("form", FORMS)
def test_every_gear_has_a_number_for_every_open_dimension(form: str) -> None:
    made = planned(batch=8, gears=GEARS, form=form)
    for role in (FULL, INCREMENTAL):
        options = dict(line.split("=", 1) for line in context_cfg(role, made).splitlines() if "=" in line)
        opened = options["ge.inputShape"].count("-1")
        assert {len(gear.split(",")) for gear in options["ge.dynamicDims"].split(";")} == {opened}
        assert opened == sum(size is None for spec in inputs(role, made) for size in spec.open_shape())


def test_names_are_mindformers_and_norms_alone_are_float32() -> None:
    found = {weight.name: weight for weight in device_weights(SKYWORK, planned())}
    assert len(found) == 3 + 52 * 9
    assert found["model.layers.51.feed_forward.w2.weight"].shape == (4608, 12288)
    assert found["model.tok_embeddings.embedding_weight"].shape == found["lm_head.weight"].shape == (65519, 4608)
    assert {name for name, weight in found.items() if weight.dtype == np.float32} == {
        name for name in found if "norm" in name
    }
    assert cache_parameters(SKYWORK, planned())[-1] == "model.layers.51.attention.kvcache_mgr.value_past"
    assert cache_parameters(SKYWORK, planned(form="paged"))[0] == "model.layers.0.attention.kvcache_mgr.key_cache"


def test_files_are_at_most_a_gibibyte_and_caches_share_one_block_of_zeros() -> None:
    form = planned(batch=2)
    layout = lay_out(SKYWORK, form)
    assert max(layout.sizes.values()) <= 1 << 30
    taken = sorted({(p.location, p.offset, p.length) for p in layout.places.values()})
    for (location, offset, length), (other, following, _) in itertools.pairwise(taken):
        assert offset % 64 == 0
        assert location != other or offset + length <= following
    zeros = {layout.places[name] for name in cache_parameters(SKYWORK, form)}
    assert {(place.location, place.length) for place in zeros} == {(layout.zeros, 2 * 36 * 4096 * 128 * 2)}
    assert layout.sizes[layout.zeros] == 64 + 2 * 36 * 4096 * 128 * 2


def test_a_tied_head_takes_no_place_of_its_own() -> None:
    config = CASES["gqa"].config
    layout = lay_out(config, planned(config))
    embedding, head = (layout.places[name] for name in ("model.tok_embeddings.embedding_weight", "lm_head.weight"))
    assert embedding == head


class Changed(SyntheticSource):
    """The random model with one tensor replaced."""

    def __init__(self, config: ModelConfig, name: str, value: Any) -> None:
        super().__init__(config, 1)
        self.changed, self.value = name, value

    def tensor(self, name: str) -> Any:
        return self.value if name == self.changed else super().tensor(name)


def test_a_weight_that_float16_cannot_hold_is_refused_with_its_name_and_number(tmp_path: Any) -> None:
    config = CASES["untied"].config
    large = np.zeros(config.tensor_shapes()["layers.1.o_proj"], np.float32)
    large[3, 4] = -70000
    source = Changed(config, "layers.1.o_proj", large)
    form = planned(config)
    with pytest.raises(UnsupportedError, match=r"layers\.1\.o_proj reaches 7e\+04.*precision float32"):
        write_data(source, device_weights(config, form), lay_out(config, form), tmp_path, no_progress)


def test_a_tensor_of_another_shape_is_refused(tmp_path: Any) -> None:
    config = CASES["untied"].config
    source, form = Changed(config, "norm", np.zeros(3, np.float32)), planned(config)
    with pytest.raises(CheckpointError, match=r"tensor norm has 12 bytes for the graph's model\.norm_out\.weight"):
        write_data(source, device_weights(config, form), lay_out(config, form), tmp_path, no_progress)


def test_weights_that_pass_in_blocks_of_rows_are_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = CASES["qkv-bias"].config
    form, source = planned(config), SyntheticSource(config, 1)
    for name in ("whole", "blocks"):
        (tmp_path / name).mkdir()
        write_data(source, device_weights(config, form), lay_out(config, form), tmp_path / name, no_progress)
        monkeypatch.setattr(weights, "_CHUNK_VALUES", 1000)
    written = [(tmp_path / name / "rank_0_variables" / "data_0").read_bytes() for name in ("whole", "blocks")]
    assert written[0] == written[1]


def test_where_files_cannot_be_linked_they_are_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = CASES["mha"].config
    form = planned(config)
    layout, first, other = lay_out(config, form), tmp_path / "first", tmp_path / "other"
    first.mkdir()
    other.mkdir()
    write_data(SyntheticSource(config, 1), device_weights(config, form), layout, first, no_progress)

    def refuse(*_: Any) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    build._share(first, other, layout)
    for location, size in layout.sizes.items():
        assert (other / location).stat().st_size == size
        assert (other / location).read_bytes() == (first / location).read_bytes()
        assert not (other / location).samefile(first / location)


def cache(*shape: int) -> Any:
    return np.zeros(shape, np.float32)


def test_prompts_go_to_the_row_and_position_that_they_name() -> None:
    held, update = cache(3, 1, 4, 2), np.arange(1, 9, dtype=np.float32).reshape(2, 1, 2, 2)
    assert device_ops.prompt_kv_cache(held, update, np.array([0, 1]), np.array([2, 0, 3])) is held
    np.testing.assert_array_equal(held[2, 0], [[1, 2], [3, 4], [0, 0], [0, 0]])
    np.testing.assert_array_equal(held[0, 0], [[0, 0], [5, 6], [7, 8], [0, 0]])
    assert not held[1].any()
    for valid, row in ((3, 0), (-1, 0), (0, 3)):
        with pytest.raises(InternalError, match="PromptKVCache writes 2 positions"):
            device_ops.prompt_kv_cache(held, update[:1], np.array([valid]), np.array([row, 3]))


def test_tokens_go_to_their_rows_position() -> None:
    held = device_ops.decoder_kv_cache(cache(2, 1, 3, 1), np.array([[[[5.0]]], [[[6.0]]]]), np.array([2, 0]))
    np.testing.assert_array_equal(held[:, 0, :, 0], [[0, 0, 5], [6, 0, 0]])
    with pytest.raises(InternalError, match="from 3 of row 0"):
        device_ops.decoder_kv_cache(held, cache(1, 1, 1, 1), np.array([3]))


def test_blocks_are_written_by_slot_and_read_by_table() -> None:
    rng = np.random.default_rng(5)
    keys, values = (rng.standard_normal((5, 2, 4), dtype=np.float32) for _ in range(2))
    key_cache, value_cache = cache(4, 2, 2, 4), cache(4, 2, 2, 4)
    device_ops.reshape_and_cache(keys, values, key_cache, value_cache, np.array([6, 7, 2, 3, 4]))
    np.testing.assert_array_equal(key_cache[[3, 3, 1, 1, 2], [0, 1, 0, 1, 0]], keys)
    query = rng.standard_normal((1, 4, 4), dtype=np.float32)
    mixed = device_ops.paged_attention(
        query, key_cache, value_cache, np.array([[3, 1, 2]]), np.array([5]), head_num=4, scale_value=0.5, kv_head_num=2
    )
    for head in range(4):
        weights = np.exp(keys[:, head // 2] @ query[0, head] * 0.5)
        np.testing.assert_allclose(mixed[0, head], weights @ values[:, head // 2] / weights.sum(), rtol=1e-5)
    for table, length in (([[3, -1, 2]], 5), ([[3, 1, 2]], 0)):
        with pytest.raises(InternalError, match=f"PagedAttention reads {length} tokens"):
            device_ops.paged_attention(
                query, key_cache, value_cache, np.array(table), np.array([length]),
                head_num=4, scale_value=math.sqrt(0.25), kv_head_num=2,
            )  # fmt: skip
    with pytest.raises(InternalError, match="ReshapeAndCache"):
        device_ops.reshape_and_cache(keys[:1], values[:1], key_cache, value_cache, np.array([8]))


def test_a_graph_with_one_gear_left_has_its_sizes() -> None:
    """CANN refuses a list of one: the steps of paged prompts of several lengths have one shape."""
    form = planned(batch=2, gears=[(2, 256)], form="paged")
    assert form.dynamic(FULL)
    assert not form.dynamic(INCREMENTAL)
    assert "ge.dynamicDims" not in context_cfg(INCREMENTAL, form)


def test_the_reference_device_in_cpp_has_what_is_exported() -> None:
    """Else: python tests/python/ascend_export/reference_forms.py"""
    there = {path.name: path.read_text(encoding="utf-8") for path in reference_forms.FOLDER.iterdir()}
    assert there == reference_forms.files()
