"""LlamaForCausalLM, GenerationConfig, LlamaConfig, MindFormerConfig, the streamers and the stand-in for MindSpore."""

from __future__ import annotations

import copy
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from oracle_questions import PROMPT
from recipe_model import RecipeModel

from skywork_rt.compat.mindformers import (
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaTokenizer,
    MindFormerConfig,
    TextIteratorStreamer,
    TextStreamer,
    pipeline,
)
from skywork_rt.compat.mindspore import context, set_seed
from skywork_rt.errors import CheckpointError, InvalidArgumentError, UnsupportedError

GREEDY: dict[str, Any] = {"do_sample": False, "max_length": 30}


@pytest.fixture(scope="module")
def model(native_bundle: Path, recipe_model: RecipeModel) -> Iterator[LlamaForCausalLM]:
    config = LlamaConfig.from_pretrained(str(recipe_model.config), checkpoint_name_or_path=str(native_bundle))
    with LlamaForCausalLM(config) as opened:
        yield opened


@pytest.fixture(scope="module")
def ids(tokenizer: LlamaTokenizer) -> list[int]:
    found: list[int] = tokenizer(PROMPT)["input_ids"]
    return found


def rows(outputs: Any) -> list[list[int]]:
    return [row.tolist() for row in outputs]


def test_one_row_many_rows_and_arrays_are_the_same(model: LlamaForCausalLM, ids: list[int]) -> None:
    (alone,) = model.generate(ids, **GREEDY)
    assert alone.dtype == np.int32 and alone.tolist()[: len(ids)] == ids
    for given in ([ids], np.asarray(ids), np.asarray([ids]), [*ids, 0, 0], [np.asarray(ids)]):
        assert rows(model.generate(given, **GREEDY)) == [alone.tolist()]
    two = model.generate([ids, [*ids[:3], 0, 0]], **GREEDY)  # ragged, and padded
    assert two[0].tolist() == alone.tolist()
    assert rows(two)[1] == rows(model.generate(ids[:3], **GREEDY))[0]
    assert rows(model.generate(ids, return_dict_in_generate=True, **GREEDY)["sequences"]) == [alone.tolist()]  # type: ignore[call-overload]


def test_defaults_are_the_models_configuration(model: LlamaForCausalLM, ids: list[int]) -> None:
    assert len(model.generate(ids)[0]) == 40  # max_decode_length of the YAML, and do_sample False
    assert rows(model.generate(ids)) == rows(model.generate(ids, GenerationConfig(max_length=40)))
    assert rows(model.generate(ids, top_k=None, do_sample=None)) == rows(model.generate(ids))


def test_keywords_change_a_given_configuration_and_leave_it_as_it_is(model: LlamaForCausalLM, ids: list[int]) -> None:
    config = GenerationConfig(max_length=20)
    assert len(model.generate(ids, generation_config=config, max_new_tokens=3)[0]) == len(ids) + 3
    assert config.max_new_tokens is None
    assert len(model.generate(ids, config, max_decode_length=25)[0]) == 25


def test_beams_run_through_beam_search(model: LlamaForCausalLM, ids: list[int]) -> None:
    beams = rows(model.generate(ids, num_beams=4, do_sample=True, max_new_tokens=6))
    expected = model.generator.generate(np.asarray(ids), num_beams=4, temperature=0, max_tokens=6)
    assert beams == [ids + expected.token_ids]


def test_lengths_at_least(model: LlamaForCausalLM, ids: list[int]) -> None:
    output = rows(model.generate(ids, eos_token_id=-1, **GREEDY))[0][len(ids) :]
    end = output[2]
    assert len(rows(model.generate(ids, eos_token_id=end, **GREEDY))[0]) == len(ids) + output.index(end) + 1
    for how in ({"min_new_tokens": 9}, {"min_length": len(ids) + 9}):
        made = rows(model.generate(ids, eos_token_id=end, **GREEDY, **how))[0]
        assert len(made) >= len(ids) + 9 and end not in made[len(ids) : len(ids) + 8]


