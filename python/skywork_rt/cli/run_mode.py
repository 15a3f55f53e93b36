"""skywork-rt run: run_skywork.py's flags."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from skywork_rt.errors import InvalidArgumentError, UnsupportedError

if TYPE_CHECKING:
    from skywork_rt.compat.mindformers import MindFormerConfig

__all__ = ["run"]

_MODES = ("train", "finetune", "eval", "predict", "export")


def _flag(name: str, help_text: str, metavar: str | None = None) -> Any:
    """An option with underscores, as the recipe writes it, and with dashes."""
    spelled = [f"--{name}"] if "_" not in name else [f"--{name}", f"--{name.replace('_', '-')}"]
    return typer.Option(*spelled, help=help_text, metavar=metavar, show_default=False)


def run(
    config: Annotated[
        str, typer.Option(help="A YAML in MindFormers' keys, or the name of one that comes with the package.")
    ] = "run_skywork_13b.yaml",
    run_mode: Annotated[
        str, typer.Option("--run_mode", "--run-mode", help="train, finetune, eval, predict or export.")
    ] = "predict",
    load_checkpoint: Annotated[str | None, _flag("load_checkpoint", "A .ckpt, or a folder with rank_0.")] = None,
    train_dataset: Annotated[str | None, _flag("train_dataset", "MindRecord to train on.")] = None,
    eval_dataset: Annotated[str | None, _flag("eval_dataset", "MindRecord to evaluate on.")] = None,
    predict_data: Annotated[
        list[str] | None, _flag("predict_data", "A prompt, or a file with a prompt a line; repeat for more.")
    ] = None,
    predict_length: Annotated[
        int, typer.Option("--predict_length", "--predict-length", min=1, help="Prompt and output, in tokens.")
    ] = 512,
    use_past: Annotated[str | None, _flag("use_past", "export: True writes the incremental graph too.", "BOOL")] = None,
    batch_size: Annotated[int | None, _flag("batch_size", "train: records a step. Exports take any batch.")] = None,
    seq_length: Annotated[int | None, _flag("seq_length", "Longest prompt and output, in tokens.")] = None,
    output_dir: Annotated[str | None, _flag("output_dir", "Folder of what is written. Default: the YAML's.")] = None,
    tokenizer: Annotated[
        Path | None,
        typer.Option(
            help="tokenizer.model. Default: processor.tokenizer.vocab_file of the YAML, else beside the checkpoint.",
            show_default=False,
        ),
    ] = None,
    auto_trans_ckpt: Annotated[
        str | None, _flag("auto_trans_ckpt", "Split or merge the checkpoint for the ranks first.", "BOOL")
    ] = None,
    use_parallel: Annotated[str | None, _flag("use_parallel", "Train with several ranks.", "BOOL")] = None,
    resume: Annotated[str | None, _flag("resume", "Go on with the training that the checkpoint is of.", "BOOL")] = None,
    optimizer_parallel: Annotated[
        str | None, _flag("optimizer_parallel", "Divide the optimizer among the ranks.", "BOOL")
    ] = None,
    device_id: Annotated[int | None, _flag("device_id", "train: number of the card.")] = None,
    task: Annotated[str, typer.Option(help="text_generation.")] = "text_generation",
    pet_method: Annotated[str, typer.Option("--pet_method", "--pet-method", help="LoRA is set in the YAML.")] = "",
    remote_save_url: Annotated[
        str, typer.Option("--remote_save_url", "--remote-save-url", help="Without effect here.")
    ] = "",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="train: remove an earlier training's checkpoints first.")
    ] = False,
) -> None:
    """Train, fine-tune, evaluate, predict or export, with the flags of MindFormers' run_skywork.py."""
    from skywork_rt.compat.notices import ignored

    if run_mode not in _MODES:
        raise InvalidArgumentError(f"--run_mode is {run_mode!r}, but must be one of {', '.join(_MODES)}")
    if task != "text_generation":
        raise UnsupportedError(f"--task is {task!r}, but text_generation is the one that there is")
    if pet_method:
        raise UnsupportedError(
            f"--pet_method {pet_method}: low-rank training is set in the YAML (model.model_config.pet_config, "
            "docs/training.md); leave the flag out"
        )
    if remote_save_url:
        ignored("run", "--remote_save_url", "what is written stays in --output_dir")
    if run_mode in ("train", "finetune", "eval"):
        changes = _changes(batch_size, seq_length, device_id, optimizer_parallel)
        _train(
            config=config,
            run_mode=run_mode,
            load_checkpoint=load_checkpoint,
            train_dataset=train_dataset,
            eval_dataset=eval_dataset,
            output_dir=output_dir,
            auto_trans_ckpt=auto_trans_ckpt,
            use_parallel=use_parallel,
            resume_training=resume,
            changes=changes,
            overwrite=overwrite,
        )
        return
    for name, value in (("train_dataset", train_dataset), ("eval_dataset", eval_dataset), ("resume", resume)):
        if value not in (None, ""):
            ignored("run", f"--{name}", f"{run_mode} does not train")
    _say_ranks_are_ignored(run_mode, use_parallel, auto_trans_ckpt, optimizer_parallel)
    for name, number in (("device_id", device_id), ("batch_size", batch_size)):
        if number is not None and (name, number) not in (("device_id", 0), ("batch_size", 1)):
            ignored("run", f"--{name}={number}", _WITHOUT[name])
    given = _Given(config, load_checkpoint, tokenizer, seq_length)
    if run_mode == "predict":
        _predict(given, predict_data or [], predict_length)
    else:
        _export(given, output_dir, use_past)


