"""The recipe's shell lines as `skywork-rt recipe SCRIPT FLAGS`: what each becomes, and most of them for real."""

from __future__ import annotations

import ast
import json
import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from capitals import LIST
from oracle_questions import MAX_LENGTH, PROMPT
from recipe_lines import INFER_LITE, LINES
from recipe_model import RecipeModel, settings

from skywork_rt.checkpoints.tensors.ckpt_file import CkptFile
from skywork_rt.cli.app import app, run
from skywork_rt.compat.scripts import SCRIPTS, command_of, find_script
from skywork_rt.compat.scripts.script import Call, Word
from skywork_rt.errors import InvalidArgumentError, UnsupportedError

sys.path.insert(0, str(Path(__file__).parents[1] / "recipe"))

import tiny_training
from trainings import Done, run_all

HCCN = "address_0=192.168.100.101\naddress_1=192.168.101.101\n"


def shown(word: Word) -> str:
    return word if isinstance(word, str) else f"BUNDLE OF {word.path}"


@pytest.mark.parametrize(
    ("line", "expected"), LINES, ids=[f"{i}-{line.split()[0]}" for i, (line, _) in enumerate(LINES)]
)
def test_a_line_becomes_a_command(line: str, expected: list[str]) -> None:
    script, *words = shlex.split(line)
    command = command_of(script, words)
    assert isinstance(command, list)
    assert [shown(word) for word in command] == expected


def test_commands_that_lines_become_take_these_words() -> None:
    import typer

    group: Any = typer.main.get_command(app)
    for line, expected in LINES:
        found, rest = group.commands[expected[0]], expected[1:]
        if hasattr(found, "commands"):
            found, rest = found.commands[rest[0]], rest[1:]
        assert found.make_context(expected[0], list(rest), resilient_parsing=False), line


def test_the_line_of_lite_inference() -> None:
    script, *words = shlex.split(INFER_LITE)
    command = command_of(script, words)
    assert isinstance(command, Call)
    assert command.values["max_length"] == "128" and command.values["loop"] == "2"


def test_scripts_are_found_by_any_of_their_names() -> None:
    for name in ("convert_weight", "convert-weight", "research/skywork/convert_weight.py"):
        assert find_script(name).name == "convert_weight"
    with pytest.raises(InvalidArgumentError, match="did you mean 'evaluate_ceval'"):
        find_script("evaluate_cevel.py")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("convert_weight --torch_ckpt_pat x", "has no option '--torch_ckpt_pat'; did you mean '--torch_ckpt_path'"),
        ("convert_weight --torch_ckpt_path", "--torch_ckpt_path needs a value"),
        ("convert_weight a.bin", "takes flags only; what is 'a.bin'"),
        ("convert_weight --dtype int8", "--dtype is 'int8', but must be float16 or"),
        ("evaluate_mmlu -c m.ckpt", "--eval_data_path is missing"),
        ("evaluate_mmlu -d data", "--checkpoint-path \\(-c\\) is missing"),
        ("evaluate_mmlu -x data", "has no option '-x'"),
        ("evaluate_cmmlu_lite -d data", "--full_model_path is missing"),
        ("skywork_dataprocess --file_partition 4", "--file_partition is '4', but must be 1"),
        ("skywork_dataprocess --dataset_type qa", "--dataset_type is 'qa', but must be text"),
        ("run_skywork_infer_lite --full_model_path x --batch_size none", "--batch_size is 'none'"),
        ("hccl_tools --visible_devices 4,5,6,7", "renumbers the devices"),
        ("merge_hccl a.json", "two servers or more"),
        ("merge_hccl", "needs the rank tables"),
        ("transform_ckpt --src_ckpt_dir a --dst_ckpt_dir b", "give --src_ckpt_strategy"),
        ("run_singlenode.sh 'python x.py' table.json", "run_singlenode takes"),
    ],
)
def test_wrong_lines_are_refused_by_name(line: str, message: str) -> None:
    script, *words = shlex.split(line)
    with pytest.raises((InvalidArgumentError, UnsupportedError), match=message):
        command_of(script, words)


def test_flags_without_a_meaning_here_warn_and_go(caplog: pytest.LogCaptureFixture) -> None:
    command_of("evaluate_mmlu", shlex.split("-d data -c m.ckpt --device_id=7 -s 5 --debug --max-seq-len 2048"))
    told = " ".join(caplog.messages)
    assert all(f"--{name} has no effect" in told for name in ("device_id", "seed", "debug", "max-seq-len"))


