"""The routes that answer questions about photos: who is in them, and whether two show the same person."""

import asyncio
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, File, Query, Request, UploadFile
from fastapi.responses import JSONResponse, PlainTextResponse, Response

from augmentor.errors import InputError
from identity.chips.photo_faces import PhotoFaces
from identity.runs.bundle import Bundle
from identity.runs.comparison import FACES, calibrated, compared
from identity.server import answers
from identity.server.answers import OF_UPLOADS, Responses, problem_responses
from identity.server.forms import upload_route
from identity.server.problems import Problem
from identity.server.service import Service, a_few_at_a_time, service_of
from identity.server.settings import Settings
from identity.server.source import Source

USUAL_FMR = 0.001


def photo_routes(settings: Settings) -> APIRouter:
    """Return the routes that answer questions about photos.

    Args:
        settings: settings of the server.
    """
    router = APIRouter(tags=["asking"], route_class=upload_route(settings.max_files))
    problems = problem_responses(settings, *OF_UPLOADS)
    face_or_place: Responses = {200: {"content": {"text/plain": {"schema": {"enum": ["face", "place"]}}}}}
    router.post("/v1/identify", responses=problems, response_model=answers.IdentifyAnswer)(identify)
    router.post("/v1/verify", responses=problems, response_model=answers.VerifyAnswer)(verify)
    router.post("/upload", responses=problems | face_or_place, response_class=PlainTextResponse)(upload)
    return router


async def identify(
    request: Request,
    files: Annotated[list[UploadFile], File(description="photos of any format and size, or zips of photos")],
    fpir: Annotated[
        float | None, Query(gt=0, lt=1, description="share of strangers who may be given a name")
    ] = None,
    faces: Annotated[
        Literal["all", "central", "largest"], Query(description="which faces of a photo to name")
    ] = "all",
) -> Response:
    """Name the faces in photos: one result per photo, in the order in which they were sent."""
    service = service_of(request)
    rate = service.settings.fpir if fpir is None else fpir
    (await service.bundle()).decision.threshold(
        rate
    )  # an unusable rate is an error, whatever the photos show

    async def named(source: Source) -> dict[str, Any]:
        photo = await service.read(source, faces, to_name=True)
        return (await service.naming.name(photo, rate)).as_json()

    sources = await service.sources(files)
    return JSONResponse({"results": await a_few_at_a_time(named, sources)})


async def verify(
    request: Request,
    a: Annotated[UploadFile, File(description="a photo")],
    b: Annotated[UploadFile, File(description="another photo")],
    fmr: Annotated[
        float | None,
        Query(
            gt=0,
            lt=1,
            description="share of pairs of different people that may be accepted; by default 0.001 or the lowest rate "
            "that the run was calibrated for",
        ),
    ] = None,
    face: Annotated[
        Literal["largest", "best-pair", "reject"],
        Query(description="which face to use in a photo with several"),
    ] = "largest",
) -> Response:
    """Compare two photos and say whether they show the same person."""
    service = service_of(request)
    bundle = await service.bundle()
    if bundle.align != "face":
        raise InputError("this server's run names whole photos, not faces, so it cannot compare faces")
    rate = _rate(bundle, fmr)
    same_person = calibrated(bundle, rate)
    sources = await service.sources([a, b])
    if len(sources) != 2:
        raise Problem(422, "unusable", "a and b must each contain exactly one photo")
    photos = await asyncio.gather(*(service.read(source, FACES[face]) for source in sources))
    comparison = compared(same_person, photos, await _embedded(service, photos), rate)
    return JSONResponse({"photo_a": sources[0].name, "photo_b": sources[1].name} | comparison)


def _rate(bundle: Bundle, fmr: float | None) -> float:
    """Return the rate to compare at: the requested one, or the usual one if the run is calibrated for it."""
    if fmr is not None:
        return fmr
    return USUAL_FMR if bundle.same_person is None else max(USUAL_FMR, bundle.same_person.rates[0])


async def _embedded(service: Service, photos: Sequence[PhotoFaces]) -> list[Any]:
    """Return the unit rows (F, D) of the faces of both photos; an empty list if one shows no face."""
    if not all(photo.chips for photo in photos):
        return []
    _, rows, _ = await service.naming.embed([chip for photo in photos for chip in photo.chips])
    first = len(photos[0].chips)
    return [rows[:first], rows[first:]]


async def upload(request: Request, image: Annotated[UploadFile, File(description="a photo")]) -> str:
    """Say whether a photo shows a face, with the answers of an earlier system: `face` or `place`."""
    service = service_of(request)
    sources = await service.sources([image])
    photo = await service.read(sources[0], "all") if len(sources) == 1 else None
    if photo is None or photo.status == "error":
        why = f"{photo.reason}: {photo.detail}" if photo else "the upload must contain exactly one photo"
        raise Problem(422, "unreadable", why)
    return "face" if photo.faces else "place"