def _say_ranks_are_ignored(
    mode: str, use_parallel: str | None, auto_trans_ckpt: str | None, optimizer_parallel: str | None
) -> None:
    """One process predicts and exports. The parts of several ranks are refused where the checkpoint is opened."""
    from skywork_rt.compat.notices import ignored
    from skywork_rt.compat.scripts.script import truth

    given = {
        "use_parallel": use_parallel,
        "auto_trans_ckpt": auto_trans_ckpt,
        "optimizer_parallel": optimizer_parallel,
    }
    for name, value in given.items():
        if truth("run", name, value):
            ignored(
                "run", f"--{name}", f"{mode} runs in one process, on a whole checkpoint (skywork-rt merge makes one)"
            )


_WITHOUT = {
    "device_id": "models run on this machine's processor",
    "batch_size": "the same model runs batches of any size",
}


def _train(**arguments: Any) -> None:
    from skywork_rt.cli.train import train

    train(**arguments)


def _changes(
    batch_size: int | None, seq_length: int | None, device_id: int | None, optimizer_parallel: str | None
) -> list[str]:
    """Flags of the recipe that are keys of the YAML."""
    keys = {
        "runner_config.batch_size": batch_size,
        "model.model_config.seq_length": seq_length,
        "context.device_id": device_id,
        "parallel.enable_parallel_optimizer": optimizer_parallel,
    }
    return [f"{key}={value}" for key, value in keys.items() if value is not None]


