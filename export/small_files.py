"""What a bundle has beside weights and graphs: tokenizer, vocabulary, generation_config.json."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping

from skywork_rt.checkpoints.checkpoint import Checkpoint
from skywork_rt.checkpoints.tokenizers.tokenizer_files import TokenizerFiles
from skywork_rt.export.bundle_writer import BundleWriter
from skywork_rt.export.template_check import check_template

__all__ = ["unusable_templates", "write_small_files"]

_log = logging.getLogger("skywork_rt.export")


def unusable_templates(tokenizer: TokenizerFiles | None) -> dict[str, str]:
    """Names of chat templates that cannot be used, with the reason; the bundle does without them."""
    if tokenizer is None:
        return {}
    tried = {
        name: check_template(name, text, tokenizer.special_tokens) for name, text in tokenizer.chat_templates.items()
    }
    return {name: reason for name, reason in tried.items() if reason is not None}


def write_small_files(
    writer: BundleWriter, checkpoint: Checkpoint, tokenizer: TokenizerFiles | None, unusable: Mapping[str, str]
) -> None:
    """Adds them to the bundle, and warns of tokens that the model lacks."""
    if tokenizer is not None:
        beyond = len(tokenizer.entries) - checkpoint.config.vocab_size
        if beyond > 0:
            _log.warning("the tokenizer has %d tokens more than the model; the runtime refuses text with them", beyond)
        writer.add_tokenizer(tokenizer, unusable)
    generation = checkpoint.generation_config()
    if generation is not None:
        text = json.dumps(generation, indent=2, ensure_ascii=False)
        writer.add_bytes("generation_config.json", "generation_config", text.encode("utf-8"))
