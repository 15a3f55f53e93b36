"""The output folder: what --overwrite removes and when, who may write there, and how many ranks there are."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tiny_training as tiny

from skywork_rt.errors import InvalidArgumentError
from skywork_rt.recipe.train.datasets import data_files
from skywork_rt.recipe.train.launched import launch_of
from skywork_rt.recipe.train.output import Output
from skywork_rt.recipe.train.output_lock import hold
from skywork_rt.recipe.train.plan import TrainOptions, make_plan
from skywork_rt.recipe.train.run import steps_of
from skywork_rt.recipe.train.settings import put
from skywork_rt.support.stages import no_progress


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A configuration, a pair of files that stands for the data, and what an earlier training of two ranks left."""
    for name in ("train.mindrecord", "train.mindrecord.db"):
        (tmp_path / name).write_bytes(b"x")
    tiny.write_settings(tmp_path / "tiny.yaml", tiny.settings(tmp_path / "train.mindrecord"))
    tiny.write_ckpt(tmp_path / "start.ckpt", tiny.initial_weights())
    for rank in range(2):
        folder = tmp_path / "out" / "checkpoint" / f"rank_{rank}"
        folder.mkdir(parents=True)
        tiny.write_ckpt(folder / f"tiny_rank_{rank}-1_10.ckpt", tiny.initial_weights())
    (tmp_path / "out" / "loss.jsonl").write_text('{"step": 1, "epoch": 1, "loss": 1.0}\n')
    return tmp_path


def options(place: Path, **given: Any) -> TrainOptions:
    return TrainOptions(**{"output_dir": str(place / "out"), **given})


def plan(place: Path, **given: Any) -> Any:
    return make_plan(str(place / "tiny.yaml"), options(place, **given))


@pytest.mark.parametrize("start", ["checkpoint/rank_0/tiny_rank_0-1_10.ckpt", "checkpoint/rank_1", "checkpoint", "."])
def test_overwrite_does_not_remove_what_is_to_be_loaded(place: Path, start: str) -> None:
    given = place / "out" / start
    with pytest.raises(InvalidArgumentError, match=r"among the checkpoints .* --overwrite removes"):
        Output(place / "out").check(resume=False, overwrite=True, load=given)
    Output(place / "out").check(resume=False, overwrite=True, load=place / "start.ckpt")


def test_a_launch_removes_nothing_before_its_ranks_have_checked_their_records(place: Path) -> None:
    made = plan(place, run_mode="finetune", load_checkpoint=str(place / "start.ckpt"), overwrite=True)
    put(made.settings, "parallel_config.data_parallel", 2)
    put(made.settings, "use_parallel", True)
    launch = launch_of(made, no_progress)
    assert "--overwrite" in launch.command
    assert len(list((place / "out" / "checkpoint").rglob("*.ckpt"))) == 2
    assert (place / "out" / "loss.jsonl").exists()


def test_overwrite_removes_every_rank_and_keeps_what_is_loaded_now(place: Path) -> None:
    output = Output(place / "out")
    loaded = output.prepared / "now" / "model.ckpt"
    for path in (loaded, output.prepared / "old" / "model.ckpt"):
        path.parent.mkdir(parents=True)
        path.write_bytes(b"x")
    output.clear(keep=loaded)
    assert not list((place / "out" / "checkpoint").rglob("*.ckpt"))
    assert [path.name for path in output.prepared.iterdir()] == ["now"]
    assert not output.loss_log.exists()


def test_checkpoints_of_another_rank_are_an_earlier_training_too(place: Path) -> None:
    for file in (place / "out" / "checkpoint" / "rank_0").iterdir():
        file.unlink()
    with pytest.raises(InvalidArgumentError, match="has 1 checkpoints of an earlier training"):
        plan(place)


def test_a_folder_that_cannot_be_made_is_named_with_the_cause(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError, match=r"output_dir /proc/x cannot be made: No such file"):
        Output(Path("/proc/x")).check_writable()
    (tmp_path / "file").write_text("x")
    with pytest.raises(InvalidArgumentError, match="cannot be made: Not a directory"):
        Output(tmp_path / "file" / "x").check_writable()


