"""TextGenerationPipeline: texts to [{'text_generation_text': [text, …]}, …]."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from skywork_rt.compat.mindformers.models.llama.llama import LlamaForCausalLM
from skywork_rt.errors import InvalidArgumentError

__all__ = ["TextGenerationPipeline"]

_PREPROCESS = ("keys", "add_special_tokens")
_KEY = "text"


class TextGenerationPipeline:
    """A model and a tokenizer, with defaults of `generate` in keywords."""

    return_name = "text_generation"

    def __init__(self, model: LlamaForCausalLM, tokenizer: Any = None, **kwargs: Any) -> None:
        if tokenizer is None:
            raise InvalidArgumentError("pipeline: tokenizer is None; give LlamaTokenizer('tokenizer.model')")
        self.model = self.network = model
        self.tokenizer = tokenizer
        self._batch_size = kwargs.pop("batch_size", None)
        self._defaults = kwargs

    def __call__(
        self, inputs: str | dict[str, str] | Sequence[Any], batch_size: int | None = None, **kwargs: Any
    ) -> list[dict[str, list[str]]]:
        """Continues texts.

        inputs: a text, a dict with "text" (or the name in keys={"src_language": name}), or a list of them. Of a list
        the result has a dict for each batch_size texts, one by default; all of them run together.

        Returns dicts {"text_generation_text": [prompt and output of each text]}, special tokens left out.
        """
        options = {**self._defaults, **kwargs}
        settings = {name: options.pop(name) for name in _PREPROCESS if name in options}
        size = batch_size or self._batch_size or 1
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise InvalidArgumentError(f"pipeline: batch_size is {size!r}, but must be a whole number of at least 1")
        several = isinstance(inputs, list | tuple)
        listed: list[Any] = list(inputs) if several else [inputs]
        if several and (not listed or len(listed) % size):
            raise InvalidArgumentError(
                f"pipeline: {len(listed)} inputs are no multiple of batch_size {size}, and not none; give others"
            )
        texts = self._run([_text(item, settings.get("keys")) for item in listed], settings, options)
        step = size if several else 1
        return [{f"{self.return_name}_text": texts[i : i + step]} for i in range(0, len(texts), step)]

    predict = transform = __call__

    def _run(self, texts: list[str], settings: dict[str, Any], options: dict[str, Any]) -> list[str]:
        special = settings.get("add_special_tokens", True)
        ids = self.tokenizer(texts, add_special_tokens=special)["input_ids"]
        for text, row in zip(texts, ids, strict=True):
            if not len(row):
                raise InvalidArgumentError(f"pipeline: the text {text!r} makes no tokens; give another")
        options.pop("return_dict_in_generate", None)
        outputs = self.model.generate(ids, **{**options, "return_dict_in_generate": True})
        assert isinstance(outputs, dict)
        decoded: list[str] = self.tokenizer.decode(outputs["sequences"], skip_special_tokens=True)
        return decoded


def _text(item: Any, keys: Any) -> str:
    if isinstance(item, dict):
        name = keys.get("src_language", _KEY) if isinstance(keys, dict) else _KEY
        item = item.get(name)
    if not isinstance(item, str):
        raise InvalidArgumentError(f"pipeline: an input is a {type(item).__name__}; give a text, or a dict with one")
    return item
