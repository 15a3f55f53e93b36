"""How the next token is chosen and when a sequence ends: vLLM's names, checked by the core."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from skywork_rt import _core
from skywork_rt.api.constraint import Constraint
from skywork_rt.api.generation_config import from_generation_config
from skywork_rt.support.suggest import refuse_unknown, refuses_unknown_fields

__all__ = ["SamplingParams"]

T = TypeVar("T")

_NONE_IS_EMPTY = (
    "logit_bias",
    "bad_words_ids",
    "stop",
    "stop_token_ids",
    "shown_special_token_ids",
    "logprob_token_ids",
)


def _remembers_chosen(cls: type[T]) -> type[T]:
    """Makes the constructor note which fields were given."""
    plain = cls.__init__

    @functools.wraps(plain)
    def noting(self: T, *args: Any, **values: Any) -> None:
        object.__setattr__(self, "_chosen_names", frozenset(values))
        plain(self, *args, **values)

    cls.__init__ = noting  # type: ignore[assignment]
    return cls


@_remembers_chosen
@refuses_unknown_fields
@dataclass(frozen=True, kw_only=True)
class SamplingParams(Constraint):
    """How the next token is chosen and when a sequence ends.

    Names and meanings are vLLM's, with beam search in transformers' names. Ranges are checked when an object is made;
    token ids are checked against the vocabulary when it is used. Raises InvalidArgumentError, which names the field,
    its value and the range. `grammar` says what the output must look like: a skywork_rt.Grammar; none by default.

    Order: logit_bias, bad_words_ids and min_tokens; repetition, presence and frequency penalties and
    no_repeat_ngram_size; temperature; top_k; top_p; min_p; typical_p; draw.
    """

    max_tokens: int | None = 256
    """Most tokens to produce, the ending eos included. None: as many as the maximum length leaves."""
    min_tokens: int = 0
    """No eos or stop id is produced before this many tokens, unless a grammar lets nothing else follow."""
    temperature: float = 1.0
    """Divides the logits. 0: greedy (the best logit, the lowest id among equals)."""
    top_k: int = 0
    """Keep the k best logits, ties with the k-th kept. 0 or -1: all."""
    top_p: float = 1.0
    """Keep the smallest set whose probability reaches this, in (0, 1] (Holtzman et al. 2019). 1: all."""
    min_p: float = 0.0
    """Drop tokens less likely than min_p times the likeliest, in [0, 1]. 0: off."""
    typical_p: float = 1.0
    """Mass of locally typical sampling, in (0, 1] (Meister et al. 2022). 1: off."""
    repetition_penalty: float = 1.0
    """CTRL's penalty (Keskar et al. 2019) over prompt and output, once a distinct token, > 0. 1: off."""
    presence_penalty: float = 0.0
    """Subtracted once from the logit of every token that the output holds, in [-2, 2]."""
    frequency_penalty: float = 0.0
    """Subtracted from a token's logit once for each time the output holds it, in [-2, 2]."""
    no_repeat_ngram_size: int = 0
    """No n-gram of this size occurs twice in prompt and output. 0: off."""
    logit_bias: Mapping[int, float] | None = None
    """Token ids, and what is added to their logits; -inf bans a token."""
    bad_words_ids: Sequence[Sequence[int]] | None = None
    """Token sequences that are not completed."""
    stop: str | Sequence[str] | None = None
    """The output ends before the first of these texts, matched on bytes."""
    stop_token_ids: Sequence[int] | None = None
    """Beside the model's eos ids, these end the output."""
    include_stop_str_in_output: bool = False
    """Keep the matched stop text at the end of the output."""
    ignore_eos: bool = False
    """The model's eos ids do not end the output."""
    skip_special_tokens: bool = True
    """Leave special tokens out of the text."""
    shown_special_token_ids: Sequence[int] | None = None
    """Special tokens that stay in the text though skip_special_tokens leaves the others out, such as the one that
    begins a tool call."""
    n: int = 1
    """Independent samples of one prompt; they share its prefill."""
    seed: int | None = None
    """Random stream of this request (Philox4x32-10, keyed by seed, sample and position), 0 <= seed < 2**64. None: drawn
    from the operating system and reported in the result."""
    logprobs: int | None = None
    """Report the log-probability of the chosen token and of this many best ones, before any of these parameters acted;
    for a beam, those of its path. At most the generator's max_logprobs. None: nothing is reported."""
    prompt_logprobs: int | None = None
    """The same for every prompt token but the first. None: nothing is reported."""
    logprob_token_ids: Sequence[int] | None = None
    """Report the log-probabilities of these tokens, too, beside the chosen one, whatever their rank. At most the
    generator's max_logprobs of them. Empty: none."""
    num_beams: int = 1
    """Width of beam search. 1: no beam search. Needs temperature 0 and n <= num_beams. Eos, stop ids and stop texts end
    a hypothesis; its score counts the tokens that spell the stop text (as transformers' stop_strings)."""
    length_penalty: float = 1.0
    """Beam scores are divided by length ** length_penalty (Wu et al. 2016, as in transformers)."""
    early_stopping: bool = False
    """Beam search ends when num_beams hypotheses are finished, without asking whether a better one may come."""

    def __post_init__(self) -> None:
        self.check_grammar(self.num_beams)
        _core.validate_sampling_params(self.to_core())

    def to_core(self) -> dict[str, Any]:
        """The fields that are set, by name, as the core reads them. A grammar goes there compiled, apart from these."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        del values["grammar"]
        for name in _NONE_IS_EMPTY:
            if values[name] is None:
                del values[name]
        if isinstance(self.logit_bias, Mapping):
            values["logit_bias"] = dict(self.logit_bias)
        return values

    @property
    def reports_logprobs(self) -> bool:
        """Whether results have log-probabilities of the output."""
        named = self.logprob_token_ids
        return self.logprobs is not None or (named is not None and len(named) > 0)

    def replace(self, **changes: Any) -> SamplingParams:
        """A copy with some fields changed; unknown names are refused."""
        refuse_unknown("SamplingParams", changes, (field.name for field in dataclasses.fields(self)))
        return dataclasses.replace(self, **changes)._chosen(self._chosen_fields | changes.keys())

    def sets(self, name: str) -> bool:
        """Whether the caller chose this field: a max_tokens that nobody chose is clipped to what fits."""
        return name in self._chosen_fields

    @classmethod
    def from_generation_config(cls, config: Mapping[str, Any]) -> SamplingParams:
        """The defaults that a model's generation_config.json states, as vLLM reads it.

        Taken are temperature, top_k, top_p, min_p, typical_p, repetition_penalty and max_new_tokens; everything else,
        `do_sample` too, is left alone. A value out of our range is understood: temperature 0 or less is greedy, top_p 0
        or less keeps the best token, what switches a step off elsewhere switches it off here; what means nothing is
        left out with a warning.
        """
        return cls(**from_generation_config(config))._chosen(())

    @property
    def _chosen_fields(self) -> frozenset[str]:
        chosen: frozenset[str] = self.__dict__.get("_chosen_names", frozenset())
        return chosen

    def _chosen(self, names: Iterable[str]) -> SamplingParams:
        object.__setattr__(self, "_chosen_names", frozenset(names))
        return self
