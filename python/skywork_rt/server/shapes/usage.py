"""How many tokens a request took."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from skywork_rt.api.results import RequestOutput

__all__ = ["usage", "usage_of"]


def usage(prompt: int, completion: int, cached: int | None = None) -> dict[str, Any]:
    """OpenAI's `usage`; `cached` is known at the end only."""
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        **({"prompt_tokens_details": {"cached_tokens": cached}} if cached is not None else {}),
    }


def usage_of(results: Sequence[RequestOutput], *, dropped: int = 0) -> dict[str, Any]:
    """Of finished prompts; `dropped` tokens were made and are not shown."""
    return usage(
        sum(len(result.prompt_token_ids) for result in results),
        sum(result.timings.tokens for result in results) - dropped,
        sum(result.num_cached_tokens for result in results),
    )
