"""GET /tokenizer_info"""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from skywork_rt.api.generator import Generator
from skywork_rt.errors import UnsupportedError
from skywork_rt.server.answers import Json
from skywork_rt.server.request import opened
from skywork_rt.server.schemas.base import Schema

__all__ = ["tokenizer_info"]


async def tokenizer_info(request: Request) -> Response:
    """What a client needs to do without a tokenizer of its own: special tokens and the chat template."""
    async with opened(request, Schema(model=request.query_params.get("model"))) as call:
        return Json(_info(call.model.generator))


def _info(generator: Generator) -> dict[str, Any]:
    tokenizer = generator.tokenizer
    if tokenizer is None:
        raise UnsupportedError("this bundle has no tokenizer")
    spec, templates = generator.model, generator.chat_templates

    def token(index: int) -> str | None:
        return tokenizer.token(index) if 0 <= index < tokenizer.vocab_size else None

    return {
        "tokenizer_class": tokenizer.kind,
        "vocab_size": tokenizer.vocab_size,
        "model_max_length": generator.max_length,
        **{name: text for name, text in templates.special_tokens.items() if isinstance(text, str)},
        "bos_token": token(spec.bos_id),
        "eos_token": token(next(iter(spec.eos_ids), -1)),
        "pad_token": token(spec.pad_id),
        "chat_template": templates.named.get("default"),
    }
