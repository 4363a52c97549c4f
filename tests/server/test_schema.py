"""Requests that schemathesis generates from the OpenAPI document; every answer must be as the document says."""

from collections import Counter
from typing import Any

import pytest
import requests
from hypothesis import HealthCheck, given, settings

schemathesis = pytest.importorskip("schemathesis", reason="make test-server installs schemathesis")

from schemathesis.checks import not_a_server_error  # noqa: E402
from schemathesis.specs.openapi.checks import (  # noqa: E402
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

pytestmark = [pytest.mark.server, pytest.mark.timeout(3600)]
CHECKS = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
)
REQUESTS = 60  # for each operation


def test_every_answer_is_in_the_document(server: tuple[str, int]) -> None:
    schema = schemathesis.openapi.from_url(f"{server[0]}/openapi.json")
    statuses: Counter[tuple[str, int]] = Counter()
    operations = [operation.ok() for operation in schema.get_all_operations()]
    assert len(operations) >= 18
    for operation in operations:
        _ask(operation, statuses, server[0])
    print(dict(statuses))


def _ask(operation: Any, statuses: Counter[tuple[str, int]], url: str) -> None:
    @settings(max_examples=REQUESTS, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy())
    def ask(case: Any) -> None:
        answer = case.call(timeout=60)
        statuses[operation.label, answer.status_code] += 1
        case.validate_response(answer, checks=CHECKS)
        if answer.status_code == 202 and operation.path == "/v1/organise":
            job = answer.json()["job"]  # must be deleted, or the server has no room for further jobs
            assert requests.delete(f"{url}/v1/organise/{job}", timeout=60).status_code == 204

    ask()
