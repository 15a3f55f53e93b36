"""The request to /v1/completions."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, WithJsonSchema

from skywork_rt.server.schemas.generation import Generation
from skywork_rt.server.schemas.sampling import with_sampling
from skywork_rt.server.schemas.structured import RESPONSE_FORMAT

__all__ = ["CompletionFields", "CompletionRequest"]

_IDS = {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1}
_PROMPT = {
    "anyOf": [
        {"type": "string", "minLength": 1},
        _IDS,
        {"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 1},
        {"type": "array", "items": _IDS, "minItems": 1},
    ]
}


class CompletionFields(Generation):
    """One prompt or several, and how each is gone on with."""

    prompt: Annotated[Any, WithJsonSchema(_PROMPT)] = Field(
        description="A text, token ids, or a list of either. Answers come in their order, n to each."
    )
    response_format: RESPONSE_FORMAT = Field(
        None, description="What the answer must look like: text, json_object or json_schema (vLLM's)."
    )
    best_of: int | None = Field(None, description="Make so many answers, and give the n likeliest. Not with stream.")
    echo: bool | None = Field(
        None,
        description="Begin with the prompt, with its log-probabilities where logprobs is given (a stream then comes as "
        "one piece); max_tokens may then be 0.",
    )


CompletionRequest = with_sampling("CompletionRequest", CompletionFields)
