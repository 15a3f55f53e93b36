"""InferTask: what it opens, what infer() gives, what is refused and what warns."""

from __future__ import annotations

import inspect
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from oracle_questions import PROMPT
from recipe_model import RecipeModel, write_recipe_model

from skywork_rt.compat.mindformers import InferConfig, InferTask, LlamaTokenizer, TextStreamer
from skywork_rt.compat.mindformers.inference.infers import TextGeneratorInfer
from skywork_rt.errors import InvalidArgumentError, UnsupportedError

FULL, INCREMENTAL = "mindir_full_checkpoint/rank_0_graph.mindir", "mindir_inc_checkpoint/rank_0_graph.mindir"


def config(path: Path, incremental: Path | None = None, **changes: Any) -> InferConfig:
    values = {"target": "CPU", "infer_seq_length": 128, "model_name": "llama", **changes}
    return InferConfig(prefill_model_path=str(path), increment_model_path=str(incremental or ""), **values)


@pytest.fixture(scope="module")
def task(native_bundle: Path, tokenizer: LlamaTokenizer) -> Iterator[TextGeneratorInfer]:
    with InferTask.get_infer_task("text_generation", config(native_bundle), tokenizer=tokenizer) as opened:
        yield opened


@pytest.mark.slow
def test_a_pair_of_graphs_and_the_full_one_alone_give_the_texts_of_the_native_backend(
    task: TextGeneratorInfer, layout: Path, lite_bundle: Path, tokenizer: LlamaTokenizer
) -> None:
    texts = [PROMPT, "广东的省会", "福建"]  # no batch is baked in, and lengths differ
    expected = task.infer(texts, max_length=40, add_special_tokens=True)
    own = (lite_bundle / "full.ms", lite_bundle / "incremental.ms")  # which share a file of weights
    for graphs in ((layout / FULL, layout / INCREMENTAL), (layout / FULL,), own, own[:1]):
        with InferTask.get_infer_task("text_generation", config(*graphs), tokenizer=tokenizer) as opened:
            assert opened.generator.options["backend"] == "lite"
            assert opened.infer(texts, max_length=40, add_special_tokens=True) == expected


def test_a_text_is_a_batch_of_one_and_the_prompt_comes_back_with_its_output(task: TextGeneratorInfer) -> None:
    (text,) = task.infer(PROMPT, max_length=30, add_special_tokens=True)
    assert text.startswith(PROMPT) and len(text) > len(PROMPT)
    assert task(PROMPT, max_length=30, add_special_tokens=True) == [text]


def test_names_defaults_and_order_of_arguments() -> None:
    found = {name: p.default for name, p in inspect.signature(TextGeneratorInfer.infer).parameters.items()}
    assert list(found.items())[2:-1] == [
        ("do_sample", False),
        ("top_k", 1),
        ("top_p", 1.0),
        ("temperature", 1.0),
        ("repetition_penalty", 1.0),
        ("eos_token_id", 2),
        ("pad_token_id", 0),
        ("max_length", 256),
        ("is_sample_acceleration", False),
        ("add_special_tokens", False),
        ("streamer", None),
    ]
    made = inspect.signature(InferConfig.__init__).parameters
    assert [(name, p.default) for name, p in made.items()][1:-1] == [
        ("prefill_model_path", ""),
        ("increment_model_path", ""),
        ("model_type", "mindir"),
        ("model_name", "common"),
        ("infer_seq_length", 1024),
        ("target", "Ascend"),
        ("device_id", 0),
        ("rank_id", 0),
        ("ge_config_path", ""),
        ("dynamic", False),
        ("paged_attention", False),
        ("pa_block_size", 16),
        ("pa_num_blocks", 512),
    ]


def test_max_length_counts_the_prompt_and_a_full_one_comes_back(
    task: TextGeneratorInfer, tokenizer: LlamaTokenizer
) -> None:
    ids = tokenizer(PROMPT)["input_ids"]
    assert task.infer([PROMPT], max_length=len(ids), add_special_tokens=True) == [PROMPT]
    assert task.infer([PROMPT], max_length=3, add_special_tokens=True) == [PROMPT]
    (one,) = task.infer([PROMPT], max_length=len(ids) + 1, add_special_tokens=True, eos_token_id=-1)
    assert one == tokenizer.decode([*ids, *task.generator.generate(ids, max_tokens=1, temperature=0).token_ids], True)


def test_several_ends_and_their_absence(task: TextGeneratorInfer, tokenizer: LlamaTokenizer) -> None:
    ids = tokenizer(PROMPT, add_special_tokens=False)["input_ids"]
    output = task.generator.generate(ids, max_tokens=10, temperature=0, ignore_eos=True).token_ids
    ends = [output[4], 399]
    stop = output.index(output[4]) + 1
    assert task.infer(PROMPT, max_length=64, eos_token_id=ends) == [tokenizer.decode(ids + output[:stop], True)]


