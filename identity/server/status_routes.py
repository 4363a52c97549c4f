"""The routes for monitoring: whether the server lives, whether it is ready, and its metrics."""

from contextlib import suppress

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from identity.server.answers import Responses, problem_responses
from identity.server.observed import Metrics
from identity.server.problems import Problem, busy, unavailable
from identity.server.service import Service, service_of
from identity.server.settings import Settings


def status_routes(settings: Settings) -> APIRouter:
    """Return the routes for monitoring.

    Args:
        settings: settings of the server.
    """
    problems = problem_responses(settings)
    text: Responses = {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}
    router = APIRouter(tags=["watching"], default_response_class=PlainTextResponse)
    router.get("/healthz", responses=problems)(healthz)
    router.get("/readyz", responses=problems)(readyz)
    router.get("/metrics", responses=problems | text)(metrics)
    return router


async def healthz() -> str:
    """Answer `ok` as long as the server's process is running."""
    return "ok"


async def readyz(request: Request) -> str:
    """Answer `ready` if photos can be processed: the run is readable, the processes run, and a slot is free."""
    service = service_of(request)
    await service.bundle()
    if not service.pool.alive or not service.scratch.root.is_dir():
        raise unavailable("the server can no longer read photos; restart it")
    if request.app.state.slots.full:
        raise busy("the server is already answering as many requests as it may; try again")
    return "ready"


async def metrics(request: Request) -> Response:
    """Return the metrics for Prometheus."""
    values: Metrics = request.app.state.metrics
    service: Service | None = request.app.state.service
    if service is not None:
        values.jobs.set(len(service.jobs))
        with suppress(Problem):  # the run may be unreadable
            values.people.set(len((await service.bundle()).labels))
    return Response(generate_latest(values.registry), media_type=CONTENT_TYPE_LATEST)
