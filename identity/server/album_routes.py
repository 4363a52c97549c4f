"""The routes that sort photos into albums in the background."""

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, File, Path, Query, Request, UploadFile
from fastapi.responses import JSONResponse, Response

from augmentor.errors import PhotoError
from augmentor.photos.names import checked_new_name
from identity.chips.photo_faces import PhotoFaces
from identity.runs.bundle import Bundle
from identity.server import answers
from identity.server.answers import OF_UPLOADS, JobAnswer, Responses, problem_responses
from identity.server.forms import upload_route
from identity.server.naming import readable
from identity.server.problems import Problem
from identity.server.service import service_of
from identity.server.settings import Settings
from identity.server.source import file_source
from identity.server.zip_response import ZipResponse

More = Annotated[
    bool, Query(description="whether more photos of this job follow; it starts with the last ones")
]


def album_routes(settings: Settings) -> APIRouter:
    """Return the routes that sort photos into albums.

    Args:
        settings: settings of the server.
    """
    router = APIRouter(tags=["albums"], route_class=upload_route(settings.max_files))

    def problems(*statuses: int) -> Responses:
        return problem_responses(settings, *statuses)

    def content(media_type: str) -> dict[str, Any]:
        return {"content": {media_type: {"schema": {"type": "string", "format": "binary"}}}}

    job, uploads = "/v1/organise/{job}", OF_UPLOADS
    changes = problems(404, 408, 409, 413, 422, 507)
    a_zip: Responses = {200: content("application/zip"), 206: content("application/zip")}
    a_thumbnail: Responses = {200: content("image/jpeg")}
    router.post("/v1/organise", status_code=202, responses=problems(*uploads), response_model=JobAnswer)(
        begin
    )
    router.post(
        f"{job}/photos", status_code=202, responses=problems(404, 409, *uploads), response_model=JobAnswer
    )(further)
    router.get(job, responses=problems(404), response_model=JobAnswer)(progress)
    router.post(f"{job}/names", responses=changes, response_model=JobAnswer)(name_group)
    router.post(f"{job}/moves", responses=changes, response_model=JobAnswer)(move)
    router.get(f"{job}/albums.zip", responses=problems(404, 409, 416, 507) | a_zip, response_class=Response)(
        fetch
    )
    router.get(
        f"{job}/thumbnails/{{number}}",
        responses=problems(404, 409, 422) | a_thumbnail,
        response_class=Response,
    )(thumbnail)
    router.delete(job, status_code=204, responses=problems(404))(give_up)
    return router


async def begin(
    request: Request,
    files: Annotated[list[UploadFile], File(description="photos, or zips of photos")],
    more: More = False,
) -> Response:
    """Sort photos into albums by person, in the background; the answer names the job."""
    service = service_of(request)
    sources = await service.sources(files)
    job = await service.on_jobs(service.jobs.add, sources, more)
    return JSONResponse(job.as_json(), 202, {"Location": f"/v1/organise/{job.number}"})


async def further(
    request: Request,
    job: str,
    files: Annotated[
        list[UploadFile], File(description="more photos for a job that was started with `more`")
    ],
    more: More = False,
) -> Response:
    """Add photos to a job, for folders too large for one request."""
    service = service_of(request)
    sources = await service.sources(files)
    extended = await service.on_jobs(service.jobs.extend, job, sources, more)
    return JSONResponse(extended.as_json(), 202)


async def progress(request: Request, job: str) -> Response:
    """Return the progress of a job, and its albums once it is done."""
    service = service_of(request)
    return JSONResponse(await service.on_jobs(service.jobs.find(job).as_json))


async def name_group(request: Request, job: str, group: answers.GroupName) -> Response:
    """Enrol the person of an unknown album under a name, and sort the photos again."""
    service = service_of(request)
    checked_new_name(group.name, (await service.bundle()).labels)

    def enrolled(photos: Sequence[PhotoFaces], name: str) -> Bundle:
        sources = [file_source(photo.path, photo.path.name) for photo in photos]
        service.people.enrol_in_thread(name, photos, sources)
        return readable(service.run)

    changed = await service.on_jobs(service.jobs.name_group, job, group.album, group.name, enrolled)
    return JSONResponse(await service.on_jobs(changed.as_json))


async def move(request: Request, job: str, move: answers.Move) -> Response:
    """Move a photo from one album to another."""
    service = service_of(request)
    changed = await service.on_jobs(service.jobs.move, job, move.photo, move.source, move.target)
    return JSONResponse(await service.on_jobs(changed.as_json))


async def fetch(request: Request, job: str) -> Response:
    """Download the albums and their page; `Range` gives a part of the zip, to continue an interrupted download."""
    service = service_of(request)
    file = await service.on_jobs(service.jobs.zipped, job)
    return ZipResponse(file, media_type="application/zip", filename="albums.zip")


async def thumbnail(request: Request, job: str, number: Annotated[int, Path(ge=0, le=10**9)]) -> Response:
    """Return a small picture of a photo; `number` is its index in the job's list of photos, from 0."""
    service = service_of(request)
    photo = await service.on_jobs(service.jobs.photo_source, job, number)
    try:
        small = await service.pool.thumbnail(photo)
    except PhotoError as error:
        raise Problem(404, "no-such-photo", f"this photo cannot be read: {error.detail}") from error
    return Response(small, media_type="image/jpeg")


async def give_up(request: Request, job: str) -> Response:
    """Delete a job with its photos and albums, whether it is done or not."""
    service = service_of(request)
    service.jobs.find(job)
    await service.on_jobs(service.jobs.give_up, job)
    return Response(status_code=204)
