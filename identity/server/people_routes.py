"""The routes about the run and the people enrolled in it."""

from typing import Annotated, Literal

from fastapi import APIRouter, File, Form, Query, Request, UploadFile
from fastapi.responses import JSONResponse, Response

from augmentor.errors import InputError
from augmentor.photos.names import checked_new_name, found_name
from identity.chips.photo_faces import PhotoFaces
from identity.decisions.open_set import SEARCHED_FPIRS
from identity.runs.bundle import Bundle
from identity.runs.recogniser import Recognition
from identity.runs.renaming import photo_counts
from identity.server import answers
from identity.server.answers import OF_UPLOADS, problem_responses
from identity.server.forms import upload_route
from identity.server.problems import Problem
from identity.server.service import a_few_at_a_time, service_of
from identity.server.settings import Settings
from identity.server.source import Source


def people_routes(settings: Settings) -> APIRouter:
    """Return the routes about the run and its people.

    Args:
        settings: settings of the server.
    """
    router = APIRouter(tags=["people"], route_class=upload_route(settings.max_files))
    usual, unknown = problem_responses(settings), problem_responses(settings, 404)
    uploads, forgetting = problem_responses(settings, *OF_UPLOADS), problem_responses(settings, 404, 422, 507)
    router.get("/v1/model", responses=usual, response_model=answers.ModelAnswer)(model)
    router.get("/v1/people", responses=usual, response_model=answers.PeopleAnswer)(people)
    router.post("/v1/people", status_code=201, responses=uploads, response_model=answers.EnrolledAnswer)(add)
    router.get("/v1/people/{name}", responses=unknown, response_model=answers.PersonAnswer)(person)
    router.delete("/v1/people/{name}", responses=forgetting, response_model=answers.ForgottenAnswer)(remove)
    return router


async def model(request: Request) -> Response:
    """Describe the run, its thresholds, and how often each threshold lets a stranger get a name."""
    service = service_of(request)
    bundle = await service.bundle()
    return JSONResponse(
        {
            "people": len(bundle.labels),
            "features": bundle.features,
            "fpir": service.settings.fpir,
            "choices": choices(bundle, service.settings.fpir),
            "card": bundle.model_card,
        }
    )


def choices(bundle: Bundle, fpir: float) -> list[dict[str, float | None]]:
    """Return the thresholds that a user can choose from, the lowest rate first.

    Args:
        bundle: the run.
        fpir: a rate to offer besides the usual ones.

    Returns:
        For each rate `fpir`, the share of strangers who are given a name: the `threshold` of the score, and `named`,
        the share of enrolled people's faces that got their name in calibration (None if it was not measured). Rates
        for which the run was calibrated with too few strangers are left out.
    """
    offered = []
    for rate in sorted({*SEARCHED_FPIRS, fpir}):
        try:
            threshold = bundle.decision.threshold(rate)
        except InputError:  # too few calibration strangers
            continue
        offered.append({"fpir": rate, "threshold": threshold, "named": bundle.decision.named_at(rate)})
    return offered


async def people(request: Request) -> Response:
    """List all enrolled people with their numbers of photos."""
    counts = photo_counts(await service_of(request).bundle())
    return JSONResponse({"people": [{"name": name, "photos": count} for name, count in counts.items()]})


async def add(
    request: Request,
    name: Annotated[str, Form(min_length=1, max_length=200)],
    files: Annotated[list[UploadFile], File(description="photos of this one person, or zips of photos")],
    face: Annotated[
        Literal["central", "largest", "reject"],
        Query(description="which face to use in a photo with several"),
    ] = "central",
) -> Response:
    """Enrol a person from a few photos, without training."""
    service = service_of(request)
    checked_new_name(name, (await service.bundle()).labels)  # before any photo is read
    sources = await service.sources(files)

    async def read(source: Source) -> PhotoFaces:
        return await service.pool.faces(source, face, hashed=True)

    photos = await a_few_at_a_time(read, sources)
    left_out = [photo for photo in photos if photo.chip is None]
    # By index, because two photos may have the same name; many phones call every photo image.jpg.
    usable = [k for k, photo in enumerate(photos) if photo.chip is not None]
    if not usable:
        raise Problem(422, "no-face", "none of the photos has a usable face")
    enrolled = [photos[k] for k in usable]
    looks_like = await service.people.enrol(name, enrolled, [sources[k] for k in usable])
    unused = [Recognition(photo.photo, photo.status, photo.reason, photo.detail, ()) for photo in left_out]
    return JSONResponse(
        {
            "name": name,
            "photos": len(enrolled),
            "left_out": [answer.as_json() for answer in unused],
            "looks_like": looks_like,
        },
        201,
    )


async def person(request: Request, name: str) -> Response:
    """Describe one enrolled person."""
    counts = photo_counts(await service_of(request).bundle())
    enrolled = found_name(name, counts)
    if enrolled is None:
        raise Problem(404, "nobody", "nobody of this name is enrolled")
    return JSONResponse({"name": enrolled, "photos": counts[enrolled]})


async def remove(request: Request, name: str) -> Response:
    """Forget a person: delete everything made from their photos. From the answer on, nobody is given this name."""
    service = service_of(request)
    if not await service.people.is_known(name):
        raise Problem(404, "nobody", "nobody of this name is enrolled")
    forgotten = await service.people.forget(name)
    lists = {"removed": forgotten.removed, "originals": forgotten.originals, "left": forgotten.left}
    return JSONResponse({"name": name} | lists)
