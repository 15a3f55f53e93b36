"""EleutherAI's lm-evaluation-harness on this runtime: importing this module registers the model `skywork_rt` there.

    python -m skywork_rt.lm_eval --model skywork_rt --model_args bundle=smollm2,backend=native --tasks hellaswag

is lm-eval's own command with that model known to it; in Python, `import skywork_rt.lm_eval` before `simple_evaluate`.
Needs the extra `eval`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, TypeVar

from skywork_rt.api.generator import Generator
from skywork_rt.api.params import SamplingParams
from skywork_rt.bundle.info import BundleInfo
from skywork_rt.errors import InvalidArgumentError, UnsupportedError
from skywork_rt.text.chat_template import Message

try:
    from lm_eval import utils as harness
    from lm_eval.api.model import TemplateLM
    from lm_eval.api.registry import register_model
    from lm_eval.models.utils import normalize_gen_kwargs
    from tqdm import tqdm
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"skywork_rt.lm_eval needs the package {error.name}: pip install 'skywork-rt[eval]'", name=error.name
    ) from error

__all__ = ["SkyworkLM"]

_CHUNK = 512  # requests that are in flight at once, and lost if the process dies before they are cached

T = TypeVar("T")
Ids = list[int]
TokenRequest = tuple[Any, Ids, Ids]
"""What identifies it, the context's ids, the continuation's."""


@register_model("skywork_rt")
class SkyworkLM(TemplateLM):  # type: ignore[misc]  # the harness has no types
    """One open Generator as lm-eval's model.

    bundle: directory written by `skywork-rt export`.
    max_gen_toks: tokens that a generation may have when its task says nothing.
    add_bos_token: begin every text with bos; None: as the model is configured. A text that begins with it already, as
        a chat template's may, gets no second one.
    prefix_token_id: what an empty context and a rolling log-likelihood begin with. None: bos, or eos without one.
    options: those of Generator, such as backend, weights, max_length, max_batch, threads.

    lm-eval's batch_size and max_batch_size have no meaning here: the engine forms its own batches, of at most max_batch
    sequences. Of its --device, "cpu" and "ascend" have one; torch's names, which it gives by itself, have none.
    Contexts too long for the model are cut on the left, as with lm-eval's other models.
    """

    def __init__(
        self,
        bundle: str | None = None,
        *,
        max_gen_toks: int = 256,
        add_bos_token: bool | None = None,
        prefix_token_id: int | None = None,
        batch_size: int | str | None = None,
        max_batch_size: int | None = None,
        device: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        if not bundle:
            raise InvalidArgumentError("the model needs a bundle: --model_args bundle=DIRECTORY")
        if device in ("cpu", "ascend"):
            options["device"] = device
        self._generator = Generator(str(bundle), **options)
        self._bundle = BundleInfo.open(str(bundle))
        tokenizer = self._generator.tokenizer
        if tokenizer is None:
            raise UnsupportedError(f"{bundle} has no tokenizer, and lm-eval works on text")
        self._text = tokenizer
        self._max_gen_toks = max_gen_toks
        self._add_bos = add_bos_token
        self._prefix_token_id = prefix_token_id
        bos = self._generator.model.bos_id
        self._bos = tokenizer.token(bos) if 0 <= bos < tokenizer.vocab_size else ""

    # What the harness asks of a model.

    @property
    def eot_token_id(self) -> int:
        """The id that ends a text."""
        eos_ids = self._generator.model.eos_ids
        if not eos_ids:
            raise UnsupportedError("this bundle names no eos id: give prefix_token_id")
        return eos_ids[0]

    @property
    def prefix_token_id(self) -> int:
        """The id that stands for an empty context."""
        if self._prefix_token_id is not None:
            return self._prefix_token_id
        return self._generator.model.bos_id if self._bos else self.eot_token_id

    @property
    def max_length(self) -> int:
        """Most tokens that the model is fed with. One less of a scored text is fed, but the engine has room for one
        token more behind it."""
        return self._generator.max_length - 2

    @property
    def max_gen_toks(self) -> int:
        return self._max_gen_toks

    @property
    def tokenizer_name(self) -> str:
        """Tells cached requests of different tokenizers apart."""
        return f"skywork_rt__{self._generator.model.name}"

    def get_model_info(self) -> dict[str, Any]:
        """What the harness writes beside the results."""
        return {"model_name": self._generator.model.name, "skywork_rt_options": self._generator.options}

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> Ids:
        wanted = self._add_bos if add_special_tokens is None else add_special_tokens
        if self._bos and string.startswith(self._bos):
            wanted = False
        return self._text.encode(string, add_special_tokens=wanted)

    # Log-likelihoods.

    def _loglikelihood_tokens(
        self, requests: Sequence[TokenRequest], disable_tqdm: bool = False, **_: Any
    ) -> list[tuple[float, bool]]:
        # Contexts that begin alike come one after the other, so that each is computed once.
        order = sorted(range(len(requests)), key=lambda i: requests[i][1])
        answers: list[tuple[float, bool]] = [(0.0, False)] * len(requests)
        with _bar("loglikelihood", len(requests), disable_tqdm) as report:
            for chunk in _chunks(order):
                pairs = [self._fitting(*requests[i][1:]) for i in chunk]
                scores = self._generator.score(
                    [context for context, _ in pairs], [continuation for _, continuation in pairs], progress=report()
                )
                for i, score in zip(chunk, scores, strict=True):
                    answers[i] = (score.logprob, score.is_greedy)
                    if requests[i][0] is not None:
                        self.cache_hook.add_partial("loglikelihood", requests[i][0], answers[i])
        return answers

    def _fitting(self, context: Ids, continuation: Ids) -> tuple[Ids, Ids]:
        """Context and continuation, the first cut on the left to what the model takes."""
        room = self.max_length + 1 - len(continuation)
        if room < 1:
            raise InvalidArgumentError(
                f"a continuation of {len(continuation)} tokens does not fit: max_length leaves {self.max_length}"
            )
        return context[-room:], continuation

    def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[float]:
        windows: list[TokenRequest] = []
        counts = []
        for request in requests:
            pairs = harness.get_rolling_token_windows(
                token_list=self.tok_encode(request.args[0]),
                prefix_token=self.prefix_token_id,
                max_seq_len=self.max_length,
                context_len=1,
            )
            of_text = [(None, *harness.make_disjoint_window(pair)) for pair in pairs]
            windows += of_text
            counts.append(len(of_text))
        scores = iter(self._loglikelihood_tokens(windows, disable_tqdm))
        sums = [sum(logprob for logprob, _ in islice(scores, count)) for count in counts]
        for request, value in zip(requests, sums, strict=True):
            self.cache_hook.add_partial("loglikelihood_rolling", request.args, value)
        return sums

    # Generating.

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        prepared = [self._prepare(*request.args) for request in requests]
        order = sorted(range(len(requests)), key=lambda i: prepared[i][0])
        texts = [""] * len(requests)
        with _bar("generate_until", len(requests), disable_tqdm) as report:
            for chunk in _chunks(order):
                results = self._generator.generate(
                    [prepared[i][0] for i in chunk], [prepared[i][1] for i in chunk], progress=report()
                )
                for i, result in zip(chunk, results, strict=True):
                    texts[i] = result.text
                    self.cache_hook.add_partial("generate_until", requests[i].args, texts[i])
        return texts

    def _prepare(self, context: str, arguments: Mapping[str, Any]) -> tuple[Ids, SamplingParams]:
        """A task's generation arguments, which are in transformers' names, as ours."""
        options = dict(normalize_gen_kwargs(dict(arguments), self._max_gen_toks))
        until = options.pop("until", None) or []
        if not options.pop("do_sample"):
            options["temperature"] = 0.0
        stop, stop_ids = self._stops([until] if isinstance(until, str) else until)
        max_tokens = options.pop("max_gen_toks")
        room = self._generator.max_length - max_tokens
        if room < 1:
            raise InvalidArgumentError(
                f"max_gen_toks is {max_tokens}, but context and output may have {self._generator.max_length} tokens"
            )
        known = SamplingParams(max_tokens=max_tokens, stop=stop, stop_token_ids=stop_ids)
        ids = self.tok_encode(context) or [self.prefix_token_id]
        return ids[-room:], known.replace(**options)

    def _stops(self, until: Sequence[str]) -> tuple[list[str], Ids]:
        """Texts and ids that end a generation. A special token's text is never in our output, so its id does it."""
        texts, ids = [], []
        for text in until:
            spelled = self._text.encode(text, add_special_tokens=False) if text else []
            if len(spelled) == 1 and not self._text.decode(spelled):
                ids += spelled
            elif text:
                texts.append(text)
        return texts, ids

    # Chat.

    def apply_chat_template(self, chat_history: Sequence[Message], add_generation_prompt: bool = True) -> str:
        """The prompt that asks for the next message, or without `add_generation_prompt` the one that goes on in the
        middle of the last message."""
        text = self._generator.render_chat(chat_history, add_generation_prompt=add_generation_prompt)
        if add_generation_prompt:
            return text
        last = str(chat_history[-1]["content"]).strip()
        if last not in text:
            raise UnsupportedError("the chat template changes the last message, so it cannot be continued")
        return text[: text.rindex(last) + len(last)]

    def chat_template(self, chat_template: bool | str = False) -> str | None:
        """The template that `apply_chat_template` uses; None when the harness wants none."""
        if isinstance(chat_template, str):
            raise UnsupportedError(f"there is no choice of templates ({chat_template!r}): a bundle has one")
        return self._generator.chat_templates.named.get("default") if chat_template else None


def _chunks(items: Sequence[T]) -> Iterator[Sequence[T]]:
    return (items[start : start + _CHUNK] for start in range(0, len(items), _CHUNK))


class _bar:
    """A tqdm bar over several calls that each report how many of their requests are done."""

    def __init__(self, what: str, total: int, disable: bool) -> None:
        self._bar = tqdm(total=total, disable=disable, desc=f"Running {what} requests")

    def __enter__(self) -> Callable[[], Callable[[int, int], None]]:
        return self._report

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def _report(self) -> Callable[[int, int], None]:
        before = self._bar.n

        def report(done: int, _: int) -> None:
            self._bar.update(before + done - self._bar.n)

        return report
