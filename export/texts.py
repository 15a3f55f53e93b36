"""What makes text of a model, without the model: for backends that read the checkpoint themselves."""

from __future__ import annotations

from pathlib import Path

from skywork_rt.checkpoints.open import Checkpoint
from skywork_rt.export.bundle_writer import BundleWriter
from skywork_rt.export.small_files import unusable_templates, write_small_files
from skywork_rt.support.atomic_directory import AtomicDirectory

__all__ = ["write_texts"]


def write_texts(checkpoint: Checkpoint, out: Path) -> Path:
    """Writes the directory `out`: a bundle with tokenizer, vocabulary and generation_config.json, and nothing to run.

    Only `BundleInfo` opens it. The source's SHA-256 is not stated. Raises what reading the tokenizer raises.
    """
    tokenizer = checkpoint.tokenizer()
    with AtomicDirectory(out) as directory:
        writer = BundleWriter(
            directory, checkpoint.config, {"kind": checkpoint.kind, "name": checkpoint.name, "sha256": None}
        )
        write_small_files(writer, checkpoint, tokenizer, unusable_templates(tokenizer))
        writer.finish()
    return out
