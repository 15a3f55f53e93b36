"""TextGeneratorInfer: texts to texts, prompt included."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any, Self

from skywork_rt.compat.mindformers.generation.generation_config import GenerationConfig
from skywork_rt.compat.mindformers.generation.running import run
from skywork_rt.compat.mindformers.generation.sampling import check_lengths
from skywork_rt.compat.mindformers.inference.infer_config import InferConfig
from skywork_rt.compat.mindformers.opening.graphs import open_graphs
from skywork_rt.compat.mindformers.opening.model import OpenedModel, open_bundle
from skywork_rt.compat.notices import ignored, notice
from skywork_rt.errors import InvalidArgumentError
from skywork_rt.support.suggest import refuse_unknown

__all__ = ["TextGeneratorInfer"]

_OWNER = "infer()"
_EXTRA = ("max_new_tokens", "min_length", "min_new_tokens", "num_beams", "renormalize_logits", "use_past", "seed",
          "encoder_repetition_penalty", "bos_token_id")  # fmt: skip
_GRAPHS = (".mindir", ".ms")


class TextGeneratorInfer:
    """A model that is open, and a tokenizer. Made by `InferTask.get_infer_task`."""

    def __init__(self, config: InferConfig | None = None, tokenizer: Any = None, image_processor: Any = None) -> None:
        if config is not None and not isinstance(config, InferConfig):
            raise InvalidArgumentError(
                f"InferTask: the configuration is a {type(config).__name__}; give an InferConfig"
            )
        if tokenizer is None:
            raise InvalidArgumentError("InferTask: tokenizer is None; give LlamaTokenizer('tokenizer.model')")
        if image_processor is not None:
            raise InvalidArgumentError("InferTask: image_processor has no meaning for text_generation; leave it out")
        self.config = config or InferConfig()
        self.tokenizer = tokenizer
        self._opened = _open(self.config, tokenizer)
        self.generator = self._opened.generator
        """The `skywork_rt.Generator` beneath, with all that it can do."""

    def infer(
        self,
        inputs: str | list[str],
        do_sample: bool = False,
        top_k: int = 1,
        top_p: float = 1.0,
        temperature: float = 1.0,
        repetition_penalty: float = 1.0,
        eos_token_id: int | list[int] = 2,
        pad_token_id: int = 0,
        max_length: int = 256,
        is_sample_acceleration: bool = False,
        add_special_tokens: bool = False,
        streamer: Any = None,
        **kwargs: Any,
    ) -> list[str]:
        """Continues a text, or a list of texts of any number and any lengths.

        max_length counts the prompt too; infer_seq_length bounds it. eos_token_id may be several ids. Returns prompt
        and output of each, special tokens left out. Keywords beyond the named ones: max_new_tokens, min_length,
        min_new_tokens, num_beams, seed.
        """
        refuse_unknown(_OWNER, kwargs, [*_EXTRA, *_ARGUMENTS])
        if is_sample_acceleration:
            ignored(_OWNER, "is_sample_acceleration", "tokens are always chosen in C++")
        seed = kwargs.pop("seed", None)
        config = GenerationConfig(
            do_sample=do_sample,
            top_k=top_k,
            top_p=top_p,
            temperature=temperature,
            repetition_penalty=repetition_penalty,
            eos_token_id=eos_token_id,
            pad_token_id=pad_token_id,
            max_length=max_length,
            **kwargs,
        )
        check_lengths(_OWNER, config)
        prompts = self.preprocess(inputs, add_special_tokens)
        outputs = self._generate(prompts, config, seed, streamer)
        return self.postprocess(outputs)

    def __call__(self, inputs: str | list[str], **kwargs: Any) -> list[str]:
        return self.infer(inputs, **kwargs)

    def preprocess(
        self, input_data: str | list[str], add_special_tokens: bool = False, **_kwargs: Any
    ) -> list[list[int]]:
        """Ids of each text."""
        texts = [input_data] if isinstance(input_data, str) else input_data
        if not isinstance(texts, list | tuple) or not texts or not all(isinstance(text, str) for text in texts):
            raise InvalidArgumentError(f"{_OWNER}: inputs must be a text or a list of texts, with at least one in it")
        ids = self.tokenizer(list(texts), add_special_tokens=add_special_tokens)["input_ids"]
        for row, text in zip(ids, texts, strict=True):
            if not len(row):
                raise InvalidArgumentError(
                    f"{_OWNER}: the text {text!r} makes no tokens; give a text, or add_special_tokens=True"
                )
        return [[int(token) for token in row] for row in ids]

    def postprocess(self, predict_data: list[list[int]], **_kwargs: Any) -> list[str]:
        """Texts of ids, special tokens left out."""
        texts: list[str] = self.tokenizer.decode(predict_data, skip_special_tokens=True)
        return texts

    def close(self) -> None:
        """Frees the model; a script's end does it too."""
        self._opened.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _generate(
        self, prompts: list[list[int]], config: GenerationConfig, seed: int | None, streamer: Any
    ) -> list[list[int]]:
        limit = min(int(self.config.seq_length), self.generator.max_length)
        for ids in prompts:
            if len(ids) > limit:
                raise InvalidArgumentError(
                    f"{_OWNER}: a prompt has {len(ids)} tokens, but the sequence length is {limit} "
                    "(InferConfig's infer_seq_length, and what the model was made for); shorten it"
                )
        # A prompt that has max_length tokens already comes back as it is, as in MindFormers.
        bound = limit if config.max_new_tokens is not None else min(limit, int(config.max_length))
        open_rows = [row for row, ids in enumerate(prompts) if len(ids) < bound]
        if len(open_rows) < len(prompts):
            notice("infer.full", f"{_OWNER}: a prompt has max_length {bound} tokens or more; it comes back as it is")
        outputs = [list(ids) for ids in prompts]
        if open_rows:
            chosen = [prompts[row] for row in open_rows]
            done = run(_OWNER, self.generator, chosen, config, limit=limit, seed=seed, streamer=streamer)
            for row, output in zip(open_rows, done, strict=True):
                outputs[row] = output
        return outputs


