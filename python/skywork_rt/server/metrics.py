"""Metrics for Prometheus: vLLM's names with our prefix, a label `model_name` each."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from skywork_rt.api.results import RequestOutput

__all__ = ["Metrics"]

_PREFIX = "skywork_rt_"
_SECONDS = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80, 160, 640)
_TOKENS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000, 100000)

Stats = Callable[[], Iterable[tuple[str, dict[str, Any]]]]
"""Names of the models, with what `Generator.stats` says of each that is open."""


class Metrics:
    """Everything that /metrics tells."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._ttft = self._histogram("time_to_first_token_seconds", "From submission to the first token.")
        self._tpot = self._histogram("time_per_output_token_seconds", "Between tokens of an answer, its mean.")
        self._queue = self._histogram("request_queue_time_seconds", "From submission to the first step.")
        self._total = self._histogram("e2e_request_latency_seconds", "From submission to the last token.")
        self._prompt = self._histogram("request_prompt_tokens", "Tokens of a prompt.", _TOKENS)
        self._output = self._histogram("request_generation_tokens", "Tokens of all answers to a prompt.", _TOKENS)
        self._success = self._counter("request_success", "Answers by why they ended.", "finished_reason")
        self._errors = self._counter(
            "request_errors",
            "Requests that failed, by code; without a model those that failed before it was known.",
            "code",
        )
        self._gone = self._counter("request_disconnects", "Requests whose client left before the end.")
        self._http = Counter(
            _PREFIX + "http_requests", "Answers by route and status.", ("path", "status"), registry=self._registry
        )

    def watch(self, stats: Stats) -> None:
        """Adds what the engines count themselves."""
        self._registry.register(_Engines(stats))

    def observe(self, model: str, result: RequestOutput) -> None:
        """Counts a finished prompt."""
        timings = result.timings
        self._queue.labels(model).observe(timings.queued)
        self._ttft.labels(model).observe(timings.ttft)
        self._total.labels(model).observe(timings.total)
        longest = max((len(output.token_ids) for output in result.outputs), default=0)
        if longest > 1:  # samples of one prompt run side by side, so the longest one has taken the time
            self._tpot.labels(model).observe((timings.total - timings.ttft) / (longest - 1))
        self._prompt.labels(model).observe(len(result.prompt_token_ids))
        self._output.labels(model).observe(timings.tokens)
        for output in result.outputs:
            self._success.labels(model, output.finish_reason).inc()

    def failed(self, model: str, code: str) -> None:
        self._errors.labels(model, code).inc()

    def left(self, model: str) -> None:
        self._gone.labels(model).inc()

    def answered(self, path: str, status: int) -> None:
        self._http.labels(path, str(status)).inc()

    def render(self, accept: str) -> tuple[bytes, str]:
        """The page and its content type, in the format that the client asked for."""
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...] = _SECONDS) -> Histogram:
        return Histogram(_PREFIX + name, text, ("model_name",), registry=self._registry, buckets=buckets)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(_PREFIX + name, text, ("model_name", *labels), registry=self._registry)


_GAUGES = (
    ("num_requests_running", "Sequences in the batch.", lambda s: s["running"]),
    ("num_requests_waiting", "Requests in the engine's queue.", lambda s: s["queued"]),
    ("kv_cache_usage_perc", "Part of the cache that holds tokens, kept prefixes too; 1 is full.", lambda s: _usage(s)),
)
_COUNTERS = (
    ("prompt_tokens", "Tokens of prompts.", lambda s: s["prompt_tokens"]),
    ("generation_tokens", "Tokens produced.", lambda s: s["generated_tokens"]),
    (
        "prefix_cache_queries",
        "Tokens of prompts that were looked up in the prefix cache.",
        lambda s: s["prompt_tokens"],
    ),
    ("prefix_cache_hits", "Tokens of prompts that were found there.", lambda s: s["prefix_hit_tokens"]),
    ("num_preemptions", "Requests sent back to the queue for room.", lambda s: s["preempted"]),
    ("engine_requests_cancelled", "Requests that their client or a stop ended.", lambda s: s["cancelled"]),
    ("engine_requests_failed", "Requests that failed in the engine.", lambda s: s["failed"]),
    ("engine_requests_refused", "Requests that the engine refused: full queue, wrong values.", lambda s: s["refused"]),
    ("engine_steps", "Steps of the engine.", lambda s: s["steps"]),
    ("engine_forward_seconds", "Seconds inside the backend.", lambda s: s["forward_seconds"]),
    ("engine_sampling_seconds", "Seconds of sampling and text.", lambda s: s["sampling_seconds"]),
)


_GRAMMARS = (
    ("grammar_compilations", "Grammars compiled, those that failed included.", "compiled"),
    ("grammar_compilations_failed", "Grammars that were wrong, or took too long.", "failed"),
    ("grammar_compile_seconds", "Seconds of compiling, on threads of its own.", "compile_seconds"),
    ("grammar_masks", "Masks filled: one a token of a constrained answer, and one a guess that did not come.", "masks"),
    ("grammar_mask_seconds", "Seconds of filling them, on threads of its own.", "mask_seconds"),
    ("grammar_waits", "Masks that were not there when their row needed them, so that it sat steps out.", "waits"),
    ("grammar_tokens_guessed", "Tokens that a grammar made probable, whose masks were filled ahead.", "guessed"),
    ("grammar_tokens_guessed_right", "Those of them that came, whether they were computed ahead or not.", "right"),
)


def _usage(stats: dict[str, Any]) -> float:
    capacity = float(stats["cache_capacity"])
    return float(stats["cached_tokens"]) / capacity if capacity else 0.0


def _of_grammars(key: str) -> Callable[[dict[str, Any]], float]:
    return lambda stats: float(stats["grammar"][key])


class _Engines(Collector):
    """Reads the engines' own counters when somebody asks for them."""

    def __init__(self, stats: Stats) -> None:
        self._stats = stats

    def collect(self) -> Iterable[Metric]:
        all_stats = list(self._stats())
        loaded = GaugeMetricFamily(_PREFIX + "model_loaded", "1: the model is open.", labels=("model_name",))
        for name, stats in all_stats:
            loaded.add_metric([name], 1.0 if stats else 0.0)
        yield loaded
        for name, text, value in _GAUGES:
            yield self._filled(GaugeMetricFamily(_PREFIX + name, text, labels=("model_name",)), all_stats, value)
        for name, text, value in _COUNTERS:
            yield self._filled(CounterMetricFamily(_PREFIX + name, text, labels=("model_name",)), all_stats, value)
        for name, text, key in _GRAMMARS:
            family = CounterMetricFamily(_PREFIX + name, text, labels=("model_name",))
            yield self._filled(family, all_stats, _of_grammars(key))

    @staticmethod
    def _filled(
        family: Any, all_stats: Iterable[tuple[str, dict[str, Any]]], value: Callable[[dict[str, Any]], float]
    ) -> Metric:
        for name, stats in all_stats:
            if stats:
                family.add_metric([name], value(stats))
        metric: Metric = family
        return metric
