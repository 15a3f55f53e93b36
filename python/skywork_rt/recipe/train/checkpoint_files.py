"""Finds the checkpoint that a training begins from, and checks it against the model, reading headers only."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from skywork_rt.checkpoints.huggingface.names import hugging_face_name
from skywork_rt.checkpoints.mindspore.names import is_training_state, mindspore_name, moment_of
from skywork_rt.checkpoints.tensors.ckpt_file import CkptFile
from skywork_rt.checkpoints.tensors.safetensors_file import SafetensorsFile
from skywork_rt.checkpoints.tensors.torch_file import TorchFile
from skywork_rt.checkpoints.tensors.weight_file import WeightFile
from skywork_rt.checkpoints.wrong_file import refuse_stand_in
from skywork_rt.errors import CheckpointError, InvalidArgumentError
from skywork_rt.recipe.train.model_shape import expected_tensors, lora_tensors

__all__ = ["Start", "check_tensors", "find_start", "first_ranks", "latest_step", "rank_folders", "step_of"]

Kind = Literal["ckpt", "safetensors", "huggingface"]
Shapes = Mapping[str, tuple[int, ...]]

_RANK = re.compile(r"rank_(\d+)")
_FLAGS = {"step_num", "epoch_num"}
_STATE_OF_CELL = ("scale_sense", "current_iterator_step", "last_overflow_iterator_step")


@dataclass(frozen=True)
class Start:
    """Where a training begins: the file or folder, what it is, and the step that it was saved after (0: weights alone).

    `state` are the step cell's own values in it; `epoch` and `global_batch_size` are those of the saved training.
    """

    path: Path
    kind: Kind
    step: int = 0
    epoch: int = 0
    global_batch_size: int | None = None
    state: Mapping[str, Any] = field(default_factory=dict)


def find_start(path: Path, rank: int, resume: bool | str, ranks: int | None = None) -> Start:
    """What lies at `load_checkpoint` for this rank. Raises CheckpointError or InvalidArgumentError, naming the path.

    Of a directory of rank_N folders the first `ranks` count, all with None.
    """
    if not path.exists():
        raise InvalidArgumentError(
            f"load_checkpoint {path} does not exist; give a .ckpt, a .safetensors, a Hugging Face directory, or a "
            "directory of rank_N folders"
        )
    if path.is_file():
        return _of_file(path)
    if rank_folders(path):
        return _of_file(_of_rank(path, rank, resume, ranks))
    if (path / "config.json").is_file():
        return Start(path, "huggingface")
    files = sorted([*path.glob("*.ckpt"), *path.glob("*.safetensors")])
    if len(files) == 1:
        return _of_file(files[0])
    raise CheckpointError(
        f"load_checkpoint {path} has {len(files)} checkpoint files, no config.json and no rank_N folders; give the "
        "file itself, a Hugging Face directory, or a directory of rank_N folders"
    )


def _of_file(path: Path) -> Start:
    refuse_stand_in(path)
    if path.suffix == ".safetensors":
        file: WeightFile = SafetensorsFile(path)
        return _with_step(path, "safetensors", file)
    if path.suffix != ".ckpt":
        raise CheckpointError(
            f"load_checkpoint {path.name} ends in {path.suffix!r}; a checkpoint is a .ckpt or .safetensors"
        )
    return _with_step(path, "ckpt", CkptFile(path))


def _with_step(path: Path, kind: Kind, file: WeightFile) -> Start:
    if not file.tensors.keys() >= _FLAGS:
        return Start(path, kind)
    batch = _scalar(file, "global_batch_size") if "global_batch_size" in file.tensors else None
    state = {name: _scalar(file, name) for name in _STATE_OF_CELL if name in file.tensors}
    return Start(
        path,
        kind,
        step=int(_scalar(file, "step_num")),
        epoch=int(_scalar(file, "epoch_num")),
        global_batch_size=int(batch) if batch is not None else None,
        state=state,
    )


def _scalar(file: WeightFile, name: str) -> float:
    read: Callable[[str], Any] = getattr(file, "read_array", file.read)
    return float(read(name).reshape(-1)[0])


def step_of(path: Path) -> int | None:
    """`step_num` of a .ckpt or .safetensors; None for one without, or that is damaged or half written."""
    try:
        return _of_file(path).step or None
    except (CheckpointError, OSError):
        return None


def rank_folders(path: Path) -> dict[int, Path]:
    """rank_N folders by N."""
    found = ((_RANK.fullmatch(child.name), child) for child in path.iterdir() if child.is_dir())
    return {int(match[1]): child for match, child in found if match}


def first_ranks(folders: Mapping[int, Path], ranks: int | None) -> list[Path]:
    """The folders of a training of that many ranks; further ones were left by one of more ranks."""
    return [folder for rank, folder in folders.items() if ranks is None or rank < ranks]


def _of_rank(path: Path, rank: int, resume: bool | str, ranks: int | None) -> Path:
    """This rank's file; of several the one of the last step that all ranks have, by `step_num`, not by name or date."""
    folders = rank_folders(path)
    folder = folders.get(rank, folders.get(0))
    if folder is None:
        raise CheckpointError(
            f"{path} has no folder rank_{rank}; it has {', '.join(sorted(f.name for f in folders.values()))}"
        )
    if isinstance(resume, str):
        name = re.sub(r"rank_\d+", folder.name, resume)
        if not (folder / name).is_file():
            raise InvalidArgumentError(f"resume_training names {resume}; {folder / name} does not exist")
        return folder / name
    files = _checkpoints(folder)
    if len(files) == 1:
        return files[0]
    step = latest_step(first_ranks(folders, ranks))
    chosen = [file for file in files if step_of(file) == step]
    if step is None or not chosen:
        raise CheckpointError(f"{folder} has {len(files)} checkpoints and none of a step that all ranks have; name one")
    return chosen[-1]


