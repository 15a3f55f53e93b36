"""The OpenAPI description says what the server does: schemathesis asks whatever it allows, and more."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis import checks
from schemathesis.specs.openapi import checks as openapi_checks
from serving import Serving

from skywork_rt.server.description import describe
from skywork_rt.server.routes.table import ENDPOINTS

pytestmark = pytest.mark.slow

schema = schemathesis.openapi.from_dict(describe(ENDPOINTS, with_keys=False))


@schema.parametrize()
@settings(max_examples=3, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None)
def test_every_answer_is_described(case: Any, tiny_server: Serving) -> None:
    """Status, content type and shape are those of the description, for right requests and wrong ones."""
    if isinstance(case.body, dict) and not case.body.get("stream"):
        case.body.setdefault("max_output_tokens" if "input" in case.body else "max_tokens", 2)
    case.call_and_validate(
        base_url=tiny_server.url,
        checks=[
            checks.not_a_server_error,
            openapi_checks.status_code_conformance,
            openapi_checks.content_type_conformance,
            openapi_checks.response_schema_conformance,
        ],
    )


def test_the_description_is_served_and_has_every_route(http: httpx.Client) -> None:
    served = http.get("/openapi.json").json()
    assert served == describe(ENDPOINTS, with_keys=False)
    assert {(path, method) for path, methods in served["paths"].items() for method in methods} == {
        (endpoint.shown, endpoint.method.lower()) for endpoint in ENDPOINTS
    }
    fields = served["components"]["schemas"]["CompletionRequest"]["properties"]
    assert {"prompt", "temperature", "top_k", "stop", "logprobs", "stream_options", "best_of"} <= set(fields)
    assert all(field.get("description") for name, field in fields.items() if name != "model")


def test_keys_are_described_where_they_are_asked_for() -> None:
    keyed = describe(ENDPOINTS, with_keys=True)
    assert keyed["paths"]["/v1/completions"]["post"]["security"]
    assert "security" not in keyed["paths"]["/health"]["get"]
    assert "401" in keyed["paths"]["/v1/models"]["get"]["responses"]
