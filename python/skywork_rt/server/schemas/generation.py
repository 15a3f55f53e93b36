"""What the requests for text have in common, beside sampling."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from skywork_rt.server.errors import ApiError
from skywork_rt.server.schemas.structured import Structured

__all__ = ["Generation", "StreamOptions", "check_generation", "terms_of"]


class StreamOptions(BaseModel):
    """What a stream tells beside its text."""

    model_config = ConfigDict(strict=True, extra="forbid")

    include_usage: bool = Field(False, description="End with an event that has no choices and the usage.")
    continuous_usage_stats: bool = Field(False, description="Say the usage so far in every event (vLLM's).")
    include_obfuscation: bool | None = Field(None, description="Accepted, and without effect.")


class Generation(Structured):
    """Fields of every request for text."""

    stream: bool | None = Field(None, description="Answer by server-sent events, as the text comes.")
    stream_options: StreamOptions | None = Field(None, description="Only with stream.")
    use_beam_search: bool | None = Field(None, description="Beam search as wide as n or best_of (vLLM's).")
    add_special_tokens: bool | None = Field(
        None, description="Whether bos is put before the text of a prompt. Not given: as the model is configured."
    )
    priority: int | None = Field(
        None, description="Lower runs first (vLLM's). Needs a server that is started with --allow-priority."
    )
    cache_salt: str | None = Field(None, description="Only requests with the same one share cached tokens.")


def check_generation(request: Generation, *, allow_priority: bool) -> None:
    """Refuses what contradicts itself or is not allowed here. Raises ApiError."""
    if request.stream_options is not None and not request.stream:
        raise ApiError(400, "stream_options is for streams; set stream to true", param="stream_options")
    if request.priority and not allow_priority:
        raise ApiError(
            400,
            "priority is not allowed here; leave it out, or start the server with --allow-priority",
            param="priority",
        )


def terms_of(request: Generation, deadline: float) -> dict[str, Any]:
    """What the engine takes beside sampling. vLLM's priority is turned around: ours is higher first."""
    terms: dict[str, Any] = {}
    if deadline > 0:
        terms["deadline"] = deadline
    if request.priority:
        terms["priority"] = -request.priority
    if request.cache_salt:
        terms["cache_salt"] = request.cache_salt
    return terms
