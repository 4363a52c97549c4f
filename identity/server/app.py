"""The application behind `identity.serve`: the page, the routes and the middleware around them."""

import asyncio
import pathlib
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.responses import FileResponse, Response

from identity.server.access import Access
from identity.server.album_routes import album_routes
from identity.server.limits import Limits, Slots
from identity.server.live_run import LiveRun
from identity.server.observed import Metrics, Observed, log_task_error
from identity.server.people_routes import people_routes
from identity.server.photo_routes import photo_routes
from identity.server.problems import MEDIA_TYPE, answer_with_problems
from identity.server.scratch import PREFIX as SCRATCH_PREFIX
from identity.server.service import Service
from identity.server.settings import Settings
from identity.server.status_routes import status_routes

PAGE = pathlib.Path(__file__).parent / "page"
_TITLE = "Likeness"
_ABOUT = """Names the faces in photos or says `unknown`; compares two photos; sorts photos into albums by person.

Photos are processed in memory and not kept. Those of album jobs are stored in a private temporary folder until the job
is deleted or too old. Errors are RFC 9457 problem documents."""


def make_app(settings: Settings) -> FastAPI:
    """Return the application; it loads the run and the networks when it starts.

    Args:
        settings: settings of the server.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        asyncio.get_running_loop().set_exception_handler(log_task_error)
        run = await asyncio.to_thread(LiveRun, settings.model.absolute())
        service = Service(settings, app.state.metrics, run)
        await service.start()
        app.state.service = service
        yield
        app.state.service = None
        await service.stop()

    app = FastAPI(
        title=_TITLE,
        description=_ABOUT,
        version="1",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
        license_info={"name": "Apache-2.0"},
    )
    of_a_key = settings.max_requests_of_a_key or max(1, settings.max_requests // 2)
    slots = Slots(settings.max_requests, of_a_key, settings.max_bodies)
    app.state.metrics, app.state.service, app.state.slots = Metrics(), None, slots
    app.include_router(_pages())
    app.include_router(status_routes(settings))
    app.include_router(photo_routes(settings))
    app.include_router(people_routes(settings))
    app.include_router(album_routes(settings))
    private = [str(settings.model.absolute()), str(settings.model.resolve()), SCRATCH_PREFIX]
    answer_with_problems(app, private)
    app.openapi = _document(app)  # type: ignore[method-assign]
    # The middleware that is added last is the outermost.
    app.add_middleware(
        Limits,
        max_requests=settings.max_requests,
        max_body=settings.max_body,
        seconds=settings.request_seconds,
        idle=settings.idle_seconds,
        slots=slots,
    )
    app.add_middleware(Access, keys=settings.keys, rate=settings.rate, open=settings.open)
    app.add_middleware(Observed, metrics=app.state.metrics)
    return app


def _document(app: FastAPI) -> Callable[[], dict[str, Any]]:
    """Return a function that makes the OpenAPI document, in which all errors are problem documents."""
    usual = app.openapi

    def made() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = usual()
            schema = {"$ref": "#/components/schemas/ProblemAnswer"}
            for methods in document["paths"].values():
                for operation in methods.values():
                    for status, answer in operation["responses"].items():
                        if int(status) >= 400:
                            answer["content"] = {MEDIA_TYPE: {"schema": schema}}
            app.openapi_schema = document
        return app.openapi_schema

    return made


def _pages() -> APIRouter:
    """Return the routes of the web page's files."""
    router = APIRouter(include_in_schema=False)

    def page(file: str, media_type: str) -> Callable[[], Coroutine[Any, Any, Response]]:
        async def answer() -> Response:
            return FileResponse(PAGE / file, media_type=media_type)

        return answer

    router.get("/")(page("index.html", "text/html; charset=utf-8"))
    router.get("/page.css")(page("page.css", "text/css; charset=utf-8"))
    router.get("/page.js")(page("page.js", "text/javascript; charset=utf-8"))
    router.get("/icon.svg")(page("icon.svg", "image/svg+xml"))
    return router
