"""skywork_dataprocess, hccl_tools, merge_hccl, run_skywork and run_singlenode."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from skywork_rt.compat.notices import notice
from skywork_rt.compat.scripts.script import Flag, Script, Word, option
from skywork_rt.errors import InvalidArgumentError, UnsupportedError

__all__ = ["PREPARATION"]

_OVERWRITE = Flag("overwrite", switch=True)


def _prepare(values: Mapping[str, str], _rest: Sequence[str]) -> list[Word]:
    notice(
        "skywork_dataprocess",
        "the records are those of the script: pads are trained and the rest of every thousand documents is dropped; "
        "'skywork-rt prepare' without --recipe-layout does neither",
    )
    words: list[Word] = ["prepare", values["input_file_path"], "--out", values["output_file"], "--format", "jsonl"]
    words += ["--tokenizer", values["model_file"], "--seq-length", values["seq_length"], "--recipe-layout"]
    return [*words, "--overwrite"] if values.get("overwrite") else words


def _rank_table(values: Mapping[str, str], _rest: Sequence[str]) -> list[Word]:
    visible = values["visible_devices"].split(",")
    if visible != [str(place) for place in range(len(visible))]:
        raise UnsupportedError(
            f"hccl_tools: --visible_devices {values['visible_devices']} renumbers the devices; give the devices "
            "themselves: skywork-rt rank-table '[FIRST,LAST)'"
        )
    words: list[Word] = ["rank-table", values["device_num"], *option("--server-ip", values.get("server_ip"))]
    words += option("--hccn-conf", values.get("hccn_conf"))
    return [*words, "--overwrite"] if values.get("overwrite") else words


def _merge_tables(values: Mapping[str, str], rest: Sequence[str]) -> list[Word]:
    if len(rest) < 2:
        raise InvalidArgumentError("merge_hccl: give the rank tables of two servers or more")
    return ["rank-table", *rest, *(["--overwrite"] if values.get("overwrite") else [])]


def _run(_values: Mapping[str, str], rest: Sequence[str]) -> list[Word]:
    return ["run", *rest]


def _launch(_values: Mapping[str, str], rest: Sequence[str]) -> list[Word]:
    """START_CMD names a script of the recipe, which each rank then runs as ours."""
    if len(rest) != 4:
        raise InvalidArgumentError("run_singlenode takes START_CMD RANK_TABLE_FILE DEVICE_RANGE DEVICE_NUM")
    start, *others = rest
    command = shlex.split(start)
    if command and Path(command[0]).name.startswith("python"):
        command = command[1:]
    if not command:
        raise InvalidArgumentError(f"run_singlenode: START_CMD {start!r} names no script")
    return ["launch", shlex.join(["skywork-rt", "recipe", *command]), *others]


PREPARATION = (
    Script(
        "skywork_dataprocess",
        "texts to MindRecord: skywork-rt prepare --recipe-layout",
        (
            Flag("input_file_path", default="AdvertiseGenTrain.jsonl"),
            Flag("dataset_type", default="text", allowed=("text",)),
            Flag("output_file", default="AdvertiseGenTrain_text.mindrecord"),
            Flag("tokenizer", default="llama", allowed=("llama",)),
            Flag("model_file", default="./tokenizer.model"),
            Flag("file_partition", default="1", allowed=("1",)),
            Flag("repeat", default="1", nothing="it had none in the script either"),
            Flag("seq_length", default="4096"),
            Flag("batch_size", default="1000", allowed=("1000",)),
            _OVERWRITE,
        ),
        _prepare,
    ),
    Script(
        "hccl_tools",
        "the rank table of this server: skywork-rt rank-table",
        (
            Flag("device_num", default="[0,8)"),
            Flag("visible_devices", default="0,1,2,3,4,5,6,7"),
            Flag("server_ip"),
            Flag("device_num_per_node", default="8", nothing="the devices are those of --device_num"),
            Flag("hccn_conf"),
            _OVERWRITE,
        ),
        _rank_table,
    ),
    Script(
        "merge_hccl",
        "rank tables of several servers as one: skywork-rt rank-table",
        (_OVERWRITE,),
        _merge_tables,
        positional="the rank tables",
    ),
    Script("run_skywork", "train, finetune, eval, predict, export: skywork-rt run", (), _run, passes_on=True),
    Script("run_mindformer", "the same: skywork-rt run", (), _run, passes_on=True),
    Script(
        "run_singlenode",
        "a script on several cards: skywork-rt launch",
        (),
        _launch,
        positional="START_CMD RANK_TABLE_FILE DEVICE_RANGE DEVICE_NUM",
    ),
)
