"""run_skywork_infer_lite: the recipe's prompt, batch_size times, loop times, through InferTask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from skywork_rt.compat.scripts.script import Call, Flag, Script
from skywork_rt.errors import InvalidArgumentError

__all__ = ["INFER_LITE"]

_PROMPT = "陕西的省会是西安，甘肃的省会是兰州，河南的省会是郑州"


def _translate(values: Mapping[str, str], _rest: Sequence[str]) -> Call:
    for name in ("seq_length", "batch_size", "max_length", "loop"):
        if not values[name].isdecimal() or int(values[name]) < 1:
            raise InvalidArgumentError(f"run_skywork_infer_lite: --{name} is {values[name]!r}, but must be at least 1")
    return Call(infer, values)


def infer(values: Mapping[str, str]) -> None:
    """Prints the texts of each round."""
    from skywork_rt.compat.mindformers import InferConfig, InferTask, LlamaTokenizer

    tokenizer = LlamaTokenizer(values.get("token_path") or _tokenizer_beside(Path(values["full_model_path"])))
    config = InferConfig(
        prefill_model_path=values["full_model_path"],
        increment_model_path=values.get("inc_model_path", ""),
        model_name="llama",
        infer_seq_length=int(values["seq_length"]),
        target="CPU",
    )
    with InferTask.get_infer_task("text_generation", config, tokenizer=tokenizer) as task:
        for _ in range(int(values["loop"])):
            prompts = [values["prompt"]] * int(values["batch_size"])
            texts = task.infer(
                prompts,
                pad_token_id=tokenizer.pad_token_id,
                eos_token_id=tokenizer.eos_token_id,
                max_length=int(values["max_length"]),
                add_special_tokens=True,
            )
            for text in texts:
                print(text, flush=True)


def _tokenizer_beside(model: Path) -> str:
    return str((model if model.is_dir() else model.parent) / "tokenizer.model")


INFER_LITE = Script(
    "run_skywork_infer_lite",
    "texts from the exported graphs",
    (
        Flag("device_id", default="0", nothing="graphs run on this machine's processor"),
        Flag("full_model_path", required=True),
        Flag("inc_model_path"),
        Flag("config_path", nothing="it configures Ascend's graph engine, and graphs run on this machine's processor"),
        Flag("seq_length", default="4096"),
        Flag("batch_size", default="1"),
        Flag("max_length", default="128"),
        Flag("loop", default="2"),
        Flag("token_path"),
        Flag("prompt", default=_PROMPT),
    ),
    _translate,
)