def test_seeds(model: LlamaForCausalLM, ids: list[int]) -> None:
    how: dict[str, Any] = {"do_sample": True, "top_k": 50, "max_length": 40}
    assert rows(model.generate(ids, seed=3, **how)) == rows(model.generate(ids, seed=3, **how))
    set_seed(7)
    first, second = (rows(model.generate(ids, **how)) for _ in range(2))
    assert first != second
    set_seed(7)
    assert rows(model.generate(ids, **how)) == first
    with pytest.raises(InvalidArgumentError, match="seed is -1"):
        set_seed(-1)


@pytest.mark.parametrize(
    ("given", "how", "message"),
    [
        ([], {}, "input_ids is"),
        ("text", {}, "input_ids is 'text'"),
        ([[1, 2], []], {}, "nothing but padding"),
        ([0, 0], {}, "nothing but padding"),
        ([1.5], {}, "must be whole numbers"),
        ([1, 5, 6], {"max_length": 3}, "has 3 tokens, and max_length"),
        ([1, 5, 400], {}, "400"),
        ([1] * 128, {}, "seq_length is 128"),
        ([1, 5], {"max_lenght": 9}, "has no option 'max_lenght'; did you mean 'max_length'"),
        ([1, 5], {"generation_config": {"max_length": 9}}, "generation_config is a dict"),
        ([1, 5], {"logits_processor": [1]}, "logits_processor is not supported"),
        ([1, 5], {"output_scores": True}, "output_scores is not supported"),
    ],
)
def test_what_cannot_be_generated_is_refused(
    model: LlamaForCausalLM, given: Any, how: dict[str, Any], message: str
) -> None:
    with pytest.raises((InvalidArgumentError, UnsupportedError), match=message):
        model.generate(given, **how)


def test_a_model_says_what_it_is_not(model: LlamaForCausalLM) -> None:
    assert model.set_train(False) is model
    for call in (model.set_train, model):
        with pytest.raises(UnsupportedError, match=r"skywork-rt train|gives no logits"):
            call()
    with pytest.raises(InvalidArgumentError, match="has no checkpoint_name_or_path"):
        LlamaForCausalLM(LlamaConfig())
    with pytest.raises(InvalidArgumentError, match="config is a dict"):
        LlamaForCausalLM({})  # type: ignore[arg-type]


def test_generation_config_has_their_names_and_defaults() -> None:
    config = GenerationConfig()
    assert (config.max_length, config.top_k, config.do_sample, config.num_beams) == (20, 50, False, 1)
    assert (config.temperature, config.top_p, config.repetition_penalty) == (1.0, 1.0, 1.0)
    assert GenerationConfig(max_decode_length=9).max_length == 9
    assert GenerationConfig(max_decode_length=9, max_length=8).max_length == 8
    assert config.update(top_k=3, other=1) == {"other": 1} and config.top_k == 3
    assert GenerationConfig.from_dict({"top_k": 4}, top_p=0.5).to_dict()["top_p"] == 0.5
    with pytest.raises(InvalidArgumentError, match="has no option 'temprature'; did you mean 'temperature'"):
        GenerationConfig(temprature=1)


def test_llama_config_has_their_defaults_and_refuses_what_it_does_not_know(caplog: pytest.LogCaptureFixture) -> None:
    config = LlamaConfig(compute_in_2d=True, use_past_shard=False)
    assert (config.seq_length, config.hidden_size, config.vocab_size, config.top_k) == (2048, 4096, 32000, 5)
    assert (config.do_sample, config.max_decode_length, config.rms_norm_eps) == (True, 1024, 1e-5)
    assert [text for text in caplog.messages if "compute_in_2d has no effect" in text]
    assert not [text for text in caplog.messages if "use_past_shard" in text]
    with pytest.raises(InvalidArgumentError, match="has no option 'num_layer'; did you mean 'num_layers'"):
        LlamaConfig(num_layer=2)
    with pytest.raises(UnsupportedError, match="quant_config is not supported"):
        LlamaConfig(quant_config={"quant_method": "ptq"})