_ARGUMENTS = ("inputs", "do_sample", "top_k", "top_p", "temperature", "repetition_penalty", "eos_token_id",
              "pad_token_id", "max_length", "is_sample_acceleration", "add_special_tokens", "streamer")  # fmt: skip


def _open(config: InferConfig, tokenizer: Any) -> OpenedModel:
    if not config.prefill_model_path:
        raise InvalidArgumentError(
            "InferConfig: prefill_model_path is empty; give the full graph "
            "(mindir_full_checkpoint/rank_0_graph.mindir), or a .ckpt"
        )
    full = Path(config.prefill_model_path)
    incremental = Path(config.increment_model_path) if config.increment_model_path else None
    if full.suffix in _GRAPHS:
        return open_graphs(full, incremental, int(config.seq_length))
    if incremental is not None:
        raise InvalidArgumentError(
            f"InferConfig: prefill_model_path {full} is no graph, and needs no increment_model_path; leave that out"
        )
    return _open_checkpoint(full, tokenizer, int(config.seq_length))


def _open_checkpoint(path: Path, tokenizer: Any, max_length: int) -> OpenedModel:
    from skywork_rt.compat.mindformers.opening.exported import exported_bundle

    if not path.exists():
        raise InvalidArgumentError(f"InferConfig: prefill_model_path is {path}, which does not exist")
    if (path / "model.json").exists():
        return open_bundle(path, max_length=max_length)
    vocabulary = getattr(tokenizer, "vocab_file", None)
    bundle = exported_bundle(path, None, Path(vocabulary) if vocabulary else None)
    return open_bundle(bundle, max_length=max_length)