def test_the_same_seed_gives_the_same_texts_in_any_batch(task: TextGeneratorInfer) -> None:
    how: dict[str, Any] = {"do_sample": True, "top_k": 50, "top_p": 0.95, "temperature": 0.9, "max_length": 40}
    alone = task.infer(PROMPT, seed=5, **how)
    assert task.infer([PROMPT, "广东"], seed=5, **how)[0] == alone[0]
    assert task.infer([PROMPT, PROMPT], seed=5, **how)[1] != alone[0]  # a row has its own numbers
    assert task.infer(PROMPT, seed=6, **how) != alone


class Recorder:
    """A streamer that keeps what it gets."""

    def __init__(self) -> None:
        self.puts: list[Any] = []
        self.ends = 0

    def put(self, value: Any) -> None:
        self.puts.append(value)

    def end(self) -> None:
        self.ends += 1


def test_a_streamer_gets_the_prompt_then_each_token(task: TextGeneratorInfer, tokenizer: LlamaTokenizer) -> None:
    seen = Recorder()
    (text,) = task.infer(PROMPT, max_length=30, streamer=seen)
    ids = tokenizer(PROMPT, add_special_tokens=False)["input_ids"]
    assert seen.ends == 1 and seen.puts[0].tolist() == ids
    assert all(isinstance(put, np.ndarray) and put.shape == (1,) for put in seen.puts[1:])
    assert tokenizer.decode([*ids, *(int(put[0]) for put in seen.puts[1:])], True) == text


def test_rows_of_a_batch_are_streamed_side_by_side(task: TextGeneratorInfer, tokenizer: LlamaTokenizer) -> None:
    seen = Recorder()
    texts = task.infer(["广东", PROMPT], max_length=30, streamer=seen, eos_token_id=-1)
    rows: list[list[int]] = [[], []]
    for put in seen.puts:
        assert len(put) == 2
        for row, new in zip(rows, put, strict=True):
            row += new
    assert tokenizer.decode(rows, True) == texts
    short = 30 - len(tokenizer(PROMPT, add_special_tokens=False)["input_ids"])
    assert [put[1] != [] for put in seen.puts[1:]] == [True] * short + [False] * (len(seen.puts) - 1 - short)


def test_text_streamer_prints_the_text(
    task: TextGeneratorInfer, tokenizer: LlamaTokenizer, capsys: pytest.CaptureFixture[str]
) -> None:
    (text,) = task.infer(PROMPT, max_length=40, streamer=TextStreamer(tokenizer))
    assert capsys.readouterr().out == text + "\n"


