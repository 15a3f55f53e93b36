"""The requests to /tokenize and /detokenize, in vLLM's shapes."""

from __future__ import annotations

from typing import Annotated

from pydantic import FailFast, Field

from skywork_rt.server.schemas.base import Schema
from skywork_rt.server.schemas.chat import Conversation

__all__ = ["DetokenizeRequest", "TokenizeChatRequest", "TokenizeFields", "TokenizeTextRequest"]


class TokenizeFields(Schema):
    """What both kinds of requests have."""

    return_token_strs: bool | None = Field(None, description="Tell how the vocabulary writes each token, too.")


class TokenizeTextRequest(TokenizeFields):
    """A text."""

    prompt: str = Field(description="The text.")
    add_special_tokens: bool | None = Field(None, description="Whether bos and the like are added. Default: true.")


class TokenizeChatRequest(Conversation, TokenizeFields):
    """A conversation, through the model's chat template."""

    add_special_tokens: bool | None = Field(None, description="Accepted; the template alone writes special tokens.")


class DetokenizeRequest(Schema):
    """Token ids."""

    tokens: Annotated[list[int], FailFast()] = Field(description="The ids.")
