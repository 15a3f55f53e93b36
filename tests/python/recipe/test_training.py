"""Trainings on MindFormers' own Trainer, on CPU: the losses of torch, exact resume, evaluation, overflow, LoRA."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_training as tiny
from trainings import Done, run_all

from skywork_rt.checkpoints.tensors.ckpt_file import CkptFile
from skywork_rt.recipe.train.records import StepRecord, read_log

pytestmark = pytest.mark.slow

GOLDEN = json.loads((Path(__file__).parent / "golden" / "training.json").read_text(encoding="utf-8"))
EVALUATION = ["--set", "do_eval=True", "--set", "eval_step_interval=10", "--eval-dataset", "eval.mindrecord"]

EVEN = [
    "--train-dataset",
    "even.mindrecord",
    "--set",
    "model.model_config.num_layers=1",
    "--set",
    "runner_config.epochs=1",
]
EVEN += ["--set", "do_eval=True", "--set", "eval_step_interval=6", "--eval-dataset", "eval.mindrecord"]
TWO = ["--use_parallel", "True", "--set", "parallel_config.data_parallel=2", "--set", "runner_config.batch_size=2"]


@dataclass(frozen=True)
class Trained:
    """A folder in which trainings ran, and how each ended."""

    folder: Path
    done: dict[str, Done]
    before: set[str]

    def log(self, name: str) -> list[StepRecord]:
        return read_log(self.folder / name / "loss.jsonl")

    def checkpoint(self, name: str, step: int) -> CkptFile:
        """The file of a step, whose name is that of two epochs of 20."""
        epoch, within = (step - 1) // 20 + 1, (step - 1) % 20 + 1
        return CkptFile(self.folder / name / "checkpoint" / "rank_0" / f"tiny_rank_0-{epoch}_{within}.ckpt")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trained]:
    """All trainings of this file, in one process (and the ranks that it starts)."""
    folder = tmp_path_factory.mktemp("training")
    _write_inputs(folder)
    before = {path.name for path in folder.iterdir()}
    start = ["--run-mode", "finetune", "--load-checkpoint", "start.ckpt"]
    lora = "model.model_config.pet_config={pet_type: lora, lora_rank: 4, lora_alpha: 8, lora_dropout: 0.0, "
    lora += "target_modules: '.*wq|.*w2'}"
    one = ["--set", "model.model_config.num_layers=1", "--run-mode", "finetune"]
    bare = ["train", "--config", "bare.yaml", *one[:2], "--run-mode", "eval"]
    for rank in range(2):
        old = folder / "lora" / "checkpoint" / f"rank_{rank}" / f"tiny_rank_{rank}-9_9.ckpt"
        old.parent.mkdir(parents=True)
        old.write_bytes(b"of an earlier training")
    (folder / "lora" / "loss.jsonl").write_text('{"step": 1, "epoch": 1, "loss": 1000.0}\n')
    scale = ["--set", "runner_wrapper.scale_sense.loss_scale_value=3e38"]
    config = ["train", "--config", "tiny.yaml"]
    done = run_all(
        {
            "whole": [*config, *start, *EVALUATION, "--output-dir", "whole"],
            "interrupted": [*config, *start, "--output-dir", "interrupted"],
            "resumed": [*config, "--resume-training", "True", "--output-dir", "interrupted"],
            "eval": [*config, "--run_mode", "eval", "--load_checkpoint", "whole/checkpoint", *EVALUATION[4:]],
            "lora": [
                *config,
                *one,
                "--load-checkpoint",
                "one.ckpt",
                "--output-dir",
                "lora",
                "--overwrite",
                "--set",
                lora,
                *_steps(4),
            ],
            "overflow": [
                *config,
                *one,
                "--load-checkpoint",
                "steep.ckpt",
                "--output-dir",
                "overflow",
                *scale,
                *_steps(3),
            ],
            "nan": [*config, *one, "--load-checkpoint", "nan.ckpt", "--output-dir", "nan"],
            "one": [*config, *EVEN, "--output-dir", "one"],
            "two": [*config, *EVEN, *TWO, "--output-dir", "two"],
            "short": [*config, "--train-dataset", "short.mindrecord", "--output-dir", "short"],
            "foreign": [*config, "--train-dataset", "foreign.mindrecord", "--output-dir", "foreign"],
            "again": [*config, *start, "--output-dir", "whole"],
            "complete": [*config, "--resume_training", "True", "--output_dir", "whole"],
            # Its data are found wrong when MindSpore has been started: by then nothing may be removed.
            "spoiled": [*config, "--train-dataset", "short.mindrecord", "--output-dir", "whole", "--overwrite"],
            "bare": [*bare, "--load-checkpoint", "one.ckpt", "--eval-dataset", "train.mindrecord"],
            "weights": [*config, "--resume-training", "True", "--load-checkpoint", "start.ckpt", "--output-dir", "x"],
        },
        folder,
    )
    yield Trained(folder, done, before)


def _steps(count: int) -> list[str]:
    return ["--set", f"runner_config.stop_step={count}"]


def _write_inputs(folder: Path) -> None:
    import mindspore as ms

    ids, labels = tiny.golden_data()
    data = tiny.write_mindrecord(folder / "train.mindrecord", ids, labels)
    tiny.write_mindrecord(folder / "eval.mindrecord", tiny.records(10, seed=9))
    # Here all ids count, so that the mean over both ranks is the mean over all.
    tiny.write_mindrecord(folder / "even.mindrecord", tiny.records(24, seed=5))
    tiny.write_mindrecord(folder / "short.mindrecord", tiny.records(8, length=tiny.LENGTH - 1))
    tiny.write_mindrecord(folder / "foreign.mindrecord", tiny.records(8) + np.int32(100))
    settings = tiny.settings(data, runner_config__epochs=2)
    settings["eval_dataset"] = {"input_columns": ["input_ids", "labels"], "batch_size": 4}
    tiny.write_settings(folder / "tiny.yaml", settings)
    del settings["eval_dataset"]
    settings["train_dataset"]["input_columns"] = ["input_ids"]
    tiny.write_settings(folder / "bare.yaml", settings)
    weights = tiny.initial_weights()
    one = {name: value for name, value in weights.items() if ".layers.1." not in name}
    damaged = {**one, "model.norm_out.weight": one["model.norm_out.weight"] * np.float32("nan")}
    steep = {**one, "lm_head.weight": one["lm_head.weight"] * np.float32(50)}
    for name, tensors in {"start": weights, "one": one, "nan": damaged, "steep": steep}.items():
        listed = [{"name": key, "data": ms.Tensor(value)} for key, value in tensors.items()]
        ms.save_checkpoint(listed, str(folder / f"{name}.ckpt"))


def test_losses_equal_torch_adamw_over_20_steps(trained: Trained) -> None:
    records = trained.log("whole")
    assert trained.done["whole"].status == 0, trained.done["whole"].err
    assert [record.step for record in records] == list(range(1, 41))
    for record, golden in zip(records[:20], GOLDEN["steps"], strict=True):
        assert record.loss == pytest.approx(golden["loss"], abs=1e-5)
        assert record.grad_norm == pytest.approx(golden["grad_norm"], rel=1e-4)
        assert record.learning_rate == pytest.approx(golden["learning_rate"], rel=1e-5)


def test_weights_equal_torch_adamw_after_20_steps(trained: Trained) -> None:
    file = trained.checkpoint("whole", 20)
    for name, golden in GOLDEN["weights"].items():
        values = file.read(name).reshape(-1).astype(np.float64)
        places = np.linspace(0, values.size - 1, 8).astype(int)
        assert values[places] == pytest.approx(golden["values"], abs=1e-5), name
        assert np.sqrt((values**2).sum()) == pytest.approx(golden["norm"], rel=1e-5), name


def test_a_checkpoint_says_inside_what_its_name_says(trained: Trained) -> None:
    folder = trained.folder / "whole" / "checkpoint" / "rank_0"
    files = sorted(path.name for path in folder.glob("*.ckpt"))
    assert files == [f"tiny_rank_0-{epoch}_{step}.ckpt" for epoch in (1, 2) for step in (10, 20)]
    for step in (10, 20, 30, 40):
        file = trained.checkpoint("whole", step)
        assert int(file.read_array("step_num")) == step
        assert int(file.read_array("epoch_num")) == (step - 1) // 20 + 1
        assert int(file.read_array("global_step")[0]) == step
    assert json.loads((folder / "meta.json").read_text())["last_ckpt_file"] == "tiny_rank_0-2_20.ckpt"


def test_the_last_step_is_saved_though_no_interval_ends_with_it(trained: Trained) -> None:
    assert int(trained.checkpoint("lora", 4).read_array("step_num")) == 4


def test_a_resumed_training_ends_bit_equal_to_one_that_was_not_interrupted(trained: Trained) -> None:
    assert trained.done["resumed"].status == 0, trained.done["resumed"].err
    whole, resumed = trained.checkpoint("whole", 40), trained.checkpoint("interrupted", 40)
    assert whole.tensors.keys() == resumed.tensors.keys()
    assert any(name.startswith("adam_m.") for name in whole.tensors)
    for name in whole.tensors:
        assert whole.read_bytes(name) == resumed.read_bytes(name), name


def test_ctrl_c_saves_the_state_and_says_how_to_go_on(trained: Trained) -> None:
    done = trained.done["interrupted"]
    assert done.status - 128 in (signal.SIGINT, signal.SIGTERM), done.err
    assert "which is saved; --resume-training True goes on from there" in done.out
    assert int(done.out.split("stopped as asked (Ctrl-C, SIGTERM or SIGHUP) after step ")[1].split(",")[0]) < 40


def test_two_ranks_train_as_one_does_with_twice_the_batch(trained: Trained) -> None:
    assert trained.done["one"].status == 0, trained.done["one"].err
    assert trained.done["two"].status == 0, trained.done["two"].err
    one, two = trained.log("one"), trained.log("two")
    assert len(one) == len(two) == 6
    for alone, together in zip(one, two, strict=True):
        assert together.loss == pytest.approx(alone.loss, abs=2e-6)
        assert together.grad_norm == pytest.approx(alone.grad_norm, rel=1e-5)
    assert two[-1].eval_loss == pytest.approx(one[-1].eval_loss, abs=2e-6)
    folder = trained.folder / "two" / "checkpoint"
    files = [CkptFile(folder / f"rank_{rank}" / f"tiny_rank_{rank}-1_6.ckpt") for rank in range(2)]
    alone_file = CkptFile(trained.folder / "one" / "checkpoint" / "rank_0" / "tiny_rank_0-1_6.ckpt")
    for name in alone_file.tensors:
        assert files[0].read_bytes(name) == files[1].read_bytes(name), name
        if name.startswith(("model.", "lm_head")):
            assert files[0].read(name) == pytest.approx(alone_file.read(name), abs=1e-5), name


def test_records_of_another_length_or_vocabulary_are_refused_before_the_first_step(trained: Trained) -> None:
    for name, said in (("short", "has 16 ids; training at"), ("foreign", "which is not in the vocabulary of 128")):
        assert trained.done[name].status == 2
        assert said in trained.done[name].err
        assert not (trained.folder / name / "checkpoint").exists()


def test_the_log_of_a_resumed_training_has_every_step_once(trained: Trained) -> None:
    whole, resumed = trained.log("whole"), trained.log("interrupted")
    assert [(r.step, r.epoch, r.loss) for r in resumed] == [(r.step, r.epoch, r.loss) for r in whole]


def test_evaluation_in_training_equals_evaluation_of_its_checkpoint(trained: Trained) -> None:
    records = trained.log("whole")
    assert [record.step for record in records if record.eval_loss is not None] == [10, 20, 30, 40]
    last = records[-1]
    assert last.eval_loss is not None
    assert last.eval_perplexity == pytest.approx(np.exp(last.eval_loss))
    done = trained.done["eval"]
    assert done.status == 0, done.err
    words = done.out.split()
    assert float(words[2]) == pytest.approx(last.eval_loss, abs=1e-6)
    assert float(words[4]) == pytest.approx(last.eval_perplexity, rel=1e-5)
    assert "160 tokens" in done.out  # 10 records of 16, the last batch of 2 too


def test_curve_and_tensorboard_have_what_the_log_has(trained: Trained) -> None:
    whole = trained.folder / "whole"
    assert (whole / "loss.png").read_bytes().startswith(b"\x89PNG")
    (events,) = (whole / "tensorboard").glob("events.out.tfevents.*")
    from tensorboardX.proto.event_pb2 import Event

    data, found = events.read_bytes(), {}
    while data:  # records of TFRecord: length, its checksum, the event, its checksum
        length = int.from_bytes(data[:8], "little")
        event = Event.FromString(data[12 : 12 + length])
        found |= {(value.tag, event.step): value.simple_value for value in event.summary.value}
        data = data[16 + length :]
    records = trained.log("whole")
    assert found[("train/loss", 40)] == pytest.approx(records[-1].loss)
    assert found[("eval/loss", 40)] == pytest.approx(records[-1].eval_loss)


def test_nothing_is_written_outside_of_the_output_folder(trained: Trained) -> None:
    made = {path.name for path in trained.folder.iterdir()} - trained.before
    folders = {"whole", "interrupted", "lora", "nan", "overflow", "one", "two", "short", "foreign"}
    assert made == {*folders, "output"}  # output is of eval, which was given no folder
    assert not list((trained.folder / "output").rglob("*.ckpt"))


def test_lora_trains_its_matrices_alone(trained: Trained) -> None:
    done = trained.done["lora"]
    assert done.status == 0, done.err
    file, start = trained.checkpoint("lora", 4), CkptFile(trained.folder / "one.ckpt")
    for name in start.tensors:
        assert file.read_bytes(name) == start.read_bytes(name), name
    added = [name for name in file.tensors if "mindpet_delta_lora" in name and not name.startswith("adam_")]
    assert len(added) == 4
    assert all(np.abs(file.read(name)).max() > 0 for name in added)


def test_an_overflow_skips_the_step_and_halves_the_scale(trained: Trained) -> None:
    assert trained.done["overflow"].status == 0, trained.done["overflow"].err
    first, second, third = trained.log("overflow")
    assert first.overflow
    assert "overflow: step skipped" in trained.done["overflow"].out
    assert first.loss_scale == pytest.approx(1.5e38)
    rates = [trained.log("whole")[step].learning_rate for step in range(2)]
    assert [record.learning_rate for record in (first, second)] == [rates[0], rates[0]], "a skipped step does not count"
    if not second.overflow:
        assert third.learning_rate == rates[1]


def test_weights_that_are_no_numbers_end_the_training_with_a_reason(trained: Trained) -> None:
    done = trained.done["nan"]
    assert done.status == 1
    assert "25 steps in a row overflowed" in done.err
    assert "learning_rate" in done.err
    assert all(record.overflow for record in trained.log("nan"))


def test_an_earlier_training_is_not_overwritten(trained: Trained) -> None:
    done = trained.done["again"]
    assert done.status == 2
    assert "4 checkpoints of an earlier training" in done.err
    assert "--overwrite" in done.err


def test_overwrite_removes_nothing_when_the_training_cannot_begin(trained: Trained) -> None:
    done = trained.done["spoiled"]
    assert done.status == 2
    assert "has 16 ids" in done.err
    assert trained.checkpoint("whole", 40).tensors
    assert len(trained.log("whole")) == 40


def test_overwrite_leaves_the_new_training_alone(trained: Trained) -> None:
    assert trained.done["lora"].status == 0, trained.done["lora"].err
    assert [path.name for path in (trained.folder / "lora").rglob("*.ckpt")] == ["tiny_rank_0-1_4.ckpt"]
    assert [record.step for record in trained.log("lora")] == [1, 2, 3, 4]
    assert trained.log("lora")[0].loss < 1000


def test_labels_count_where_the_configuration_does_not_mention_them(trained: Trained) -> None:
    done = trained.done["bare"]
    assert done.status == 0, done.err
    ids, labels = tiny.golden_data()
    counted = int(((ids[:, :-1] != 0) & (labels[:, 1:] != -100)).sum())
    assert f"{counted} tokens" in done.out


def test_a_complete_training_is_not_resumed(trained: Trained) -> None:
    done = trained.done["complete"]
    assert done.status == 2
    assert "is of step 40, and this training has 40 steps" in done.err


def test_weights_alone_cannot_be_resumed_from(trained: Trained) -> None:
    done = trained.done["weights"]
    assert done.status == 1
    assert "no step_num" in done.err


def test_a_checkpoint_describes_its_model_to_export_and_convert(trained: Trained) -> None:
    from skywork_rt.checkpoints.open import open_source

    path = trained.folder / "whole" / "checkpoint" / "rank_0" / "tiny_rank_0-2_20.ckpt"
    source: Any = open_source(path)
    assert source.config.vocab_size == tiny.VOCABULARY
    assert np.array_equal(source.tensor("norm"), CkptFile(path).read("model.norm_out.weight"))


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a user's shell: a CI's own settings of MindSpore's log do not count."""
    for name in ("GLOG_v", "MS_ROLE", "RANK_ID"):
        if name in os.environ:
            monkeypatch.delenv(name)
