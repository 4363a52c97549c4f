"""Requests that schemathesis makes up from the OpenAPI document: every answer is one that the document has."""

from typing import Any

import pytest
from hypothesis import HealthCheck, settings

schemathesis = pytest.importorskip("schemathesis", reason="make test-server installs schemathesis")

from schemathesis.checks import not_a_server_error  # noqa: E402
from schemathesis.specs.openapi.checks import (  # noqa: E402
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

pytestmark = [pytest.mark.server, pytest.mark.timeout(3600)]


@pytest.fixture
def api(server: tuple[str, int]) -> Any:
    return schemathesis.openapi.from_url(f"{server[0]}/openapi.json")


schema = schemathesis.pytest.from_fixture("api")
CHECKS = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
)


@schema.parametrize()
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_answer_is_in_the_document(case: Any) -> None:
    case.call_and_validate(checks=CHECKS, timeout=60)
