"""All routes in one place."""

from __future__ import annotations

from skywork_rt.server.endpoint import REFUSALS, Endpoint
from skywork_rt.server.routes.chat_completions import chat_completions
from skywork_rt.server.routes.completions import completions
from skywork_rt.server.routes.detokenize import detokenize
from skywork_rt.server.routes.health import health
from skywork_rt.server.routes.metrics import metrics
from skywork_rt.server.routes.models import model, models
from skywork_rt.server.routes.openapi import openapi
from skywork_rt.server.routes.page import page_endpoints
from skywork_rt.server.routes.responses import responses, stored_response
from skywork_rt.server.routes.sampling_params import sampling_params
from skywork_rt.server.routes.tokenize import tokenize
from skywork_rt.server.routes.tokenizer_info import tokenizer_info
from skywork_rt.server.routes.version import version
from skywork_rt.server.schemas.chat import ChatRequest
from skywork_rt.server.schemas.completions import CompletionRequest
from skywork_rt.server.schemas.responses import ResponseRequest
from skywork_rt.server.schemas.tokenize import DetokenizeRequest, TokenizeChatRequest, TokenizeTextRequest

__all__ = ["ENDPOINTS", "PAGE_ENDPOINTS"]

_JSON, _EVENTS, _TEXT = "application/json", "text/event-stream", "text/plain"

ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint("/v1/models", "GET", models),
    Endpoint("/v1/models/{id:path}", "GET", model, refusals=(404,)),
    Endpoint("/v1/completions", "POST", completions, (CompletionRequest,), (_JSON, _EVENTS), REFUSALS, works=True),
    Endpoint("/v1/chat/completions", "POST", chat_completions, (ChatRequest,), (_JSON, _EVENTS), REFUSALS, works=True),
    Endpoint("/v1/responses", "POST", responses, (ResponseRequest,), (_JSON, _EVENTS), REFUSALS, works=True),
    Endpoint("/v1/responses/{id}", "GET", stored_response, refusals=(404,), never=True),
    Endpoint("/tokenize", "POST", tokenize, (TokenizeTextRequest, TokenizeChatRequest), refusals=REFUSALS, works=True),
    Endpoint("/detokenize", "POST", detokenize, (DetokenizeRequest,), refusals=REFUSALS, works=True),
    Endpoint("/tokenizer_info", "GET", tokenizer_info, refusals=REFUSALS, works=True),
    Endpoint("/sampling_params", "GET", sampling_params),
    Endpoint("/health", "GET", health, refusals=(503,), open=True),
    Endpoint("/metrics", "GET", metrics, answers=(_TEXT, "application/openmetrics-text")),
    Endpoint("/openapi.json", "GET", openapi),
    Endpoint("/version", "GET", version),
)

PAGE_ENDPOINTS: tuple[Endpoint, ...] = page_endpoints()
"""The page and its files. They are for browsers, and no part of the description."""