@dataclass(frozen=True)
class _Given:
    """What says which model."""

    config: str
    load_checkpoint: str | None
    tokenizer: Path | None
    seq_length: int | None

    def settings(self) -> MindFormerConfig:
        """The YAML."""
        from skywork_rt.compat.mindformers import MindFormerConfig
        from skywork_rt.recipe.configs import find_config

        return MindFormerConfig(find_config(self.config))

    def checkpoint(self, settings: MindFormerConfig) -> Path:
        """The one that was given, else the YAML's. Raises InvalidArgumentError without one."""
        from skywork_rt.compat.mindformers.opening.model import checkpoint_in

        section = settings.model.model_config
        named = self.load_checkpoint or settings.load_checkpoint or section.checkpoint_name_or_path
        if not named:
            raise InvalidArgumentError("--load_checkpoint is missing, and the YAML names no checkpoint")
        if not Path(named).exists():
            raise InvalidArgumentError(f"the checkpoint {named} does not exist; give --load_checkpoint")
        found: Path = checkpoint_in(Path(named))
        return found

    def vocabulary(self, settings: MindFormerConfig, checkpoint: Path) -> Path:
        """tokenizer.model. Raises InvalidArgumentError when it is nowhere."""
        named = ((settings.processor or {}).get("tokenizer") or {}).get("vocab_file")
        beside = (checkpoint if checkpoint.is_dir() else checkpoint.parent) / "tokenizer.model"
        places = [self.tokenizer] if self.tokenizer else [Path(named) if named else None, beside]
        for place in places:
            if place is not None and (place / "tokenizer.model" if place.is_dir() else place).exists():
                return place / "tokenizer.model" if place.is_dir() else place
        where = self.tokenizer or f"{named or 'processor.tokenizer.vocab_file of the YAML'}, {beside}"
        raise InvalidArgumentError(f"there is no tokenizer.model ({where}); give it by --tokenizer")


def _predict(given: _Given, data: list[str], length: int) -> None:
    from skywork_rt.compat.mindformers import LlamaConfig, LlamaForCausalLM, LlamaTokenizer, pipeline

    prompts = [prompt for item in data for prompt in _prompts(item)]
    if not prompts:
        raise InvalidArgumentError("--predict_data is missing: a prompt, or a file with a prompt a line")
    settings = given.settings()
    checkpoint = given.checkpoint(settings)
    tokenizer = LlamaTokenizer(str(given.vocabulary(settings, checkpoint)))
    changes = {"seq_length": given.seq_length} if given.seq_length else {}
    section = {**settings.model.model_config, "checkpoint_name_or_path": str(checkpoint), **changes}
    with LlamaForCausalLM(LlamaConfig(**section)) as model:
        task = pipeline("text_generation", model=model, tokenizer=tokenizer, max_length=length)
        result = task(prompts if len(prompts) > 1 else prompts[0])
    _write_result(Path("text_generation_result.txt"), str(result))
    print(result)


def _prompts(item: str) -> list[str]:
    r"""The lines of a file, \n in them being line breaks, as in MindFormers; or the text itself."""
    try:
        is_file = Path(item).is_file()
    except (OSError, ValueError):  # too long for a path, or with a zero byte
        is_file = False
    if not is_file:
        return [item] if item else []
    try:
        lines = Path(item).read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidArgumentError(f"--predict_data {item} cannot be read as UTF-8: {error}") from error
    return [line.removesuffix("\r").replace(r"\n", "\n") for line in lines if line]


def _write_result(path: Path, text: str) -> None:
    beside = path.with_name(f".{path.name}.partial")
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)
    print(f"the result is in {path}", file=sys.stderr)


def _export(given: _Given, output_dir: str | None, use_past: str | None) -> None:
    import json
    import tempfile

    from skywork_rt.checkpoints.mindspore.config import values_of_section
    from skywork_rt.cli.export import export
    from skywork_rt.compat.mindformers import LlamaConfig
    from skywork_rt.compat.scripts.script import truth

    graphs = "both" if truth("run", "use_past", use_past) else "full"
    settings = given.settings()
    checkpoint = given.checkpoint(settings)
    out = Path(output_dir or settings.output_dir or "./output")
    with tempfile.TemporaryDirectory(prefix="skywork_rt-") as scratch:
        described = Path(scratch) / "config.json"
        section = LlamaConfig(**settings.model.model_config).section()
        described.write_text(json.dumps(values_of_section(section, given.config)), encoding="utf-8")
        of_mindspore = checkpoint.is_file()
        export(
            checkpoint,
            out,
            max_length=given.seq_length,
            config=described if of_mindspore else None,
            tokenizer=given.vocabulary(settings, checkpoint) if of_mindspore else None,
            graphs=graphs,
            layout="mindformers",
            overwrite=True,
        )
