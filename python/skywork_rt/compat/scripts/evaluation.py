"""evaluate_ceval, evaluate_mmlu, evaluate_cmmlu, and each of them with _lite."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from skywork_rt.compat.scripts.script import Checkpoint, Flag, FullGraph, Script, Word, option
from skywork_rt.errors import InvalidArgumentError

__all__ = ["EVALUATION"]

_GRAPHS = (".mindir", ".ms")
_FLAGS = (
    Flag("eval_data_path", short="-d", required=True),
    Flag("checkpoint-path", short="-c"),
    Flag("token_path", short="-t"),
    Flag("seed", short="-s", default="1234", nothing="nothing is drawn at random"),
    Flag("device_id", default="0", nothing="the model runs on this machine's processor"),
    Flag("seq_len", nothing="prompts may be as long as the model takes; longer ones lose examples, never the question"),
    Flag("max-seq-len", nothing="prompts may be as long as the model takes; longer ones lose examples"),
    Flag("debug", switch=True, nothing="results are a CSV a subject"),
    Flag("config"),
)
_PASSED_ON = (Flag("out", short="-o"), Flag("subjects"), Flag("limit"), Flag("shots"), Flag("fresh", switch=True))
"""Options of skywork-rt eval that the scripts did not have, and that are passed on; its messages name them."""
_BACKEND = Flag("backend", allowed=("auto", "native", "mindspore", "lite"))
_LITE = (
    Flag("full_model_path"),
    Flag("inc_model_path", nothing="scoring needs the full graph alone"),
    Flag("config_path", nothing="it configures Ascend's graph engine, and graphs run on this machine's processor"),
)


def _on_mindspore(task: str) -> Callable[[Mapping[str, str], Sequence[str]], list[Word]]:
    def translate(values: Mapping[str, str], _rest: Sequence[str]) -> list[Word]:
        given = values.get("checkpoint-path")
        if not given:
            raise InvalidArgumentError(f"evaluate_{task}: --checkpoint-path (-c) is missing: a .ckpt, or a bundle")
        backend = values.get("backend")
        target = "lite" if backend == "lite" else "native"
        return _eval(task, _model(task, Path(given), values, target), values, backend)

    return translate


def _on_lite(task: str) -> Callable[[Mapping[str, str], Sequence[str]], list[Word]]:
    """The full graph in the bundle that it lies in; a checkpoint in its place is exported to graphs first."""

    def translate(values: Mapping[str, str], _rest: Sequence[str]) -> list[Word]:
        given = values.get("full_model_path") or values.get("checkpoint-path")
        if not given:
            raise InvalidArgumentError(
                f"evaluate_{task}_lite: --full_model_path is missing: the full graph, or the .ckpt that it is made of"
            )
        path = Path(given)
        is_graph = path.suffix in _GRAPHS
        where = f"evaluate_{task}_lite: --full_model_path"
        model = FullGraph(path, where) if is_graph else _model(task, path, values, "lite")
        return _eval(task, model, values, "lite")

    return translate


def _model(task: str, path: Path, values: Mapping[str, str], target: str) -> Word:
    """A bundle as it is; anything else is a checkpoint."""
    if (path / "model.json").exists():
        return str(path)
    config, tokenizer = values.get("config"), values.get("token_path")
    return Checkpoint(
        path,
        Path(config) if config else None,
        Path(tokenizer) if tokenizer else None,
        target,
        partial(_check_data, task, values),
    )


def _check_data(task: str, values: Mapping[str, str]) -> None:
    from skywork_rt.evaluate.questions import read_task
    from skywork_rt.evaluate.tasks import TASKS

    chosen = TASKS[task]
    named = [name.strip() for name in values.get("subjects", "").split(",") if name.strip()]
    read_task(chosen, Path(values["eval_data_path"]), chosen.chosen(named), chosen.layout.default_split, 0, None)


def _eval(task: str, model: Word, values: Mapping[str, str], backend: str | None) -> list[Word]:
    words = ["eval", task, model, "-d", values["eval_data_path"], *option("--tokenizer", values.get("token_path"))]
    for flag in _PASSED_ON:
        given = values.get(flag.name)
        words += [f"--{flag.name}"] if flag.switch and given else option(f"--{flag.name}", given)
    return [*words, *option("--backend", backend)]


EVALUATION = tuple(
    script
    for task in ("ceval", "mmlu", "cmmlu")
    for script in (
        Script(
            f"evaluate_{task}",
            f"five-shot scores: skywork-rt eval {task}",
            (*_FLAGS, *_PASSED_ON, _BACKEND),
            _on_mindspore(task),
        ),
        Script(
            f"evaluate_{task}_lite",
            f"the same on MindSpore Lite: skywork-rt eval {task} --backend lite",
            (*_FLAGS, *_LITE, *_PASSED_ON),
            _on_lite(task),
        ),
    )
)
