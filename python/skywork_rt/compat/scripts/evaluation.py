"""evaluate_ceval, evaluate_mmlu, evaluate_cmmlu, and each of them with _lite."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from skywork_rt.compat.scripts.script import Checkpoint, Flag, Script, Word, option
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
    Flag("out"),
)
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
        path = Path(given)
        config, tokenizer = values.get("config"), values.get("token_path")
        is_bundle = (path / "model.json").exists()
        model: Word = given
        if not is_bundle:
            model = Checkpoint(path, Path(config) if config else None, Path(tokenizer) if tokenizer else None)
        return _eval(task, model, values)

    return translate


def _on_lite(task: str) -> Callable[[Mapping[str, str], Sequence[str]], list[Word]]:
    def translate(values: Mapping[str, str], _rest: Sequence[str]) -> list[Word]:
        if not values.get("full_model_path"):
            raise InvalidArgumentError(f"evaluate_{task}_lite: --full_model_path is missing: the full graph")
        graph = Path(values["full_model_path"])
        bundle = graph.parent if graph.suffix in _GRAPHS else graph
        return [*_eval(task, str(bundle), values), "--backend", "lite"]

    return translate


def _eval(task: str, model: Word, values: Mapping[str, str]) -> list[Word]:
    tokenizer = option("--tokenizer", values.get("token_path"))
    return ["eval", task, model, "-d", values["eval_data_path"], *tokenizer, *option("--out", values.get("out"))]


EVALUATION = tuple(
    script
    for task in ("ceval", "mmlu", "cmmlu")
    for script in (
        Script(f"evaluate_{task}", f"five-shot scores: skywork-rt eval {task}", _FLAGS, _on_mindspore(task)),
        Script(
            f"evaluate_{task}_lite",
            f"the same on MindSpore Lite: skywork-rt eval {task} --backend lite",
            (*_FLAGS, *_LITE),
            _on_lite(task),
        ),
    )
)
