"""Opens what a script names: a bundle as it is, a checkpoint through the cache, a pair of graphs as `graphs` says."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skywork_rt.compat.mindformers.opening.exported import exported_bundle
from skywork_rt.compat.mindspore.context import get_context
from skywork_rt.compat.notices import notice
from skywork_rt.errors import InvalidArgumentError

if TYPE_CHECKING:
    from skywork_rt.api.generator import Generator
    from skywork_rt.compat.mindformers.models.llama.llama_config import LlamaConfig

__all__ = ["OpenedModel", "checkpoint_in", "open_bundle", "open_checkpoint"]

_COMPARED = {"hidden_size": "hidden_size", "num_layers": "layers", "num_heads": "heads", "vocab_size": "vocab_size"}


@dataclass
class OpenedModel:
    """A generator, and what must live as long as it does."""

    generator: Generator
    keep: Any = None

    def close(self) -> None:
        """Frees the model, then what it was opened from."""
        self.generator.close()
        if self.keep is not None:
            self.keep.cleanup()


def open_checkpoint(path: Path, config: LlamaConfig | None = None, *, tokenizer: Path | None = None) -> OpenedModel:
    """A bundle, or a checkpoint, which is exported into the cache once. `config` describes a checkpoint of MindSpore,
    and is compared with a bundle; `tokenizer` is for the exported bundle.

    Raises InvalidArgumentError, CheckpointError, UnsupportedError, CapacityError.
    """
    if not path.exists():
        raise InvalidArgumentError(
            f"{path} does not exist; checkpoint_name_or_path is the path of a .ckpt, of a directory of Hugging Face, "
            "or of a bundle: nothing is downloaded by name"
        )
    path = checkpoint_in(path)
    if (path / "model.json").exists():
        opened = open_bundle(path)
    else:
        opened = open_bundle(exported_bundle(path, config.section() if config else None, tokenizer))
    if config is not None:
        _compare(opened, config, path)
    return opened


def open_bundle(path: Path, *, keep: Any = None, max_length: int | None = None, backend: str = "auto") -> OpenedModel:
    """`path` on this machine's processor, for at most `max_length` tokens, or what the model was made for."""
    from skywork_rt.api.generator import Generator
    from skywork_rt.bundle.info import BundleInfo

    longest = BundleInfo.open(path).section("model").get("max_length")
    if max_length is not None and isinstance(longest, int) and max_length > longest:
        notice(
            f"length.{path}",
            f"a sequence length of {max_length} was asked for, but the model of {path} was made for {longest}: "
            "that is the longest prompt and output together",
        )
        max_length = longest
    threads = get_context("runtime_num_threads") or None
    return OpenedModel(Generator(path, backend=backend, max_length=max_length, threads=threads), keep)


def checkpoint_in(path: Path) -> Path:
    """The checkpoint in `path/rank_0`, as MindFormers lays out a directory for --load_checkpoint; other paths as they
    are.

    Raises InvalidArgumentError when there are several, or the parts of several ranks.
    """
    found = sorted((path / "rank_0").glob("*.ckpt")) if path.is_dir() else []
    if len(found) > 1:
        names = ", ".join(file.name for file in found[:4])
        raise InvalidArgumentError(f"{path / 'rank_0'} has {len(found)} checkpoints, {names}; give one of them")
    if found and (path / "rank_1").exists():
        raise InvalidArgumentError(
            f"{path} has the parts of several ranks; make one checkpoint of them first: skywork-rt merge {path} "
            "whole.ckpt --strategy STRATEGY"
        )
    return found[0] if found else path


def _compare(opened: OpenedModel, config: LlamaConfig, path: Path) -> None:
    """A bundle under the configuration of another model is a mistake that nothing else would tell."""
    for name, ours in _COMPARED.items():
        there = getattr(opened.generator.model, ours)
        if config.given(name) and config[name] != there:
            opened.close()
            raise InvalidArgumentError(
                f"the configuration has {name} = {config[name]}, but the model of {path} has {there}; give the "
                "configuration of this model"
            )
