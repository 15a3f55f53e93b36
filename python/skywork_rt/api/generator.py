"""The synchronous API: one model, prompts in, text out."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from types import TracebackType
from typing import Any, Literal, Self, Unpack, overload

import numpy as np
from numpy.typing import NDArray

from skywork_rt import _core
from skywork_rt.api.core_log import forward_core_log
from skywork_rt.api.opening import open_model, vocabulary_path
from skywork_rt.api.options import GeneratorOptions, with_options_documented
from skywork_rt.api.params import SamplingParams
from skywork_rt.api.prompts import Prompt, PromptInput, check_single, parse_ids, parse_prompts
from skywork_rt.api.requests import Batch, Terms, submit
from skywork_rt.api.results import RequestOutput, Score
from skywork_rt.api.stream import Stream
from skywork_rt.errors import InvalidArgumentError, UnsupportedError
from skywork_rt.grammar.desk import GrammarDesk
from skywork_rt.grammar.grammar import Grammar
from skywork_rt.support.suggest import refuse_unknown
from skywork_rt.text.chat_template import ChatArguments, ChatTemplates, Message, load_chat_templates, render_chat
from skywork_rt.text.tokenizer import Tokenizer, load_tokenizer

__all__ = ["Generator"]

Progress = bool | Callable[[int, int], None]
"""True: a bar on stderr. A function: called with how many requests are finished, and how many there are."""


@with_options_documented
class Generator:
    """Owns one model, its cache and the engine's thread. Every method may be called from any thread.

    Use it as a context manager, or call `close()`. Options are keywords; they are listed below, and what each may be is
    in docs/reference/generator-options.md. Opening a bundle downloads and changes nothing.

    bundle: directory written by `skywork-rt export`. For backend="mindspore" also whatever that command takes, such as
        a MindSpore checkpoint; for a PythonBackend None too, and then the generator takes and gives ids only.

    Raises BundleNotFoundError, CorruptBundleError, UnsupportedError, BackendUnavailableError, InvalidArgumentError.
    """

    def __init__(self, bundle: str | os.PathLike[str] | None, **options: Unpack[GeneratorOptions]) -> None:
        forward_core_log()
        self._opened = open_model(bundle, options)
        self._core = self._opened.core
        self._bundle = self._opened.bundle
        self._grammars = GrammarDesk(self._core.model, partial(vocabulary_path, self._bundle))
        self._tokenizer: Tokenizer | None = None
        self._tokenizer_loaded = False
        self._defaults: SamplingParams | None = None
        self._chat_templates: ChatTemplates | None = None

    # What it is.

    @property
    def model(self) -> _core.ModelSpec:
        """The model's shape: layers, vocab_size, eos_ids and so on."""
        return self._core.model

    @property
    def options(self) -> dict[str, Any]:
        """Every option, with "auto" and None replaced by what was chosen; `affinity` stays None if the system chooses.

        Given to another Generator, they choose the same again.
        """
        options = self._core.options
        return {**options, "affinity": options["affinity"] or None}

    @property
    def max_length(self) -> int:
        """Longest prompt + output, in tokens."""
        return int(self.options["max_length"])

    def stats(self) -> dict[str, Any]:
        """Counters since the generator was opened, and what is in it now."""
        return self._core.stats()

    def compile_grammar(self, grammar: Grammar) -> bool:
        """Begins to compile a grammar, and says whether that is done. Requests do this by themselves; ask before to
        know that a grammar is right, or to have it ready. Raises InvalidArgumentError with what is wrong with it,
        UnsupportedError without llguidance or without a tokenizer."""
        return self._grammars.compiled(grammar)

    def grammar_stats(self) -> dict[str, Any]:
        """What grammars have cost: how many were compiled, failed or reused; masks, one a token; seconds that both took
        on threads of their own; waits, masks that were not there when their row needed them; guessed, tokens that were
        probable, whose masks were made ahead, and right, those of them that came."""
        return self._grammars.stats()

    @property
    def tokenizer(self) -> Tokenizer | None:
        """The bundle's tokenizer, loaded at first use; None when it has none."""
        if not self._tokenizer_loaded:
            self._tokenizer = load_tokenizer(self._bundle)
            self._tokenizer_loaded = True
        return self._tokenizer

    @property
    def default_params(self) -> SamplingParams:
        """What a call without params uses: the model's generation_config over SamplingParams' own defaults."""
        if self._defaults is None:
            self._defaults = SamplingParams.from_generation_config(self._bundle.generation_config)
        return self._defaults

    # Text and ids.

    def encode(self, text: str, *, add_special_tokens: bool | None = None) -> list[int]:
        """Ids of `text`; begins with bos when add_special_tokens says so (None: as the model is configured)."""
        return self._need_tokenizer("encode()").encode(text, add_special_tokens=add_special_tokens)

    def decode(self, ids: Sequence[int] | NDArray[np.integer[Any]], *, skip_special_tokens: bool = True) -> str:
        """Text of `ids`, through the vocabulary that the engine itself uses."""
        return self._core.decode(parse_ids(ids, "the list of ids"), skip_special_tokens)

    # Generating.

    @overload
    def generate(
        self, prompts: PromptInput, params: SamplingParams | None = None, *, progress: Progress = False, **options: Any
    ) -> RequestOutput: ...
    @overload
    def generate(
        self,
        prompts: Sequence[PromptInput] | NDArray[np.integer[Any]],
        params: SamplingParams | Sequence[SamplingParams] | None = None,
        *,
        progress: Progress = False,
        **options: Any,
    ) -> list[RequestOutput]: ...
    def generate(
        self,
        prompts: PromptInput | Sequence[PromptInput] | NDArray[np.integer[Any]],
        params: SamplingParams | Sequence[SamplingParams] | None = None,
        *,
        progress: Progress = False,
        **options: Any,
    ) -> RequestOutput | list[RequestOutput]:
        """Runs one prompt or many, which share steps as they come and leave as they finish.

        prompts: text, a list of ids, a one-dimensional integer array; or a list of those; or a two-dimensional array.
        params: for all, or one a prompt. None: `default_params`.
        options: SamplingParams fields that replace those of `params`, such as max_tokens=20, temperature=0. Beside
            them `priority` (higher runs first), `deadline` (seconds from now) and `cache_salt` (a text: only requests
            with the same one share cached tokens, so that one tenant cannot find out what another has asked).

        Returns one result for one prompt, a list in order for many. All are checked before the first one starts: a
        list with a prompt that cannot run raises its error and runs none. If one fails later, the others are cancelled
        and its error is raised; Ctrl-C cancels all at the next token.
        """
        parsed, single = parse_prompts(prompts, self._tokenizer_for(prompts))
        results = self._generate(parsed, params, progress, options)
        return results[0] if single else results

    def stream(self, prompt: PromptInput, params: SamplingParams | None = None, **options: Any) -> Stream:
        """Text as it becomes certain: an iterator of `Piece`. Leaving the loop cancels the request.

        Arguments as in `generate`, for one prompt. `Stream.result` is the finished result.
        """
        return self._stream(self._parse_one(prompt), params, options)

    @overload
    def chat(
        self,
        messages: Sequence[Message],
        params: SamplingParams | None = None,
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        documents: Sequence[Mapping[str, Any]] | None = None,
        template_args: Mapping[str, Any] | None = None,
        stream: Literal[False] = False,
        **options: Any,
    ) -> RequestOutput: ...
    @overload
    def chat(
        self,
        messages: Sequence[Message],
        params: SamplingParams | None = None,
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        documents: Sequence[Mapping[str, Any]] | None = None,
        template_args: Mapping[str, Any] | None = None,
        stream: Literal[True],
        **options: Any,
    ) -> Stream: ...
    def chat(
        self,
        messages: Sequence[Message],
        params: SamplingParams | None = None,
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        documents: Sequence[Mapping[str, Any]] | None = None,
        template_args: Mapping[str, Any] | None = None,
        stream: bool = False,
        **options: Any,
    ) -> RequestOutput | Stream:
        """The next message of a conversation, through the model's own template.

        messages: [{"role": "user", "content": "…"}, …]; content may be a list of text parts, and null beside
        tool_calls. tools: what the model may call, in OpenAI's form. documents: what it may quote. template_args: more
        names for the template, such as {"enable_thinking": False}. stream: give a `Stream` instead of the whole answer.
        Raises UnsupportedError when the bundle has no chat template that can be used.
        """
        prompt = self._chat_prompt(messages, tools=tools, documents=documents, template_args=template_args)
        if stream:
            return self._stream(prompt, params, options)
        progress = options.pop("progress", False)
        return self._generate([prompt], params, progress, options)[0]

    def encode_chat(self, messages: Sequence[Message], **arguments: Unpack[ChatArguments]) -> list[int]:
        """The prompt's ids that `chat` would use; `arguments` are those of `render_chat`."""
        text = self.render_chat(messages, **arguments)
        return self._need_tokenizer("chat()").encode(text, add_special_tokens=False)

    def render_chat(self, messages: Sequence[Message], **arguments: Unpack[ChatArguments]) -> str:
        """The prompt's text that `chat` would use.

        arguments: tools, documents and template_args as in `chat`; add_generation_prompt=False leaves out what begins
        the next message; continue_final_message=True ends in the middle of the last message, to have it gone on with.
        """
        return render_chat(self.chat_templates, messages, **arguments)

    @property
    def chat_templates(self) -> ChatTemplates:
        """The bundle's chat templates, with the texts of special tokens that they ask for."""
        if self._chat_templates is None:
            self._chat_templates = load_chat_templates(self._bundle, self._need_tokenizer("chat()").token)
        return self._chat_templates

    # Prompts made ahead, for `AsyncGenerator.stream`.

    def prompt(self, prompt: PromptInput, *, add_special_tokens: bool | None = None) -> Prompt:
        """One prompt, tokenised; its ids are the attribute `ids`. For a text, add_special_tokens as in `encode`.

        Raises InvalidArgumentError for an empty prompt and for what is no prompt.
        """
        if isinstance(prompt, str) and prompt and add_special_tokens is not None:
            ids = parse_ids(self.encode(prompt, add_special_tokens=add_special_tokens), "the prompt")
            return Prompt(prompt, ids)
        return self._parse_one(prompt)

    def chat_prompt(self, messages: Sequence[Message], **arguments: Unpack[ChatArguments]) -> Prompt:
        """The prompt that `chat` would use, tokenised; `arguments` are those of `render_chat`."""
        return self._chat_prompt(messages, **arguments)

    # Scoring.

    @overload
    def score(  # type: ignore[overload-overlap]  # a str is a sequence of str too; the first one wins
        self, prompts: PromptInput, continuations: PromptInput, *, progress: Progress = False
    ) -> Score: ...
    @overload
    def score(
        self, prompts: Sequence[PromptInput], continuations: Sequence[PromptInput], *, progress: Progress = False
    ) -> list[Score]: ...
    def score(
        self,
        prompts: PromptInput | Sequence[PromptInput],
        continuations: PromptInput | Sequence[PromptInput],
        *,
        progress: Progress = False,
    ) -> Score | list[Score]:
        """How likely each continuation is after its prompt, and whether greedy decoding gives exactly it.

        Two texts are encoded together and cut where the prompt's own ids end, as lm-eval does. Give the
        continuations of one prompt one after the other: the prompt is then computed once.
        """
        single = isinstance(prompts, str) or parse_prompts(prompts, self._tokenizer_for(prompts))[1]
        pairs = [(prompts, continuations)] if single else self._pairs(prompts, continuations)
        parsed: list[Prompt] = []
        starts: list[int] = []
        for context, continuation in pairs:
            ids, start = self._join(context, continuation)
            parsed.append(Prompt(None, ids, start))
            starts.append(start)
        params = SamplingParams(max_tokens=1, temperature=0, prompt_logprobs=0)
        batch = Batch(self._core, self._grammars, parsed, [params] * len(parsed), Terms())
        with _reporter(progress, len(parsed)) as report:
            results = batch.run(report)
        scores = [_to_score(result, start) for result, start in zip(results, starts, strict=True)]
        return scores[0] if single else scores

    # The end.

    def close(self, *, finish: bool = False) -> None:
        """Cancels (or, with `finish`, waits for) what is queued and running, then frees the model. Idempotent.

        Afterwards `generate` and the like raise ClosedError; model, options, stats(), the tokenizer, decode() and the
        results of requests stay.
        """
        self._core.close(finish)
        self._opened.closed()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        options = self.options
        return f"<skywork_rt.Generator {self.model.name!r} on {options['backend']}/{options['device']}>"

    # Helpers.

    def _tokenizer_for(self, prompts: object) -> Tokenizer | None:
        """The tokenizer, loaded only if some prompt is text."""
        texts = [prompts] if isinstance(prompts, str) else prompts
        if isinstance(texts, list | tuple) and any(isinstance(text, str) for text in texts):
            return self.tokenizer
        return None

    def _need_tokenizer(self, what: str) -> Tokenizer:
        if self.tokenizer is None:
            raise UnsupportedError(f"{what} needs a tokenizer, but this bundle has none; work with token ids")
        return self.tokenizer

    def _chat_prompt(self, messages: Sequence[Message], **arguments: Unpack[ChatArguments]) -> Prompt:
        ids = parse_ids(self.encode_chat(messages, **arguments), "the prompt of the chat template")
        if len(ids) == 0:
            raise InvalidArgumentError("the chat template makes an empty prompt of these messages")
        return Prompt(None, ids, begins_text=not arguments.get("continue_final_message", False))

    def _parse_one(self, prompt: PromptInput) -> Prompt:
        check_single(prompt)
        (parsed,), _ = parse_prompts(prompt, self._tokenizer_for(prompt))
        return parsed

    def _generate(
        self,
        prompts: Sequence[Prompt],
        params: SamplingParams | Sequence[SamplingParams] | None,
        progress: Progress,
        options: dict[str, Any],
    ) -> list[RequestOutput]:
        terms = Terms.take(options)
        each = self._params_for(len(prompts), params, options)
        batch = Batch(self._core, self._grammars, prompts, each, terms)
        with _reporter(progress, len(prompts)) as report:
            return batch.run(report)

    def _stream(self, prompt: Prompt, params: SamplingParams | None, options: dict[str, Any]) -> Stream:
        chosen, terms = self._prepare_one(params, options)
        return Stream(submit(self._core, self._grammars, prompt, chosen, terms), prompt, chosen)

    def _prepare_one(self, params: SamplingParams | None, options: dict[str, Any]) -> tuple[SamplingParams, Terms]:
        """What is submitted with one prompt."""
        terms = Terms.take(options)
        (chosen,) = self._params_for(1, params, options)
        return chosen, terms

    def _params_for(
        self,
        count: int,
        params: SamplingParams | Sequence[SamplingParams] | None,
        options: dict[str, Any],
    ) -> list[SamplingParams]:
        if params is None or isinstance(params, SamplingParams):
            chosen = [self.default_params if params is None else params] * count
        elif isinstance(params, list | tuple) and all(isinstance(p, SamplingParams) for p in params):
            if len(params) != count:
                raise InvalidArgumentError(f"{len(params)} params were given for {count} prompts")
            chosen = list(params)
        else:
            raise InvalidArgumentError(f"params is a {type(params).__name__}; give SamplingParams or a list of them")
        if not options:
            return chosen
        known = [field.name for field in dataclasses.fields(SamplingParams)]
        refuse_unknown("generate()", options, [*known, *Terms.names()])
        replaced = {id(p): p.replace(**options) for p in chosen}
        return [replaced[id(p)] for p in chosen]

    @staticmethod
    def _pairs(prompts: Any, continuations: Any) -> list[tuple[Any, Any]]:
        if not isinstance(continuations, list | tuple) or len(continuations) != len(prompts):
            count = len(continuations) if isinstance(continuations, list | tuple) else 1
            raise InvalidArgumentError(f"{len(prompts)} prompts need as many continuations, but there are {count}")
        return list(zip(prompts, continuations, strict=True))

    def _join(self, context: Any, continuation: Any) -> tuple[NDArray[np.int64], int]:
        """Ids of both together, and how many of them are the context's."""
        if isinstance(context, str) and isinstance(continuation, str):
            tokenizer = self._need_tokenizer("score() of text")
            start = len(tokenizer.encode(context))
            ids = np.asarray(tokenizer.encode(context + continuation), dtype=np.int64)
        else:
            (left,), _ = parse_prompts(context, self._tokenizer_for(context))
            (right,), _ = parse_prompts(continuation, self._tokenizer_for(continuation))
            start, ids = len(left.ids), np.concatenate([left.ids, right.ids])
        if not 0 < start < len(ids):
            raise InvalidArgumentError(
                f"a prompt of {start} tokens with a continuation of {len(ids) - start}: both need at least 1"
            )
        return ids, start


def _to_score(result: RequestOutput, start: int) -> Score:
    rows = result.prompt_logprobs
    assert rows is not None, "score() asks for prompt_logprobs"
    ids = result.prompt_token_ids[start:]
    chosen = []
    for token_id, row in zip(ids, rows[start:], strict=True):
        assert row is not None, "the first token belongs to the prompt"
        chosen.append(row[token_id])
    logprobs = [entry.logprob for entry in chosen]
    return Score(float(np.sum(logprobs, dtype=np.float64)), all(e.rank == 1 for e in chosen), ids, logprobs)


def _reporter(progress: Progress, total: int) -> AbstractContextManager[Callable[[int, int], None] | None]:
    if callable(progress):
        return nullcontext(progress)
    if not progress:
        return nullcontext(None)
    from skywork_rt.support.progress import request_bar

    return request_bar(total)