def test_a_failing_run_ends_its_streamer(task: TextGeneratorInfer) -> None:
    class Bad(Recorder):
        def put(self, value: Any) -> None:
            raise RuntimeError("full")

    bad = Bad()
    with pytest.raises(RuntimeError, match="full"):
        task.infer(PROMPT, streamer=bad)
    assert bad.ends == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"topk": 3}, "infer\\(\\) has no option 'topk'; did you mean 'top_k'"),
        ({"do_sample": True, "temperature": 0}, "temperature is 0, but must be over 0"),
        ({"do_sample": True, "top_k": -5}, "top_k"),
        ({"max_length": -1}, "max_length is -1"),
        ({"eos_token_id": "2"}, "eos_token_id is '2'"),
        ({"num_beams": 0}, "num_beams is 0"),
        ({"streamer": object()}, "must have put\\(\\) and end\\(\\)"),
        ({"streamer": Recorder(), "num_beams": 2}, "a streamer cannot be used with num_beams=2"),
        ({"seed": -1}, "seed is -1"),
        ({"encoder_repetition_penalty": 1.2}, "encoder_repetition_penalty is not supported"),
    ],
)
def test_wrong_arguments_are_refused_by_name(task: TextGeneratorInfer, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises((InvalidArgumentError, UnsupportedError), match=message):
        task.infer(PROMPT, **arguments)


@pytest.mark.parametrize("inputs", [[], [""], 5, [1, 2], [["a"]]])
def test_inputs_that_are_no_texts_are_refused(task: TextGeneratorInfer, inputs: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="infer"):
        task.infer(inputs)


def test_a_prompt_beyond_the_sequence_length_is_refused(native_bundle: Path, tokenizer: LlamaTokenizer) -> None:
    short = config(native_bundle, infer_seq_length=8)
    with (
        InferTask.get_infer_task("text_generation", short, tokenizer=tokenizer) as opened,
        pytest.raises(InvalidArgumentError, match="a prompt has 14 tokens, but the sequence length is 8"),
    ):
        opened.infer(PROMPT, max_length=20)


def test_what_has_no_effect_is_told_once(
    task: TextGeneratorInfer, native_bundle: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        made = InferConfig(
            str(native_bundle), device_id=3, dynamic=True, paged_attention=True, add_special_tokens=False, rank_id=1
        )
        task.infer(PROMPT, max_length=20, is_sample_acceleration=True, renormalize_logits=True)
    told = [record.getMessage() for record in caplog.records if "no effect" in record.getMessage()]
    assert len(told) == len(set(told)) == 8
    for name in ("target='Ascend'", "device_id=3", "rank_id=1", "dynamic", "paged_attention", "add_special_tokens",
                 "is_sample_acceleration", "renormalize_logits"):  # fmt: skip
        assert sum(name in text for text in told) == 1, name
    assert made.seq_length == 1024


def test_lengths_beyond_the_model_are_told_and_bounded(
    native_bundle: Path, tokenizer: LlamaTokenizer, caplog: pytest.LogCaptureFixture
) -> None:
    with InferTask.get_infer_task(
        "text_generation", config(native_bundle, infer_seq_length=4096), tokenizer=tokenizer
    ) as t:
        t.infer(PROMPT, max_length=4000)
    assert [text for text in caplog.messages if "4096 was asked for" in text]
    assert [text for text in caplog.messages if "4000 tokens were asked for, but the sequence length is 128" in text]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model_type": "onnx"}, "model_type is 'onnx'"),
        ({"target": "TPU"}, "target is 'TPU'"),
        ({"infer_seq_length": 0}, "infer_seq_length is 0"),
        ({"increment_path": "x"}, "has no option 'increment_path'; did you mean 'increment_model_path'"),
    ],
)
def test_wrong_configurations_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        InferConfig(**arguments)


def test_what_cannot_be_opened_says_what_to_do(tokenizer: LlamaTokenizer, native_bundle: Path, tmp_path: Path) -> None:
    def opening(made: InferConfig, task: str = "text_generation", **arguments: Any) -> str:
        with pytest.raises((InvalidArgumentError, UnsupportedError)) as raised:
            InferTask.get_infer_task(task, made, **{"tokenizer": tokenizer, **arguments})
        return str(raised.value)

    theirs = tmp_path / "rank_0_graph.mindir"
    theirs.write_bytes(b"\x0a\x05graph")
    assert "skywork-rt export CKPT OUT --layout mindformers" in opening(config(theirs))
    assert "is no file" in opening(config(tmp_path / "none.mindir"))
    assert "does not exist" in opening(config(tmp_path / "none.ckpt"))
    assert "prefill_model_path is empty" in opening(InferConfig(target="CPU"))
    assert "needs no increment_model_path" in opening(config(native_bundle, theirs))
    assert "task_type is 'translation'" in opening(config(native_bundle), "translation")
    assert "tokenizer is None" in opening(config(native_bundle), tokenizer=None)


@pytest.mark.slow
def test_graphs_that_are_no_pair_are_refused(layout: Path, tokenizer: LlamaTokenizer, tmp_path: Path) -> None:
    def opening(full: Path, incremental: Path) -> str:
        with pytest.raises(InvalidArgumentError) as raised:
            InferTask.get_infer_task("text_generation", config(full, incremental), tokenizer=tokenizer)
        return str(raised.value)

    assert "are the two paths exchanged?" in opening(layout / INCREMENTAL, layout / FULL)
    other = shutil.copytree(layout, tmp_path / "other")
    manifest = other / "mindir_inc_checkpoint" / "model.json"
    body = json.loads(manifest.read_text())
    body["source"]["sha256"] = "0" * 64
    manifest.write_text(json.dumps(body))
    assert "are graphs of two models" in opening(layout / FULL, other / INCREMENTAL)


def test_a_checkpoint_is_exported_with_the_tasks_tokenizer(
    own_cache: Path, tmp_path: Path, task: TextGeneratorInfer, capsys: pytest.CaptureFixture[str]
) -> None:
    model: RecipeModel = write_recipe_model(tmp_path / "model")
    elsewhere = model.tokenizer.rename(tmp_path / "elsewhere.model")
    own = LlamaTokenizer(str(elsewhere))
    with InferTask.get_infer_task("text_generation", config(model.checkpoint), tokenizer=own) as opened:
        assert opened.infer(PROMPT, max_length=40) == task.infer(PROMPT, max_length=40)
        assert opened.generator.tokenizer is not None
    assert "skywork_tiny.ckpt is exported once" in capsys.readouterr().err
