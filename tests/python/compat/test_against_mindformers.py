"""Tokenizer, generate, pipeline and predict give what MindFormers 1.8.0 gives on the same model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from recipe_model import RecipeModel

from skywork_rt.cli.app import run
from skywork_rt.compat.mindformers import (
    LlamaConfig,
    LlamaForCausalLM,
    LlamaTokenizer,
    MindFormerConfig,
    pipeline,
)

pytestmark = pytest.mark.slow

Says = dict[str, Any]


@pytest.fixture(scope="module")
def tokenizers(mindformers_says: Says) -> dict[str, LlamaTokenizer]:
    asked = mindformers_says["asked"]
    return {name: LlamaTokenizer(asked["tokenizer"], **how) for name, how in asked["tokenizers"].items()}


@pytest.fixture(scope="module")
def model(recipe_model: RecipeModel, native_bundle: Path) -> LlamaForCausalLM:
    section = MindFormerConfig(recipe_model.config).model.model_config
    return LlamaForCausalLM(LlamaConfig(**{**section, "checkpoint_name_or_path": str(native_bundle)}))


def test_ids_padding_truncation_and_masks(mindformers_says: Says, tokenizers: dict[str, LlamaTokenizer]) -> None:
    for call, expected in zip(mindformers_says["asked"]["calls"], mindformers_says["calls"], strict=True):
        made = tokenizers[call["of"]](call["text"], **call["how"])
        found = {name: value.tolist() if hasattr(value, "tolist") else value for name, value in made.items()}
        assert found == expected, call


def test_texts_of_ids(mindformers_says: Says, tokenizers: dict[str, LlamaTokenizer]) -> None:
    for asked, expected in zip(mindformers_says["asked"]["decodings"], mindformers_says["decoded"], strict=True):
        assert tokenizers[asked["of"]].decode(asked["ids"], **asked["how"]) == expected, asked


def test_special_tokens_and_sides(mindformers_says: Says, tokenizers: dict[str, LlamaTokenizer]) -> None:
    for name, expected in mindformers_says["facts"].items():
        made = tokenizers[name]
        found = {key: getattr(made, key) for key in expected if key != "pieces"}
        found |= {"pieces": made.convert_ids_to_tokens([0, 1, 2, 3, 300])}
        assert found == expected, name


def test_generated_ids(mindformers_says: Says, model: LlamaForCausalLM) -> None:
    for case, expected in zip(mindformers_says["asked"]["generations"], mindformers_says["generated"], strict=True):
        rows = model.generate(case["ids"], do_sample=False, **case["how"])
        assert [row.tolist() for row in rows] == expected, case
        assert len({token for row in expected for token in row}) > 8  # no single token again and again


def test_pipeline(mindformers_says: Says, model: LlamaForCausalLM, tokenizer: LlamaTokenizer) -> None:
    asked = mindformers_says["asked"]
    task = pipeline("text_generation", model=model, tokenizer=tokenizer, max_length=asked["max_length"])
    for case, expected in zip(asked["pipelines"], mindformers_says["pipeline"], strict=True):
        assert task(case["inputs"], do_sample=False, **case["how"]) == expected, case


def test_predict_prints_and_writes_as_theirs(
    mindformers_says: Says,
    recipe_model: RecipeModel,
    own_cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    asked = mindformers_says["asked"]
    words = ["run", "--config", str(recipe_model.config), "--load_checkpoint", str(recipe_model.checkpoint)]
    words += ["--run_mode=predict", "--predict_data", asked["predict"], "--predict_length", str(asked["max_length"])]
    assert run([*words, "--use_parallel", "False", "--device_id", "0"]) == 0
    assert capsys.readouterr().out == f"{mindformers_says['predicted']}\n"
    assert Path("text_generation_result.txt").read_text(encoding="utf-8") == mindformers_says["predict_file"]
