"""The routes: photos in, names out; see `identity.serve`."""

import asyncio
import pathlib
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from typing import Annotated, Any, Literal, TypeVar

from fastapi import APIRouter, FastAPI, File, Form, Path, Query, Request, UploadFile
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from augmentor.errors import InputError, PhotoError
from augmentor.faces.face_search import Policy
from augmentor.photos.names import checked_new_name, found_name
from identity.chips.photo_faces import PhotoFaces
from identity.decisions.open_set import SEARCHED_FPIRS
from identity.runs.bundle import Bundle
from identity.runs.comparison import FACES, calibrated, compared
from identity.runs.recogniser import Recognition
from identity.runs.renaming import photo_counts
from identity.server import answers
from identity.server.access import Access
from identity.server.album_jobs import AlbumJobs
from identity.server.following import Following
from identity.server.forms import upload_route
from identity.server.limits import Limits, Slots
from identity.server.live_run import LiveRun
from identity.server.naming import Naming, readable
from identity.server.observed import Metrics, Observed, log_task_error
from identity.server.people_changes import PeopleChanges
from identity.server.photo_pool import PhotoLimits, PhotoPool, memory_for
from identity.server.problems import MEDIA_TYPE, Problem, answer_with_problems, busy, unavailable
from identity.server.scratch import PREFIX as SCRATCH_PREFIX
from identity.server.scratch import Scratch
from identity.server.settings import Settings
from identity.server.source import Source, file_source
from identity.server.uploads import sources_of
from identity.server.zip_response import ZipResponse

PAGE = pathlib.Path(__file__).parent / "page"
_OF_UPLOADS = (400, 408, 413, 422, 507)  # problems that requests with photos can have
_AHEAD = 4  # photos of one request that are under way at once
USUAL_FMR = 0.001
_Answer = TypeVar("_Answer")
_TITLE = "Likeness"
_ABOUT = """Names the faces on photos, or says `unknown`; compares two photos; sorts folders into albums.

Photos are looked at in memory and not kept; those of album jobs lie in a private temporary folder until the job is
deleted or too old. Errors are RFC 9457 problem details."""


class Service:
    """What the routes share: made when the server starts, closed when it ends."""

    def __init__(self, settings: Settings, metrics: Metrics, run: LiveRun) -> None:
        bundle = readable(run)
        bundle.decision.threshold(settings.fpir)
        self.settings, self.metrics, self.run = settings, metrics, run
        memory = settings.photo_memory or memory_for(settings.max_pixels)
        large_at_once = max(1, settings.workers // 4)
        limits = PhotoLimits(settings.photo_seconds, settings.max_pixels, memory, large_at_once)
        self.pool = PhotoPool(bundle.size, bundle.align, settings.workers, limits)
        self.naming = Naming(run, metrics)
        self.scratch = Scratch()
        self.jobs = AlbumJobs(
            self.naming,
            self.pool,
            self.scratch.root,
            settings.job_minutes,
            settings.max_jobs,
            settings.max_job,
            settings.max_stored,
            settings.fpir,
        )
        self.following = Following(run, self.jobs)
        self.people = PeopleChanges(run, self.naming, self.pool, self.following)
        # calls on jobs wait for each other, and must not keep photos from being read
        self._job_threads = ThreadPoolExecutor(16, "jobs")
        self._sweeping: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Load networks and processes, so that the first photo does not wait for them."""
        await self.naming.start()
        await self.pool.start()
        await self.following.start()
        self._sweeping = asyncio.create_task(self._sweep())

    async def stop(self) -> None:
        """Give everything back."""
        if self._sweeping is not None:
            self._sweeping.cancel()
        await asyncio.to_thread(self.jobs.close)
        await self.following.stop()
        await self.naming.stop()
        await asyncio.to_thread(self.pool.close)
        self.people.close()
        self._job_threads.shutdown(wait=False, cancel_futures=True)
        await asyncio.to_thread(self.scratch.close)

    async def _sweep(self) -> None:
        """Drop jobs whose time is over, whether anybody asks for them or not."""
        while True:
            await asyncio.sleep(self.settings.sweep_seconds)
            await self.on_jobs(self.jobs.drop_old)

    async def bundle(self) -> Bundle:
        """The run as it is on disk.

        Raises:
            Problem: it cannot be read.
        """
        if self.run.changed:
            return await asyncio.to_thread(readable, self.run)
        return readable(self.run)

    async def on_jobs(self, function: Callable[..., _Answer], *arguments: Any) -> _Answer:
        """Call something that may wait for a job, in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._job_threads, function, *arguments)

    async def sources(self, files: Sequence[UploadFile]) -> list[Source]:
        """The photos of a request."""
        limits = self.settings
        named = [(file.filename or "photo", file.file) for file in files]
        arguments = (named, limits.max_files, limits.max_unzipped, limits.max_file)
        return await asyncio.to_thread(sources_of, *arguments)

    async def see(self, source: Source, policy: Policy) -> PhotoFaces:
        """What is on a photo."""
        seen = await self.pool.faces(source, policy)
        self.metrics.photos.labels(seen.status).inc()
        return seen


