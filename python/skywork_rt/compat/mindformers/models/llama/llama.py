"""LlamaForCausalLM: a model that generates from ids."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from skywork_rt.compat.mindformers.generation.generation_config import GenerationConfig
from skywork_rt.compat.mindformers.generation.running import run
from skywork_rt.compat.mindformers.generation.sampling import check_lengths
from skywork_rt.compat.mindformers.models.llama.llama_config import LlamaConfig
from skywork_rt.compat.mindformers.opening.model import open_checkpoint
from skywork_rt.compat.notices import ignored
from skywork_rt.errors import InvalidArgumentError, UnsupportedError
from skywork_rt.support.suggest import refuse_unknown

__all__ = ["LlamaForCausalLM", "prompt_rows"]

_OWNER = "generate()"


class LlamaForCausalLM:
    """The model of a configuration, opened when the object is made.

    config: with `checkpoint_name_or_path`. A checkpoint is exported into the cache the first time, which is told on
    stderr; a bundle is opened as it is. Raises InvalidArgumentError, CheckpointError, UnsupportedError.
    """

    def __init__(self, config: LlamaConfig | None = None) -> None:
        if not isinstance(config, LlamaConfig):
            raise InvalidArgumentError(f"LlamaForCausalLM: config is a {type(config).__name__}; give a LlamaConfig")
        if not config.checkpoint_name_or_path:
            raise InvalidArgumentError(
                "LlamaForCausalLM: the configuration has no checkpoint_name_or_path, and random weights answer "
                "nothing; set it to a .ckpt, or to a bundle"
            )
        self.config = config
        self._opened = open_checkpoint(Path(config.checkpoint_name_or_path), config)
        self.generator = self._opened.generator
        """The `skywork_rt.Generator` beneath, with all that it can do."""

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_dir: str, **kwargs: Any) -> LlamaForCausalLM:
        """Of a YAML whose model.model_config has checkpoint_name_or_path."""
        return cls(LlamaConfig.from_pretrained(pretrained_model_name_or_dir, **kwargs))

    def generate(
        self,
        input_ids: Any,
        generation_config: GenerationConfig | None = None,
        logits_processor: Any = None,
        streamer: Any = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> list[NDArray[np.int32]] | dict[str, list[NDArray[np.int32]]]:
        """Continues one list of ids, or several.

        input_ids: ids, lists of ids or a two-dimensional array; pad ids at the end of a row are padding and are taken
            off. generation_config: None takes the defaults of the model's configuration; keywords change values of it.
            streamer: see `TextStreamer`. seed: the same seed gives the same samples.

        Returns an int32 array a row, prompt and output together, the ending eos included, without padding; as
        {"sequences": …} with return_dict_in_generate=True. Raises InvalidArgumentError for a prompt that leaves no room
        below max_length, and for unknown keywords.
        """
        config = self._config(generation_config, kwargs)
        if logits_processor:
            raise UnsupportedError(
                "generate(): logits_processor is not supported: tokens are chosen in C++; leave it out"
            )
        pad = config.pad_token_id if config.pad_token_id is not None else self.config.pad_token_id
        prompts = prompt_rows(input_ids, pad)
        limit = min(self.config.seq_length, self.generator.max_length)
        check_lengths(_OWNER, config)
        _check_room(prompts, config, limit)
        outputs = run(_OWNER, self.generator, prompts, config, limit=limit, seed=seed, streamer=streamer)
        rows = [np.asarray(row, np.int32) for row in outputs]
        return {"sequences": rows} if config.return_dict_in_generate else rows

    def set_train(self, mode: bool = True) -> Self:
        """False changes nothing; True is refused: training is a command."""
        if mode:
            raise UnsupportedError(
                "set_train(True): this model generates only; training is a command: skywork-rt train"
            )
        return self

    def construct(self, *_args: Any, **_kwargs: Any) -> None:
        """The forward pass, which is not given out."""
        raise UnsupportedError(
            "LlamaForCausalLM gives no logits; use generate(), or score() and prompt_logprobs of its `generator`"
        )

    __call__ = construct

    def close(self) -> None:
        """Frees the model; a script's end does it too."""
        self._opened.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _config(self, given: GenerationConfig | None, changes: dict[str, Any]) -> GenerationConfig:
        base = GenerationConfig.from_model_config(self.config) if given is None else given
        if not isinstance(base, GenerationConfig):
            raise InvalidArgumentError(
                f"generate(): generation_config is a {type(base).__name__}, but must be a GenerationConfig"
            )
        config = GenerationConfig(**base.to_dict())
        if changes.get("is_sample_acceleration"):
            ignored(_OWNER, "is_sample_acceleration", "tokens are always chosen in C++")
        changes = {name: value for name, value in changes.items() if name != "is_sample_acceleration"}
        # None follows the model's configuration, as MindFormers documents it.
        defaults = GenerationConfig.from_model_config(self.config).to_dict()
        unused = config.update(
            **{name: defaults.get(name) if value is None else value for name, value in changes.items()}
        )
        refuse_unknown(_OWNER, unused, [*config.to_dict(), "max_decode_length", "streamer", "seed"])
        return config


def prompt_rows(input_ids: Any, pad: int | None) -> list[list[int]]:
    """Rows of ids without the padding at their ends. Raises InvalidArgumentError for anything but ids."""
    if hasattr(input_ids, "asnumpy"):
        input_ids = input_ids.asnumpy()
    if isinstance(input_ids, np.ndarray):
        input_ids = input_ids.tolist()
    if not isinstance(input_ids, list | tuple) or not input_ids:
        raise InvalidArgumentError(
            f"generate(): input_ids is {_shown(input_ids)}, but must be ids or lists of ids, such as "
            'tokenizer(text)["input_ids"]'
        )
    nested = all(isinstance(row, list | tuple | np.ndarray) for row in input_ids)
    return [_row(row, pad) for row in (input_ids if nested else [input_ids])]


def _row(row: Sequence[Any] | NDArray[Any], pad: int | None) -> list[int]:
    if not all(isinstance(token, int | np.integer) and not isinstance(token, bool) for token in row):
        raise InvalidArgumentError(f"generate(): a row of input_ids is {_shown(row)}, but must be whole numbers")
    ids = [int(token) for token in row]
    while ids and ids[-1] == pad:
        ids.pop()
    if not ids:
        raise InvalidArgumentError("generate(): a row of input_ids has nothing but padding; give each row a token")
    return ids


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"


def _check_room(prompts: Sequence[Sequence[int]], config: GenerationConfig, limit: int) -> None:
    longest = max(map(len, prompts))
    if longest >= limit:
        raise InvalidArgumentError(
            f"generate(): a prompt has {longest} tokens, and seq_length is {limit}: nothing can follow; shorten it"
        )
    if config.max_new_tokens is None and longest >= config.max_length:
        raise InvalidArgumentError(
            f"generate(): a prompt has {longest} tokens, and max_length, prompt included, is {config.max_length}; "
            "set it higher, or give max_new_tokens"
        )
