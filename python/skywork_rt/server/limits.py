"""What clients may take: bytes and time of a body, tokens, prompts and answers."""

from __future__ import annotations

import asyncio

from starlette.requests import Request

from skywork_rt.api.generator import Generator
from skywork_rt.api.prompts import Prompt
from skywork_rt.server.errors import ApiError, ClientGone
from skywork_rt.server.settings import ServerSettings

__all__ = ["check_output", "check_prompt", "check_samples", "read_body"]


async def read_body(request: Request, settings: ServerSettings) -> bytes:
    """The whole body. Raises ApiError 413 when it is too long, 408 when it takes too long, and ClientGone."""
    most = settings.max_body_bytes
    stated = request.headers.get("content-length", "")
    if stated.isdecimal() and int(stated[:20]) > most:
        raise _too_long(most)
    body = bytearray()
    try:
        async with asyncio.timeout(settings.body_seconds):
            while True:
                message = await request.receive()
                if message["type"] == "http.disconnect":
                    raise ClientGone
                body += message.get("body", b"")
                if len(body) > most:
                    raise _too_long(most)
                if not message.get("more_body", False):
                    return bytes(body)
    except TimeoutError:
        raise ApiError(
            408, f"The body did not come within {settings.body_seconds:g} s; send it at once.", code="body_timeout"
        ) from None


def _too_long(most: int) -> ApiError:
    return ApiError(413, f"The body is longer than {most} bytes; send less.", code="body_too_long")


def check_prompt(prompt: Prompt, generator: Generator, settings: ServerSettings, field: str) -> None:
    """Refuses a prompt that is too long, or has ids that the model lacks. The engine checks prompt and answer
    together."""
    tokens, size = len(prompt.ids), generator.model.vocab_size
    if tokens and not 0 <= prompt.ids.min() <= prompt.ids.max() < size:
        said = f"{field} has a token id outside [0, {size}), the model's vocabulary"
        raise ApiError(400, said, param=field, code="invalid_value")
    most = min(generator.max_length - 1, settings.max_prompt_tokens or generator.max_length)
    if tokens > most:
        raise ApiError(
            400,
            f"The prompt has {tokens} tokens, but may have {most}; shorten it.",
            param=field,
            code="context_length_exceeded",
        )


def check_output(tokens: int | None, settings: ServerSettings, field: str) -> int | None:
    """The most tokens of an answer. What nobody asked for is cut to the bound, what somebody asked for is refused."""
    most = settings.max_output_tokens
    if most is None or (tokens is not None and tokens <= most):
        return tokens
    if tokens is None:
        return most
    raise ApiError(400, f"{field} is {tokens}, but may be at most {most} here", param=field, code="invalid_value")


def check_samples(count: int, settings: ServerSettings, field: str) -> None:
    if count > settings.max_samples:
        raise ApiError(
            400,
            f"{field} is {count}, but may be at most {settings.max_samples} here",
            param=field,
            code="invalid_value",
        )