def make_app(settings: Settings) -> FastAPI:
    """The application; what it needs is loaded when it starts.

    Args:
        settings: of the server.
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
    app.include_router(_watching(settings))
    app.include_router(_asking(settings))
    app.include_router(_people(settings))
    app.include_router(_albums(settings))
    private = [str(settings.model.absolute()), str(settings.model.resolve()), SCRATCH_PREFIX]
    answer_with_problems(app, private)
    app.openapi = _document(app)  # type: ignore[method-assign]
    # the last one added is the outermost
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
    """The OpenAPI document, in which errors are problem documents and nothing else."""
    usual = app.openapi

    def made() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = usual()
            schema = {"$ref": "#/components/schemas/ProblemAnswer"}
            for methods in document["paths"].values():
                for told in methods.values():
                    for status, answer in told["responses"].items():
                        if int(status) >= 400:
                            answer["content"] = {MEDIA_TYPE: {"schema": schema}}
            app.openapi_schema = document
        return app.openapi_schema

    return made


def service_of(request: Request) -> Service:
    """What the routes share.

    Raises:
        Problem: the server is not ready.
    """
    service: Service | None = request.app.state.service
    if service is None:
        raise Problem(503, "not-ready", "the networks are being loaded; ask again", {"Retry-After": "5"})
    return service


def _problems(settings: Settings, *statuses: int) -> dict[int | str, dict[str, Any]]:
    """For the document: the problems a route can have, besides those any route has."""
    always = {403, 503} | ({401, 429} if settings.keys else set())
    meant = {
        400: "not a request this can read",
        401: "no key",
        403: "not from this machine, or on behalf of another site",
        404: "not there",
        408: "the body came too slowly",
        409: "not in this state",
        413: "too large",
        416: "no such part of the file",
        422: "unusable values",
        429: "too often",
        503: "busy, or not ready; Retry-After says when to ask again",
        507: "no room on the server's disk",
    }
    return {
        status: {"description": meant[status], "model": answers.ProblemAnswer}
        for status in sorted(always | set(statuses))
    }


def _pages() -> APIRouter:
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


def _watching(settings: Settings) -> APIRouter:
    router = APIRouter(tags=["watching"])

    @router.get("/healthz", response_class=PlainTextResponse, responses=_problems(settings))
    async def healthz() -> str:
        """The process lives."""
        return "ok"

    @router.get("/readyz", response_class=PlainTextResponse, responses=_problems(settings))
    async def readyz(request: Request) -> str:
        """Photos can be sent: the run can be read, photos can be looked at, and not all places are taken."""
        service = service_of(request)
        await service.bundle()
        if not service.pool.alive or not service.scratch.root.is_dir():
            raise unavailable("the server cannot look at photos; restart it")
        if request.app.state.slots.full:
            raise busy("as many requests as may be at once are being answered; ask again")
        return "ready"

    metrics_text: dict[int | str, dict[str, Any]] = {
        200: {"content": {"text/plain": {"schema": {"type": "string"}}}}
    }

    @router.get("/metrics", response_class=PlainTextResponse, responses=_problems(settings) | metrics_text)
    async def metrics(request: Request) -> Response:
        """For Prometheus."""
        found: Metrics = request.app.state.metrics
        service: Service | None = request.app.state.service
        if service is not None:
            found.jobs.set(len(service.jobs))
            with suppress(Problem):  # of a run that is gone
                found.people.set(len((await service.bundle()).labels))
        return Response(generate_latest(found.registry), media_type=CONTENT_TYPE_LATEST)

    return router


More = Annotated[bool, Query(description="further photos of the job follow; it begins with the last ones")]
Fpir = Annotated[float | None, Query(gt=0, lt=1, description="share of strangers who may be given a name")]


def _asking(settings: Settings) -> APIRouter:
    router = APIRouter(tags=["asking"], route_class=upload_route(settings.max_files))
    problems = _problems(settings, *_OF_UPLOADS)

    @router.post("/v1/identify", responses=problems, response_model=answers.IdentifyAnswer)
    async def identify(
        request: Request,
        files: Annotated[
            list[UploadFile], File(description="photos of any format and size, or zips of them")
        ],
        fpir: Fpir = None,
        faces: Annotated[
            Literal["all", "central", "largest"], Query(description="which faces of a photo count")
        ] = "all",
    ) -> Response:
        """Name every face: one result for each photo, in the order they were sent."""
        service = service_of(request)
        rate = settings.fpir if fpir is None else fpir
        (await service.bundle()).decision.threshold(
            rate
        )  # a wrong rate is an error, whatever the photos show

        async def one(source: Source) -> dict[str, Any]:
            seen = await service.see(source, faces)
            return (await service.naming.name(seen, rate)).as_json()

        sources = await service.sources(files)
        return JSONResponse({"results": await _a_few_at_a_time(one, sources)})

    @router.post("/v1/verify", responses=problems, response_model=answers.VerifyAnswer)
    async def verify(
        request: Request,
        a: Annotated[UploadFile, File(description="a photo")],
        b: Annotated[UploadFile, File(description="another photo")],
        fmr: Annotated[
            float | None,
            Query(
                gt=0,
                lt=1,
                description="share of pairs of different people let through; 0.001, or what the run can tell",
            ),
        ] = None,
        face: Annotated[
            Literal["largest", "best-pair", "reject"], Query(description="which face of a photo counts")
        ] = "largest",
    ) -> Response:
        """Whether two photos show the same person."""
        service = service_of(request)
        bundle = await service.bundle()
        if bundle.align != "face":
            raise InputError("this server's run names whole photos, not faces")
        if bundle.same_person is not None and fmr is None:
            fmr = max(USUAL_FMR, bundle.same_person.rates[0])
        fmr = USUAL_FMR if fmr is None else fmr
        same_person = calibrated(bundle, fmr)
        sources = await service.sources([a, b])
        if len(sources) != 2:
            raise Problem(422, "unusable", "a and b are one photo each")
        seen = await asyncio.gather(*(service.see(source, FACES[face]) for source in sources))
        rows = []
        if all(photo.chips for photo in seen):
            both = [chip for photo in seen for chip in photo.chips]
            _, embedded, _ = await service.naming.embed(both)
            rows = [embedded[: len(seen[0].chips)], embedded[len(seen[0].chips) :]]
        told = compared(same_person, seen, rows, fmr)
        return JSONResponse({"photo_a": sources[0].name, "photo_b": sources[1].name} | told)

    @router.post(
        "/upload",
        responses=problems | {200: {"content": {"text/plain": {"schema": {"enum": ["face", "place"]}}}}},
        response_class=PlainTextResponse,
    )
    async def upload(request: Request, image: Annotated[UploadFile, File(description="a photo")]) -> str:
        """Whether there is a face on a photo, as an earlier system answered: `face` or `place`."""
        service = service_of(request)
        sources = await service.sources([image])
        seen = await service.see(sources[0], "all") if len(sources) == 1 else None
        if seen is None or seen.status == "error":
            why = f"{seen.reason}: {seen.detail}" if seen else "not one photo"
            raise Problem(422, "unreadable", why)
        return "face" if seen.faces else "place"

    return router


def _people(settings: Settings) -> APIRouter:
    router = APIRouter(tags=["people"], route_class=upload_route(settings.max_files))

    @router.get("/v1/model", responses=_problems(settings), response_model=answers.ModelAnswer)
    async def model(request: Request) -> Response:
        """The run that answers, and what its thresholds cost."""
        bundle = await service_of(request).bundle()
        return JSONResponse(
            {
                "people": len(bundle.labels),
                "features": bundle.features,
                "fpir": settings.fpir,
                "choices": choices(bundle, settings.fpir),
                "card": bundle.model_card,
            }
        )

    @router.get("/v1/people", responses=_problems(settings), response_model=answers.PeopleAnswer)
    async def people(request: Request) -> Response:
        """Everybody who is enrolled."""
        counts = photo_counts(await service_of(request).bundle())
        return JSONResponse({"people": [{"name": name, "photos": count} for name, count in counts.items()]})

    @router.post(
        "/v1/people",
        status_code=201,
        responses=_problems(settings, *_OF_UPLOADS),
        response_model=answers.EnrolledAnswer,
    )
    async def add(
        request: Request,
        name: Annotated[str, Form(min_length=1, max_length=200)],
        files: Annotated[list[UploadFile], File(description="photos of this one person, or zips of them")],
        face: Annotated[
            Literal["central", "largest", "reject"], Query(description="which face of a photo counts")
        ] = "central",
    ) -> Response:
        """Enrol somebody from a few photos, without training."""
        service = service_of(request)
        checked_new_name(name, (await service.bundle()).labels)  # before any photo is looked at
        sources = await service.sources(files)

        async def one(source: Source) -> PhotoFaces:
            return await service.pool.faces(source, face, hashed=True)

        found = await _a_few_at_a_time(one, sources)
        left_out = [photo for photo in found if photo.chip is None]
        # by their place: two photos may have one name, as those of phones do
        usable = [k for k, photo in enumerate(found) if photo.chip is not None]
        if not usable:
            raise Problem(422, "no-face", "no photo with a usable face")
        photos = [found[k] for k in usable]
        alike = await service.people.enrol(name, photos, [sources[k] for k in usable])
        told = [Recognition(seen.photo, seen.status, seen.reason, seen.detail, ()) for seen in left_out]
        return JSONResponse(
            {
                "name": name,
                "photos": len(photos),
                "left_out": [answer.as_json() for answer in told],
                "looks_like": alike,
            },
            201,
        )

    @router.get("/v1/people/{name}", responses=_problems(settings, 404), response_model=answers.PersonAnswer)
    async def person(request: Request, name: str) -> Response:
        """Somebody who is enrolled."""
        counts = photo_counts(await service_of(request).bundle())
        found = found_name(name, counts)
        if found is None:
            raise Problem(404, "nobody", "nobody of this name is enrolled")
        return JSONResponse({"name": found, "photos": counts[found]})

    @router.delete(
        "/v1/people/{name}",
        responses=_problems(settings, 404, 422, 507),
        response_model=answers.ForgottenAnswer,
    )
    async def remove(request: Request, name: str) -> Response:
        """Forget somebody: everything this software made of the person. Nobody is called so from the answer on."""
        service = service_of(request)
        if not await service.people.is_known(name):
            raise Problem(404, "nobody", "nobody of this name is enrolled")
        told = await service.people.forget(name)
        lists = {"removed": told.removed, "originals": told.originals, "left": told.left}
        return JSONResponse({"name": name} | lists)

    return router


def _albums(settings: Settings) -> APIRouter:
    a_zip = {"content": {"application/zip": {"schema": {"type": "string", "format": "binary"}}}}
    router = APIRouter(tags=["albums"], route_class=upload_route(settings.max_files))

    @router.post(
        "/v1/organise",
        status_code=202,
        responses=_problems(settings, *_OF_UPLOADS),
        response_model=answers.JobAnswer,
    )
    async def begin(
        request: Request,
        files: Annotated[list[UploadFile], File(description="a zip of photos, or photos")],
        more: More = False,
    ) -> Response:
        """Sort photos into albums by person, in the background; the answer names the job."""
        service = service_of(request)
        sources = await service.sources(files)
        job = await service.on_jobs(service.jobs.add, sources, more)
        return JSONResponse(job.as_json(), 202, {"Location": f"/v1/organise/{job.number}"})

    @router.post(
        "/v1/organise/{job}/photos",
        status_code=202,
        responses=_problems(settings, 404, 409, *_OF_UPLOADS),
        response_model=answers.JobAnswer,
    )
    async def further(
        request: Request,
        job: str,
        files: Annotated[list[UploadFile], File(description="further photos of a job begun with `more`")],
        more: More = False,
    ) -> Response:
        """Add photos to a job, for folders too large for one request."""
        service = service_of(request)
        sources = await service.sources(files)
        extended = await service.on_jobs(service.jobs.extend, job, sources, more)
        return JSONResponse(extended.as_json(), 202)

    @router.get("/v1/organise/{job}", responses=_problems(settings, 404), response_model=answers.JobAnswer)
    async def progress(request: Request, job: str) -> Response:
        """How far a job is, and its albums once it is done."""
        service = service_of(request)
        found = service.jobs.find(job)
        return JSONResponse(await service.on_jobs(found.as_json))

    @router.post(
        "/v1/organise/{job}/names",
        responses=_problems(settings, 404, 408, 409, 413, 422, 507),
        response_model=answers.JobAnswer,
    )
    async def name_group(request: Request, job: str, group: answers.GroupName) -> Response:
        """Enrol the person of an unknown album under a name; the albums are sorted again."""
        service = service_of(request)
        checked_new_name(group.name, (await service.bundle()).labels)

        def enrolled(photos: Sequence[PhotoFaces], name: str) -> Bundle:
            sources = [file_source(photo.path, photo.path.name) for photo in photos]
            service.people.enrol_in_thread(name, photos, sources)
            return readable(service.run)

        done = await service.on_jobs(service.jobs.name_group, job, group.album, group.name, enrolled)
        return JSONResponse(await service.on_jobs(done.as_json))

    @router.post(
        "/v1/organise/{job}/moves",
        responses=_problems(settings, 404, 408, 409, 413, 422, 507),
        response_model=answers.JobAnswer,
    )
    async def move(request: Request, job: str, move: answers.Move) -> Response:
        """Put a photo into another album."""
        service = service_of(request)
        done = await service.on_jobs(service.jobs.move, job, move.photo, move.source, move.target)
        return JSONResponse(await service.on_jobs(done.as_json))

    @router.get(
        "/v1/organise/{job}/albums.zip",
        responses=_problems(settings, 404, 409, 416, 507) | {200: a_zip, 206: a_zip},
        response_class=Response,
    )
    async def fetch(request: Request, job: str) -> Response:
        """The albums, with a page to look at them; `Range` gives a part of the file, to go on after a break."""
        service = service_of(request)
        file = await service.on_jobs(service.jobs.zipped, job)
        return ZipResponse(file, media_type="application/zip", filename="albums.zip")

    @router.get(
        "/v1/organise/{job}/thumbnails/{number}",
        responses=_problems(settings, 404, 409, 422)
        | {200: {"content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}}}},
        response_class=Response,
    )
    async def thumbnail(request: Request, job: str, number: Annotated[int, Path(ge=0, le=10**9)]) -> Response:
        """A small picture of a photo; photos are numbered as the job lists them, from 0."""
        service = service_of(request)
        photo = await service.on_jobs(service.jobs.photo_source, job, number)
        try:
            small = await service.pool.thumbnail(photo)
        except PhotoError as error:
            raise Problem(404, "no-such-photo", f"not one that can be read: {error.detail}") from error
        return Response(small, media_type="image/jpeg")

    @router.delete("/v1/organise/{job}", status_code=204, responses=_problems(settings, 404))
    async def give_up(request: Request, job: str) -> Response:
        """Delete a job's photos and albums, whether it is done or not."""
        service = service_of(request)
        service.jobs.find(job)
        await service.on_jobs(service.jobs.give_up, job)
        return Response(status_code=204)

    return router


def choices(bundle: Bundle, fpir: float) -> list[dict[str, float | None]]:
    """What thresholds there are and what they cost: rate, threshold of the score, share of known faces named."""
    told = []
    for rate in sorted({*SEARCHED_FPIRS, fpir}):
        try:
            threshold = bundle.decision.threshold(rate)
        except InputError:  # too few calibration strangers for it
            continue
        told.append({"fpir": rate, "threshold": threshold, "named": bundle.decision.named_at(rate)})
    return told


async def _a_few_at_a_time(
    one: Callable[[Source], Coroutine[Any, Any, Any]], sources: Sequence[Source]
) -> list[Any]:
    """All answers in order; a few photos are under way at a time, so that no request takes all turns."""
    turns = asyncio.Semaphore(_AHEAD)

    async def in_turn(source: Source) -> Any:
        async with turns:
            return await one(source)

    tasks = [asyncio.ensure_future(in_turn(source)) for source in sources]
    try:
        return list(await asyncio.gather(*tasks))
    except BaseException:
        for task in tasks:
            task.cancel()
        raise
