"""Checkpoints as bundles in the cache: each is exported once, and found again by its content.

The key is the SHA-256 of the checkpoint, of its tokenizer, of its configuration and of the options. Reading a large
file for it takes a minute, so that what was read is remembered by path, size and time of change.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.metadata
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from skywork_rt.errors import InvalidArgumentError
from skywork_rt.support import environment
from skywork_rt.support.cache import cache_root
from skywork_rt.support.stages import no_progress

__all__ = ["exported_bundle"]

_LAYOUT = 1
"""Changes when bundles of earlier versions must not be found any more."""

_EXACT_BYTES = 4_000_000_000
"""Up to this size of its float32 weights a model is computed with exactly as its checkpoint says; a larger one with
int8, as skywork-rt export chooses."""

_DESCRIBING = (".json", ".yaml", ".yml", ".model", ".jinja")


def exported_bundle(
    path: Path, section: Mapping[str, Any] | None, tokenizer: Path | None, target: str = "native"
) -> Path:
    """The bundle of a checkpoint, made when it is not there yet. Two processes at once make it once.

    section: `model.model_config`, for a checkpoint of MindSpore; None takes the configuration beside it. tokenizer: for
    such a checkpoint too; None takes the one beside it, if there is one. target: of `skywork_rt.export`; lite
    has graphs, whose weights are float32.
    """
    from skywork_rt.checkpoints.open import mindspore_file_of

    path = mindspore_file_of(path)
    of_mindspore = path.is_file() and path.suffix in (".ckpt", ".safetensors")
    if not of_mindspore:
        section = tokenizer = None  # they are in the checkpoint
    folder = cache_root() / "compat"
    folder.mkdir(parents=True, exist_ok=True)
    weights = "f32" if target == "lite" else environment.COMPAT_WEIGHTS.value() or "auto"
    described = section is not None and tokenizer is not None  # so that what lies beside is not read
    key = _key(folder, _parts(path, of_mindspore and not described), section, tokenizer, weights, target)
    bundle = folder / f"{path.stem[:40]}-{key[:16]}"
    with _only_one(folder / f".{bundle.name}.lock"):
        if not (bundle / "model.json").exists():
            _export(path, bundle, section, tokenizer, weights, target)
    return bundle


def _export(
    path: Path, bundle: Path, section: Mapping[str, Any] | None, tokenizer: Path | None, weights: str, target: str
) -> None:
    from skywork_rt.checkpoints.mindspore.config import values_of_section
    from skywork_rt.checkpoints.open import open_source
    from skywork_rt.export import export
    from skywork_rt.support.progress import progress_bars

    with tempfile.TemporaryDirectory(prefix="skywork_rt-") as scratch:
        config = None
        if section is not None:
            config = Path(scratch) / "config.json"
            config.write_text(json.dumps(values_of_section(section, "LlamaConfig")), encoding="utf-8")
        source = open_source(path, config=config, tokenizer=tokenizer)
        chosen = _chosen_weights(source, weights)
        packed = [chosen] if target == "native" else []
        print(f"{path.name} is exported once, with weights {chosen}, to {bundle}", file=sys.stderr, flush=True)
        with progress_bars() as progress:
            export(source, bundle, targets=[target], weights=packed, progress=progress)


def _chosen_weights(source: Any, asked: str) -> str:
    from skywork_rt.export import WEIGHTS

    if asked != "auto":
        if asked not in WEIGHTS:
            raise InvalidArgumentError(
                f"{environment.COMPAT_WEIGHTS.name} is {asked!r}, but must be auto or one of {', '.join(WEIGHTS)}"
            )
        return asked
    if source.kind == "gguf":
        return "gguf"
    float32 = 4 * sum(_count(shape) for shape in source.config.tensor_shapes().values())
    return "f32" if float32 <= _EXACT_BYTES else "int8"


def _count(shape: Sequence[int]) -> int:
    count = 1
    for size in shape:
        count *= size
    return count


def _parts(path: Path, beside: bool) -> list[Path]:
    """The files that a checkpoint is made of; with `beside` those that describe it, too."""
    if path.is_dir():
        return sorted(file for file in path.iterdir() if file.is_file())
    if not beside:
        return [path]
    return [path, *sorted(file for file in path.parent.iterdir() if file.suffix in _DESCRIBING and file.is_file())]


def _key(
    folder: Path,
    parts: Sequence[Path],
    section: Mapping[str, Any] | None,
    tokenizer: Path | None,
    weights: str,
    target: str,
) -> str:
    files = [*parts, *(_parts(tokenizer, False) if tokenizer else [])]
    described = {
        "layout": _LAYOUT,
        "version": importlib.metadata.version("skywork-rt"),
        "files": [[file.name, _hash(folder, file)] for file in files],
        "section": section,
        "tokenizer": tokenizer is not None,
        "weights": weights,
        "target": target,
    }
    return hashlib.sha256(json.dumps(described, sort_keys=True, default=str).encode()).hexdigest()


def _hash(folder: Path, file: Path) -> str:
    """SHA-256 of a file, remembered by where it is, its size and when it was changed."""
    from skywork_rt.checkpoints.hashing import hash_files
    from skywork_rt.support.progress import progress_bars

    file = file.resolve()
    state = file.stat()
    stamp = [str(file), state.st_size, state.st_mtime_ns, state.st_ino]
    note = folder / "hashes" / hashlib.sha256(str(file).encode()).hexdigest()[:32]
    try:
        known = json.loads(note.read_text(encoding="utf-8"))
        if known["stamp"] == stamp:
            return str(known["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    with progress_bars() as progress:
        shown = progress if state.st_size > 1 << 30 else no_progress
        (digest,) = hash_files(f"reading {file.name}", [file], shown)
    note.parent.mkdir(exist_ok=True)
    beside = note.with_name(f".{note.name}.{os.getpid()}")
    beside.write_text(json.dumps({"stamp": stamp, "sha256": digest}), encoding="utf-8")
    beside.replace(note)
    return digest


@contextmanager
def _only_one(lock: Path) -> Iterator[None]:
    with lock.open("w") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("another process exports this checkpoint; waiting for it", file=sys.stderr, flush=True)
            fcntl.flock(held, fcntl.LOCK_EX)
        yield