def test_the_recipes_yaml_is_a_llama_config() -> None:
    from skywork_rt.recipe.configs import find_config

    config = LlamaConfig(**MindFormerConfig(str(find_config("run_skywork_13b"))).model.model_config)
    assert (config.num_layers, config.hidden_size, config.num_heads, config.vocab_size) == (52, 4608, 36, 65519)


def test_mindformer_config_reads_merges_and_copies(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("a: {b: 1, c: 2}\nlist: [{d: 3}]\n")
    (tmp_path / "top.yaml").write_text("base_config: ./base.yaml\na: {b: 5}\n")
    config = MindFormerConfig(str(tmp_path / "top.yaml"), e=7)
    assert (config.a.b, config.a.c, config["list"][0].d, config.e, config.nothing) == (5, 2, 3, 7, None)
    other = copy.deepcopy(config)
    other.a.b = 9
    other.merge_from_dict({"a.c": 8, "x.y": 1})
    assert (config.a.b, other.a.b, other.a.c, other.x.y) == (5, 9, 8, 1)
    assert type(config.to_dict()["a"]) is dict
    (tmp_path / "loop.yaml").write_text("base_config: loop.yaml\n")
    (tmp_path / "code.yaml").write_text("a: !!python/object/apply:os.getcwd []\n")
    for name, message in (("loop", "without an end"), ("code", "is not YAML"), ("none", "does not exist")):
        with pytest.raises(InvalidArgumentError, match=message):
            MindFormerConfig(tmp_path / f"{name}.yaml")


def test_pipeline_refuses_what_it_is_not(model: LlamaForCausalLM, tokenizer: LlamaTokenizer) -> None:
    for arguments, message in (
        ({"task": "translation"}, "task is 'translation'"),
        ({"model": "skywork_13b"}, "nothing is downloaded by name"),
        ({"model": 5}, "model is a int"),
        ({"tokenizer": None}, "tokenizer is None"),
        ({"backend": "pt"}, "backend is 'pt'"),
    ):
        given: dict[str, Any] = {"task": "text_generation", "model": model, "tokenizer": tokenizer, **arguments}
        with pytest.raises((InvalidArgumentError, UnsupportedError), match=message):
            pipeline(**given)
    task = pipeline("text_generation", model=model, tokenizer=tokenizer)
    for inputs, how in ((["a", "b", "c"], {"batch_size": 2}), ([], {}), (5, {}), ("a", {"top": 1})):
        with pytest.raises(InvalidArgumentError):
            task(inputs, **how)  # type: ignore[arg-type]


def test_an_iterator_of_text_ends(model: LlamaForCausalLM, tokenizer: LlamaTokenizer, ids: list[int]) -> None:
    streamer = TextIteratorStreamer(tokenizer, skip_prompt=True, timeout=30)
    thread = threading.Thread(target=model.generate, args=(ids,), kwargs={**GREEDY, "streamer": streamer})
    thread.start()
    text = "".join(streamer)
    thread.join()
    assert text == tokenizer.decode(model.generate(ids, **GREEDY)[0][len(ids) :], True)
    with pytest.raises(TimeoutError, match=r"no text came within 0.01 s"):
        next(TextIteratorStreamer(tokenizer, timeout=0.01))


def test_a_characters_bytes_are_held_back(tokenizer: LlamaTokenizer, capsys: pytest.CaptureFixture[str]) -> None:
    streamer = TextStreamer(tokenizer)
    for token in tokenizer("x😀", add_special_tokens=False)["input_ids"]:
        streamer.put(token)
        assert "�" not in capsys.readouterr().out
    streamer.end()
    with pytest.raises(InvalidArgumentError, match="put"):
        streamer.put("text")
    with pytest.raises(InvalidArgumentError, match="tokenizer is None"):
        TextStreamer()


def test_set_context_takes_mindspores_names(caplog: pytest.LogCaptureFixture) -> None:
    context.set_context(mode=context.GRAPH_MODE, device_target="CPU", device_id=0)
    assert not caplog.messages
    context.set_context(device_target="Ascend", device_id=3, save_graphs=True)
    context.set_context(device_target="Ascend")
    assert len(caplog.messages) == 3
    assert context.get_context("device_target") == "Ascend"
    for options, message in (
        ({"device": "CPU"}, "did you mean"),
        ({"mode": 2}, "mode is 2"),
        ({"device_id": -1}, "-1"),
    ):
        with pytest.raises(InvalidArgumentError, match=message):
            context.set_context(**options)


def test_threads_of_the_context_are_those_of_the_model(native_bundle: Path) -> None:
    context.set_context(runtime_num_threads=1)
    with LlamaForCausalLM(LlamaConfig(checkpoint_name_or_path=str(native_bundle))) as model:
        assert model.generator.options["threads"] == 1


@pytest.mark.parametrize("broken", ["none.model", "text.model", "."])
def test_what_is_no_tokenizer_is_refused(tmp_path: Path, broken: str) -> None:
    (tmp_path / "text.model").write_text("no model")
    with pytest.raises(CheckpointError, match="LlamaTokenizer"):
        LlamaTokenizer(str(tmp_path / broken))


def test_special_tokens_may_be_set_anew(recipe_model: RecipeModel) -> None:
    tokenizer = LlamaTokenizer(str(recipe_model.tokenizer))
    plain = tokenizer("a <pad> b")["input_ids"]
    tokenizer.pad_token = "<pad>"
    tokenizer.add_bos_token = False
    assert tokenizer.pad_token_id == 400 and len(tokenizer) == 401
    assert 400 in tokenizer("a <pad> b")["input_ids"] and 400 not in plain
    assert tokenizer(["a", "a b c"], padding=True)["input_ids"][0][-1] == 400
    assert tokenizer.decode([400, 5]).startswith("<pad>")


def test_a_tokenizer_refuses_wrong_calls(tokenizer: LlamaTokenizer) -> None:
    for call, message in (
        (lambda: tokenizer("a", paddin=True), "did you mean 'padding'"),
        (lambda: tokenizer("a", padding="long"), "padding is 'long'"),
        (lambda: tokenizer("a", padding="max_length"), "needs max_length"),
        (lambda: tokenizer(["a", "bb c"], return_tensors="np"), "give padding=True"),
        (lambda: tokenizer("a", return_tensors="pt"), "return_tensors is 'pt'"),
        (lambda: tokenizer("a", "b"), "pairs of texts"),
        (lambda: tokenizer([1]), "a text is a int"),
        (lambda: tokenizer("a\ud800"), "lone surrogate"),
        (lambda: tokenizer.decode([400]), r"outside \[0, 400\)"),
        (lambda: LlamaTokenizer(tokenizer.vocab_file, padding="left"), "did you mean"),
    ):
        with pytest.raises(InvalidArgumentError, match=message):
            call()


def test_the_front_is_light_and_names_what_it_lacks() -> None:
    code = (
        "import sys, skywork_rt.compat.mindformers, skywork_rt.compat.mindspore\n"
        "heavy = {'mindspore', 'yaml', 'sentencepiece', 'skywork_rt._core', 'tokenizers'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "from skywork_rt.compat.mindformers import pipeline\n"
        "import skywork_rt.compat.mindformers.pipeline\n"
        "assert callable(skywork_rt.compat.mindformers.pipeline)\n"
        "try:\n"
        "    from skywork_rt.compat.mindformers import Trainer\n"
        "except ImportError as error:\n"
        "    assert 'skywork-rt run --run_mode train' in str(error), error\n"
        "else:\n"
        "    raise AssertionError\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
