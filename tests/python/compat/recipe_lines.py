"""Every shell line of the recipe that starts a script, and the command of ours that it becomes.

From research/skywork/skywork.md of MindFormers 1.0.2, and of the commit after it that renamed the conversion scripts;
PATH stands for the reader's own paths.
"""

from __future__ import annotations

_MODEL = "output/mindir_full_checkpoint/rank_0_graph.mindir"
_RUN = "--config skywork/run_skywork_13b.yaml --load_checkpoint PATH/skywork_13b.ckpt"
_TRAIN = "--config skywork/run_skywork_13b.yaml --run_mode finetune"
_PARALLEL = "--train_dataset PATH/a.mindrecord --auto_trans_ckpt True --use_parallel True"
_PREDICT = (
    '--run_mode=predict --predict_data "陕西的省会是西安" --predict_length 100 --use_parallel False --device_id 0'
)
_PREPARE = (
    "prepare PATH/a.jsonl --out PATH/a.mindrecord --format jsonl --tokenizer PATH/tokenizer.model "
    "--seq-length 4096 --recipe-layout"
)
_EVALUATE = "../../scripts/examples/evaluate"
_SCORED = "-c PATH/skywork_13b.ckpt -t PATH/tokenizer.model --config run_skywork_13b.yaml"
_LITE = f"--config_path context.cfg --token_path PATH/tokenizer.model --full_model_path {_MODEL} --device_id 6"


def _launch(flags: str) -> list[str]:
    command = f"skywork-rt recipe skywork/run_skywork.py {flags}"
    return ["launch", command, "../hccl_8p_01234567_127.0.0.1.json", "[0,8]", "8"]


def _singlenode(flags: str) -> str:
    return f'run_singlenode.sh "python skywork/run_skywork.py {flags}" ../hccl_8p_01234567_127.0.0.1.json [0,8] 8'


def _run(flags: str) -> tuple[str, list[str]]:
    return f"skywork/run_skywork.py {flags}", ["run", *flags.replace('"', "").split()]


def _evaluate(task: str, data: str, device: int) -> tuple[str, list[str]]:
    line = f"{_EVALUATE}/{task}/evaluate_{task}.py -d {data} {_SCORED} --device_id {device}"
    return line, ["eval", task, "BUNDLE OF PATH/skywork_13b.ckpt", "-d", data, "--tokenizer", "PATH/tokenizer.model"]


def _evaluate_lite(task: str, data: str) -> tuple[str, list[str]]:
    line = f"{_EVALUATE}/{task}/evaluate_{task}_lite.py -d {data} {_LITE}"
    words = ["eval", task, f"BUNDLE OF {_MODEL}", "-d", data, "--tokenizer", "PATH/tokenizer.model"]
    return line, [*words, "--backend", "lite"]


LINES: list[tuple[str, list[str]]] = [
    ('mindformers/tools/hccl_tools.py --device_num "[0,8)"', ["rank-table", "[0,8)"]),
    ("mindformers/tools/merge_hccl.py a.json b.json", ["rank-table", "a.json", "b.json"]),
    (
        "skywork/convert_weight.py --torch_ckpt_path PATH/pytorch_model-00001.bin --mindspore_ckpt_path skywork_13b",
        ["convert", "PATH", "skywork_13b.ckpt"],
    ),
    (
        "skywork/convert_ckpt.py --torch_ckpt_dir PATH --mindspore_ckpt_path PATH/skywork_13b.ckpt",
        ["convert", "PATH", "PATH/skywork_13b.ckpt"],
    ),
    (
        "skywork/convert_reversed.py --mindspore_ckpt_path PATH/skywork_13b.ckpt --torch_ckpt_path PATH/hf.bin",
        ["convert", "PATH/skywork_13b.ckpt", "PATH/hf", "--format", "bin"],
    ),
    (
        "mindformers/tools/transform_ckpt.py --src_ckpt_strategy S --src_ckpt_dir ranks --dst_ckpt_dir out",
        ["merge", "ranks", "out/rank_0/checkpoint_0.ckpt", "--strategy", "S"],
    ),
    (
        "mindformers/tools/transform_ckpt.py --src_ckpt_strategy S --dst_ckpt_strategy D --src_ckpt_dir ranks "
        "--dst_ckpt_dir out --prefix part_",
        ["split", "ranks", "out", "--strategy", "D", "--prefix", "part_", "--source-strategy", "S"],
    ),
    (
        "skywork/skywork_dataprocess.py --input_file_path PATH/a.jsonl --output_file PATH/a.mindrecord "
        "--model_file PATH/tokenizer.model --seq_length 4096",
        _PREPARE.split(),
    ),
    (_singlenode(f"{_TRAIN} {_PARALLEL}"), _launch(f"{_TRAIN} {_PARALLEL}")),
    (
        _singlenode(f"{_TRAIN} --load_checkpoint PATH/ {_PARALLEL}"),
        _launch(f"{_TRAIN} --load_checkpoint PATH/ {_PARALLEL}"),
    ),
    _run(f"{_RUN} {_PREDICT}"),
    _run(f"{_RUN} --run_mode=export --use_parallel False --use_past True --batch_size 1 --device_id 0"),
    _evaluate("ceval", "data/ceval/", 0),
    _evaluate("mmlu", "data/mmlu/data", 1),
    _evaluate("cmmlu", "data/cmmlu/", 7),
    _evaluate_lite("ceval", "data/ceval"),
    _evaluate_lite("mmlu", "data/mmlu/data"),
    _evaluate_lite("cmmlu", "data/cmmlu/"),
]

INFER_LITE = (
    f"skywork/run_skywork_infer_lite.py --full_model_path {_MODEL} "
    "--inc_model_path output/mindir_inc_checkpoint/rank_0_graph.mindir --config_path skywork/context.cfg "
    "--token_path PATH/tokenizer.model --seq_length 4096 --max_length 128 --batch_size 1 --loop 2 --device_id 0"
)
"""The one line that is no command of ours, but a function."""