def test_recipe_lists_its_scripts_and_their_flags(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["recipe"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in SCRIPTS)
    assert run(["recipe", "evaluate_ceval_lite.py", "--help"]) == 0
    assert "--full_model_path" in capsys.readouterr().out
    assert run(["recipe", "nothing_like_it"]) == 2
    assert run(["recipe", "run_skywork", "--run_mod", "train"]) == 2
    assert "--run_mode" in capsys.readouterr().err


def same_tensors(one: Path, other: Path) -> bool:
    first, second = CkptFile(one), CkptFile(other)
    names = sorted(first.tensors)
    return names == sorted(second.tensors) and all(
        np.array_equal(np.asarray(first.read(name)), np.asarray(second.read(name))) for name in names
    )


@pytest.mark.slow
def test_conversion_there_and_back(
    recipe_model: RecipeModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = str(recipe_model.checkpoint), tmp_path / "back.ckpt"
    hf = tmp_path / "hf.bin"
    assert run(["recipe", "convert_reversed.py", "--mindspore_ckpt_path", source, "--torch_ckpt_path", str(hf)]) == 0
    weight = tmp_path / "hf" / "pytorch_model.bin"
    assert weight.is_file()
    words = ["recipe", "convert_weight", f"--torch_ckpt_path={weight}", "--mindspore_ckpt_path", str(out)]
    assert run(words) == 0
    assert "skywork-rt convert" in capsys.readouterr().err  # what it became is shown
    assert same_tensors(recipe_model.checkpoint, out)
    assert run(words) == 2  # nothing is overwritten unasked
    assert run([*words, "--overwrite"]) == 0


@pytest.mark.slow
def test_checkpoints_of_ranks(recipe_model: RecipeModel, tmp_path: Path) -> None:
    ranks, back = tmp_path / "ranks", tmp_path / "back"
    assert run(["split", str(recipe_model.checkpoint), str(ranks), "--model-parallel", "2", "--workers", "1"]) == 0
    words = ["recipe", "transform_ckpt.py", "--src_ckpt_strategy", str(ranks / "strategy")]
    assert run([*words, "--src_ckpt_dir", str(ranks), "--dst_ckpt_dir", str(back)]) == 0
    assert same_tensors(recipe_model.checkpoint, back / "rank_0" / "checkpoint_0.ckpt")
    again = ["recipe", "transform_ckpt.py", "--dst_ckpt_strategy", str(ranks / "strategy"), "--src_ckpt_dir", str(back)]
    assert run([*again, "--dst_ckpt_dir", str(tmp_path / "again"), "--prefix", "part_"]) == 0
    assert same_tensors(ranks / "rank_1" / "checkpoint_1.ckpt", tmp_path / "again" / "rank_1" / "part_1.ckpt")


def test_rank_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("hccn.conf").write_text(HCCN)
    for address in ("10.0.0.1", "10.0.0.2"):
        words = ["--device_num", "[0,2)", "--server_ip", address, "--hccn_conf", "hccn.conf"]
        assert run(["recipe", "hccl_tools.py", *words]) == 0
    tables = sorted(str(path) for path in Path().glob("hccl_*.json"))
    assert len(tables) == 2
    assert run(["recipe", "merge_hccl.py", *tables]) == 0
    (merged,) = {str(path) for path in Path().glob("*.json")} - set(tables)
    assert json.loads(Path(merged).read_text())["server_count"] == "2"


@pytest.mark.slow
def test_predict_takes_files_and_says_what_is_missing(
    recipe_model: RecipeModel,
    own_cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("prompts.txt").write_text(f"{PROMPT}\n广东\\n的\n", encoding="utf-8")
    words = ["recipe", "run_skywork.py", "--config", str(recipe_model.config), "--run_mode=predict"]
    given = ["--load_checkpoint", str(recipe_model.checkpoint), "--predict_length", str(MAX_LENGTH)]
    assert run([*words, *given, "--predict_data", "prompts.txt", "--use_parallel", "False"]) == 0
    first, second = ast.literal_eval(capsys.readouterr().out)
    assert first["text_generation_text"][0].startswith(PROMPT)
    assert second["text_generation_text"][0].startswith("广东\n的")
    assert "use_parallel" not in caplog.text
    assert run([*words, *given, "--predict_data", "的", "--auto_trans_ckpt", "True", "--use_parallel", "True"]) == 0
    assert all(f"--{name} has no effect here" in caplog.text for name in ("auto_trans_ckpt", "use_parallel"))
    capsys.readouterr()
    for missing, message in (
        ([*words, *given], "--predict_data is missing"),
        ([*words, "--predict_data", "a"], "--load_checkpoint is missing"),
        ([*words, "--predict_data", "a", "--load_checkpoint", "no.ckpt"], "the checkpoint no.ckpt does not exist"),
        ([*words, *given, "--predict_data", "a", "--tokenizer", "no.model"], "there is no tokenizer.model"),
        ([*words, *given, "--run_mode", "serve"], "--run_mode is 'serve'"),
        ([*words, *given, "--pet_method", "lora"], "low-rank training is set in the YAML"),
        ([*words, *given, "--task", "translation"], "text_generation is the one"),
        ([*words, *given, "--use_parallel", "maybe"], "--use_parallel is 'maybe', but must be True or False"),
    ):
        assert run(missing) != 0
        assert message in capsys.readouterr().err, message


@pytest.mark.slow
def test_export_then_lite_inference(
    recipe_model: RecipeModel,
    layout: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["recipe", "run_skywork.py", "--config", str(recipe_model.config), "--run_mode=export", "--device_id", "0"]
    given = ["--load_checkpoint", str(recipe_model.checkpoint), "--use_parallel", "False", "--batch_size", "1"]
    assert run([*words, *given, "--use_past", "False"]) == 0
    assert sorted(path.name for path in Path("output").iterdir()) == ["mindir_full_checkpoint"]
    capsys.readouterr()
    paths = ["--full_model_path", "output/mindir_full_checkpoint/rank_0_graph.mindir"]
    lite = ["recipe", "run_skywork_infer_lite.py", "--token_path", str(recipe_model.tokenizer), "--seq_length", "128"]
    assert run([*lite, *paths, "--max_length", "40", "--loop", "2", "--batch_size", "2"]) == 0
    alone = capsys.readouterr().out.splitlines()
    whole = str(layout / "mindir_full_checkpoint/rank_0_graph.mindir")
    pair = ["--full_model_path", whole, "--inc_model_path", whole.replace("_full_", "_inc_")]
    assert run([*lite, *pair, "--max_length", "40", "--loop", "2", "--batch_size", "2"]) == 0
    text = capsys.readouterr().out
    assert text.startswith(PROMPT) and "".join(f"{line}\n" for line in alone) == text


@pytest.fixture(scope="module")
def trained(recipe_model: RecipeModel, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Done]]:
    """The recipe's lines of preparing and fine-tuning, in one process that imports MindSpore once."""
    folder = tmp_path_factory.mktemp("trained")
    rows = [{"content": line[:20], "summary": line[20:]} for line in [LIST] * 20]
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (folder / "adgen.jsonl").write_text(text, encoding="utf-8")
    whole = tiny_training.settings(folder / "adgen.mindrecord")
    whole["model"] = settings(recipe_model.tokenizer)["model"]
    (folder / "run_skywork_tiny.yaml").write_text(yaml.safe_dump(whole, sort_keys=False), encoding="utf-8")
    prepare = "recipe skywork_dataprocess.py --input_file_path adgen.jsonl --output_file adgen.mindrecord"
    train = "recipe skywork/run_skywork.py --config run_skywork_tiny.yaml --train_dataset adgen.mindrecord"
    options = "--run_mode finetune --auto_trans_ckpt False --use_parallel False --batch_size 4 --output_dir out"
    commands = {
        "prepare": [*prepare.split(), "--seq_length", "128", "--model_file", str(recipe_model.tokenizer)],
        "finetune": [*train.split(), *options.split(), "--load_checkpoint", str(recipe_model.checkpoint)],
    }
    return folder, run_all(commands, folder)


@pytest.mark.slow
def test_preparing_and_fine_tuning(trained: tuple[Path, dict[str, Done]]) -> None:
    folder, done = trained
    assert done["prepare"].status == 0, done["prepare"]
    assert "records of 128 + 1 tokens from 20 documents" in done["prepare"].out
    assert done["finetune"].status == 0, done["finetune"]
    assert "trained to step" in done["finetune"].out
    assert list((folder / "out" / "checkpoint" / "rank_0").glob("*.ckpt"))


def test_an_error_of_the_command_is_that_of_the_script(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["recipe", "convert_weight", "--torch_ckpt_path", str(tmp_path / "a.bin"), "--mindspore_ckpt_path", "x"]
    assert run(words) == 1
    err = capsys.readouterr().err
    assert err.count("error:") == 1 and "Traceback" not in err