def _checkpoints(folder: Path) -> list[Path]:
    return sorted([*folder.glob("*.ckpt"), *folder.glob("*.safetensors")])


def latest_step(folders: Iterable[Path]) -> int | None:
    """The last step of which every folder has a whole checkpoint; None when there is none."""
    steps = [{step_of(file) for file in _checkpoints(folder)} - {None} for folder in folders]
    common = set.intersection(*steps) if steps else set()
    return max((step for step in common if step is not None), default=None)


def check_tensors(start: Start, config: Mapping[str, Any], *, resume: bool, whole: bool, complete: bool = True) -> None:
    """Compares the tensors at `start` with those of the model that `model.model_config` describes.

    `whole` is False where every rank has a part of each tensor (tensor parallelism, optimizer shard): names only are
    compared then. `complete` is False where a rank has some of the layers (pipeline): nothing counts as missing.
    Raises CheckpointError that names what is missing, surplus or of another shape.
    """
    weights = expected_tensors(config)
    added = lora_tensors(config)
    found = _table(start, config)
    where = f"load_checkpoint {start.path}"
    needed = {**weights, **(added if resume else {})} if complete else {}
    _refuse_missing(where, needed, found, "of the model")
    surplus = [name for name in found if name not in weights and name not in added and not is_training_state(name)]
    if surplus:
        raise CheckpointError(
            f"{where} has {len(surplus)} tensors that the model of model.model_config does not have: {_few(surplus)}; "
            "compare num_layers, qkv_has_bias, tie_word_embeddings and pet_config with the checkpoint"
        )
    if whole:
        _refuse_shapes(where, {**weights, **added}, found)
    if resume:
        _check_state(where, start, found, [name for name in added or weights if name in found])


def _table(start: Start, config: Mapping[str, Any]) -> Shapes:
    """Names of MindFormers and shapes of all tensors at `start`."""
    if start.kind == "huggingface":
        files = _hugging_face_files(start.path)
    else:
        files = [CkptFile(start.path) if start.kind == "ckpt" else SafetensorsFile(start.path)]
    found: dict[str, tuple[int, ...]] = {}
    for file in files:
        found |= {name: info.shape for name, info in file.tensors.items()}
    if start.kind == "ckpt":
        return found
    translated = _from_hugging_face(config)
    tied = bool(config.get("tie_word_embeddings"))
    return {
        translated.get(name, name): shape
        for name, shape in found.items()
        if "rotary_emb.inv_freq" not in name and not (tied and name == "lm_head.weight")
    }


def _from_hugging_face(config: Mapping[str, Any]) -> dict[str, str]:
    from skywork_rt.recipe.train.model_shape import model_shape

    return {hugging_face_name(name): mindspore_name(name) for name in model_shape(config).tensor_shapes()}


def _hugging_face_files(directory: Path) -> list[WeightFile]:
    safetensors = sorted(directory.glob("*.safetensors"))
    paths = safetensors or sorted(directory.glob("pytorch_model*.bin"))
    if not paths:
        raise CheckpointError(
            f"{directory} has a config.json, but neither *.safetensors nor pytorch_model*.bin beside it"
        )
    for path in paths:
        refuse_stand_in(path)
    return [SafetensorsFile(path) if safetensors else TorchFile(path) for path in paths]


def _refuse_missing(where: str, needed: Iterable[str], found: Shapes, what: str) -> None:
    names = list(needed)
    missing = [name for name in names if name not in found]
    if missing:
        raise CheckpointError(
            f"{where} lacks {len(missing)} of {len(names)} tensors {what}: {_few(missing)}; MindFormers would train on "
            "from random values there"
        )


def _refuse_shapes(where: str, expected: Shapes, found: Shapes) -> None:
    wrong = [name for name, shape in expected.items() if name in found and tuple(found[name]) != tuple(shape)]
    if wrong:
        name = wrong[0]
        raise CheckpointError(
            f"{where}: {len(wrong)} tensors have another shape than model.model_config asks for: {name} is "
            f"{list(found[name])}, not {list(expected[name])}{', ' + _few(wrong[1:]) if wrong[1:] else ''}"
        )


def _check_state(where: str, start: Start, found: Shapes, trained: Iterable[str]) -> None:
    if start.step == 0:
        raise CheckpointError(
            f"{where} has no step_num: it holds weights alone, and a training cannot be resumed from them; train from "
            "them with --run-mode finetune and without --resume-training"
        )
    with_state = {moment_of(name) for name in found} - {None}
    missing = [name for name in trained if name not in with_state]
    if missing:
        raise CheckpointError(
            f"{where} has no optimizer state of {len(missing)} tensors: {_few(missing)}; begin a new training from its "
            "weights with --run-mode finetune and without --resume-training"
        )


def _few(names: list[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