HOLD = """
import sys, pathlib
from skywork_rt.recipe.train.output import Output
from skywork_rt.recipe.train.output_lock import hold
with hold(Output(pathlib.Path(sys.argv[1]))):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_two_trainings_do_not_share_an_output_folder(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with (
            pytest.raises(InvalidArgumentError, match=rf"process {other.pid} .* output_dir {tmp_path} now"),
            hold(Output(tmp_path)),
        ):
            pass
        other.kill()  # a lock that a killed process held is free
    with hold(Output(tmp_path)):
        done = subprocess.run(command, input="", capture_output=True, text=True, check=False)
        assert done.stdout == "held\n", "the ranks that this process starts go on without"


@pytest.mark.parametrize(
    ("changes", "started", "said"),
    [
        ({"use_parallel": False}, 2, "msrun started 2 workers, and use_parallel is False.*--use-parallel True"),
        ({"use_parallel": True}, 2, "asks for 1 ranks.*--set parallel_config.data_parallel=2"),
        ({"use_parallel": True, "changes": [("parallel_config.data_parallel", 4)]}, 2, "asks for 4 ranks.*start 4"),
    ],
)
def test_workers_of_another_number_than_the_configuration_asks_for_are_refused(
    place: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], started: int, said: str
) -> None:
    for rank in range(started):
        monkeypatch.setenv("MS_ROLE", "MS_WORKER")
        monkeypatch.setenv("RANK_ID", str(rank))
        monkeypatch.setenv("RANK_SIZE", str(started))
        with pytest.raises(InvalidArgumentError, match=said):
            plan(place, **changes)


def test_a_name_of_the_former_registry_is_no_path(place: Path) -> None:
    named = ("model.model_config.checkpoint_name_or_path", "skywork_13b")
    with pytest.raises(
        InvalidArgumentError, match=r"'skywork_13b', a name.*--load-checkpoint.*checkpoint_name_or_path=''"
    ):
        plan(place, changes=[named], overwrite=True)
    made = plan(place, changes=[named], load_checkpoint=str(place / "start.ckpt"), overwrite=True)
    assert made.given == place / "start.ckpt"
    with pytest.raises(InvalidArgumentError, match=r"x\.ckpt does not exist; give the weights"):
        plan(place, changes=[(named[0], "x.ckpt")], overwrite=True)


def test_resuming_looks_at_the_ranks_of_this_training_alone(place: Path) -> None:
    """Rank 1 stopped at step 10, when there were two."""
    folders = [place / "out" / "checkpoint" / f"rank_{rank}" for rank in range(2)]
    for rank, folder in enumerate(folders):
        tiny.write_ckpt(folder / f"tiny_rank_{rank}-1_10.ckpt", tiny.state_after(10))
    tiny.write_ckpt(folders[0] / "tiny_rank_0-1_20.ckpt", tiny.state_after(20))
    assert plan(place, resume_training=True).start.step == 20
    two = [("use_parallel", True), ("parallel_config.data_parallel", 2)]
    assert plan(place, resume_training=True, changes=two).start.step == 10


def test_a_batch_of_another_size_does_not_go_on_in_the_same_folder(place: Path) -> None:
    tiny.write_ckpt(place / "out" / "checkpoint" / "rank_0" / "tiny_rank_0-1_10.ckpt", tiny.state_after(10, batch=4))
    same = plan(place, resume_training=True)
    assert steps_of(same, 20, 4) == (10, 20)
    with pytest.raises(InvalidArgumentError, match="with 4 records a step, and this one has 8"):
        steps_of(same, 10, 8)
    start = str(place / "out" / "checkpoint")
    elsewhere = plan(place, resume_training=True, load_checkpoint=start, output_dir=str(place / "other"))
    assert steps_of(elsewhere, 10, 8) == (5, 10)


@pytest.mark.parametrize(
    ("given", "in_records", "columns", "warnings"),
    [
        (None, ["input_ids", "labels"], ("input_ids", "labels"), 0),
        (["input_ids"], ["input_ids", "labels"], ("input_ids", "labels"), 1),
        (["input_ids", "labels"], ["input_ids", "labels"], ("input_ids", "labels"), 0),
        (None, ["input_ids"], ("input_ids",), 0),
        (["input_ids"], ["input_ids"], ("input_ids",), 0),
        (None, None, ("input_ids",), 0),
    ],
)
def test_labels_are_used_where_the_records_have_them(
    tmp_path: Path, given: list[str] | None, in_records: list[str] | None, columns: tuple[str, ...], warnings: int
) -> None:
    header = json.dumps({"schema": [{"schema": {name: {"type": "int32"} for name in in_records or ()}}]}).encode()
    content = len(header).to_bytes(8, "little") + header if in_records else b"no MindRecord at all"
    (tmp_path / "x.mindrecord").write_bytes(content)
    (tmp_path / "x.mindrecord.db").write_bytes(b"")
    section: dict[str, Any] = {"data_loader": {"dataset_dir": str(tmp_path / "x.mindrecord")}, "input_columns": given}
    said: list[str] = []
    assert data_files({"eval_dataset": section}, "eval_dataset", said.append).columns == columns
    assert len(said) == warnings
    assert all("records have labels" in text for text in said)
