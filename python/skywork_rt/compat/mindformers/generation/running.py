"""Running prompts of ids through the engine: all at once, or step by step for a streamer."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from skywork_rt.compat.mindformers.generation.generation_config import GenerationConfig
from skywork_rt.compat.mindformers.generation.sampling import sampling_params
from skywork_rt.compat.mindspore.seeds import next_seed
from skywork_rt.errors import InvalidArgumentError

if TYPE_CHECKING:
    from skywork_rt.api.generator import Generator
    from skywork_rt.api.params import SamplingParams
    from skywork_rt.api.stream import Stream

__all__ = ["run"]


def run(
    owner: str,
    generator: Generator,
    prompts: Sequence[list[int]],
    config: GenerationConfig,
    *,
    limit: int,
    seed: int | None = None,
    streamer: Any = None,
) -> list[list[int]]:
    """Prompt and output of each row, without padding, the ending eos included.

    A row has the random numbers of seed + its index, whatever else is in the batch. A streamer gets the prompts, then
    after each step the new ids (of one row: an array of one; of a batch: a list a row, empty when the row is over).
    """
    first = next_seed() if seed is None else _checked_seed(owner, seed)
    params = [
        sampling_params(
            owner,
            config,
            prompt=len(ids),
            limit=limit,
            seed=None if first is None else (first + row) % 2**64,
        )
        for row, ids in enumerate(prompts)
    ]
    if streamer is not None:
        _check_streamer(owner, streamer, config)
        return _stream(generator, prompts, params, streamer)
    results = generator.generate([np.asarray(ids, np.int64) for ids in prompts], params)
    return [ids + result.token_ids for ids, result in zip(prompts, results, strict=True)]


def _stream(
    generator: Generator, prompts: Sequence[list[int]], params: Sequence[SamplingParams], streamer: Any
) -> list[list[int]]:
    outputs = [list(ids) for ids in prompts]
    try:
        streamer.put(np.asarray(prompts[0]) if len(prompts) == 1 else [list(ids) for ids in prompts])
        with contextlib.ExitStack() as stack:
            streams = [
                stack.enter_context(generator.stream(np.asarray(ids, np.int64), chosen))
                for ids, chosen in zip(prompts, params, strict=True)
            ]
            if len(streams) == 1:
                _put_one(streams[0], outputs[0], streamer)
            else:
                _put_batch(streams, outputs, streamer)
    finally:
        streamer.end()  # who reads the other end must not wait for ever
    return outputs


def _put_one(stream: Stream, output: list[int], streamer: Any) -> None:
    for token in _tokens(stream):
        output.append(token)
        streamer.put(np.asarray([token]))


def _put_batch(streams: Sequence[Stream], outputs: Sequence[list[int]], streamer: Any) -> None:
    """A token of each row at a time, so that a streamer sees steps of the batch and never a mixture."""
    rows = [_tokens(stream) for stream in streams]
    while True:
        news = [list(itertools.islice(row, 1)) for row in rows]
        if not any(news):
            return
        for output, new in zip(outputs, news, strict=True):
            output += new
        streamer.put(news)


def _tokens(stream: Stream) -> Iterator[int]:
    """Of pieces, which may hold several when nobody has waited for them."""
    for piece in stream:
        yield from piece.token_ids


def _check_streamer(owner: str, streamer: Any, config: GenerationConfig) -> None:
    if not callable(getattr(streamer, "put", None)) or not callable(getattr(streamer, "end", None)):
        raise InvalidArgumentError(
            f"{owner}: streamer is a {type(streamer).__name__}, but must have put() and end(), as TextStreamer has"
        )
    if config.num_beams > 1:
        raise InvalidArgumentError(
            f"{owner}: a streamer cannot be used with num_beams={config.num_beams}: beams are known at the end only; "
            "leave out one of them"
        )


def _checked_seed(owner: str, seed: Any) -> int:
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**64:
        raise InvalidArgumentError(f"{owner}: seed is {seed!r}, but must be a whole number in [0, 2**64)")
    return seed
