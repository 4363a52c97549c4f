"""The shapes of answers, for the OpenAPI document.

The answers themselves are made by `identity.runs.recogniser` and `identity.runs.comparison`.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from identity.server.settings import Settings


class Candidate(BaseModel):
    """A name and how similar the face is to the person's photos."""

    name: str
    similarity: Annotated[float, Field(description="cosine, -1 to 1")]


class Pose(BaseModel):
    """Pose of a head in degrees."""

    yaw: float
    pitch: float
    roll: float


class FaceAnswer(BaseModel):
    """A face and its name."""

    name: Annotated[str, Field(description="name of the person, or `unknown`")]
    score: Annotated[
        float, Field(description="score of the best name, which is given if the score reaches the threshold")
    ]
    probability: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            description="probability that the best name is right, if half of all faces are strangers'",
        ),
    ]
    box: Annotated[list[float], Field(description="x, y, width, height in pixels of the photo")]
    size: int
    quality: float
    pose: Pose | None
    best: Annotated[list[Candidate], Field(description="the most similar people, the most similar first")]
    reason: Annotated[
        Literal["too_small", "blurred"] | None,
        Field(description="why an unknown face cannot be told; null for every other face"),
    ] = None


class PhotoAnswer(BaseModel):
    """A photo and its faces."""

    photo: str
    status: Literal["ok", "no_face", "error"]
    reason: str | None = None
    faces: list[FaceAnswer]


class IdentifyAnswer(BaseModel):
    """The results of all photos, in the order in which they were sent."""

    results: list[PhotoAnswer]

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "results": [
                        {
                            "photo": "party.jpg",
                            "status": "ok",
                            "reason": None,
                            "faces": [
                                {
                                    "name": "Ada Lovelace",
                                    "reason": None,
                                    "score": 0.7414,
                                    "probability": 0.9987,
                                    "box": [67.0, 80.0, 109.0, 108.0],
                                    "size": 108,
                                    "quality": 0.9711,
                                    "pose": {"yaw": -3.4, "pitch": 6.0, "roll": -2.0},
                                    "best": [{"name": "Ada Lovelace", "similarity": 0.9207}],
                                }
                            ],
                        },
                        {"photo": "sea.heic", "status": "no_face", "reason": "no_face", "faces": []},
                    ]
                }
            ]
        }
    )


class VerifyAnswer(BaseModel):
    """The comparison of two photos; values are null if a face is missing."""

    photo_a: str
    photo_b: str
    status: Literal["ok", "no_face", "error"]
    reason: str | None = None
    faces: list[int]
    fmr: Annotated[float, Field(description="share of pairs of different people that the threshold accepts")]
    distance: Annotated[float | None, Field(description="1 - cosine; lower is more similar")]
    threshold: Annotated[
        float | None, Field(description="largest distance at which two faces count as the same person")
    ]
    same: bool | None
    probability: float | None
    confidence: float | None
    boxes: list[list[float] | None]

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "photo_a": "passport.jpg",
                    "photo_b": "selfie.jpg",
                    "status": "ok",
                    "reason": None,
                    "faces": [1, 2],
                    "fmr": 0.001,
                    "distance": 0.1042,
                    "threshold": 0.3333,
                    "same": True,
                    "probability": 0.9996,
                    "confidence": 0.9996,
                    "boxes": [[77.0, 89.0, 105.0, 104.0], [65.0, 79.0, 125.0, 125.0]],
                }
            ]
        }
    )


class JobAnswer(BaseModel):
    """A set of photos that is being sorted or was sorted into albums."""

    job: str
    status: Literal["receiving", "running", "done", "failed"]
    done: Annotated[int, Field(description="number of photos that were processed")]
    photos: int
    detail: str | None
    albums: Annotated[
        dict[str, Any] | None,
        Field(description="the albums, like albums.json of identity.organise; null until the job is done"),
    ]


class GroupName(BaseModel):
    """A name for the person of a group of unknown faces."""

    album: Annotated[str, Field(max_length=400, examples=["unknown/001"])]
    name: Annotated[str, Field(min_length=1, max_length=200, examples=["Ada Lovelace"])]


class Move(BaseModel):
    """A photo to move from one album to another."""

    photo: Annotated[str, Field(max_length=2000)]
    source: Annotated[str, Field(max_length=400)]
    target: Annotated[str, Field(min_length=1, max_length=400)]


class PersonAnswer(BaseModel):
    """An enrolled person."""

    name: str
    photos: int


class PeopleAnswer(BaseModel):
    """All enrolled people."""

    people: list[PersonAnswer]


class EnrolledAnswer(BaseModel):
    """A person who was just enrolled."""

    name: str
    photos: int
    left_out: Annotated[list[PhotoAnswer], Field(description="photos without a usable face")]
    looks_like: Annotated[
        list[str], Field(description="people enrolled earlier whom some of the photos look like")
    ]


class ForgottenAnswer(BaseModel):
    """The files and records of a person that were deleted, and those that were not."""

    name: str
    removed: Annotated[list[str], Field(description="what was deleted")]
    originals: Annotated[
        list[str], Field(description="the user's own photos, which this software does not delete")
    ]
    left: Annotated[list[str], Field(description="traces that are left, with what to do about each")]


class ModelAnswer(BaseModel):
    """The run that this server uses."""

    people: int
    features: str
    fpir: Annotated[float, Field(description="share of strangers who may be given a name, by default")]
    choices: Annotated[
        list[dict[str, float | None]],
        Field(
            description="thresholds of the score, each with `fpir`, `threshold`, and `named`, the share of enrolled "
            "people's faces that got their name in calibration"
        ),
    ]
    card: Annotated[str, Field(description="the model card in Markdown")]


class ProblemAnswer(BaseModel):
    """A problem document (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[dict[str, str]] | None = None

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": "urn:likeness:problem:too-large",
                    "title": "Request Entity Too Large",
                    "status": 413,
                    "detail": "a request may have at most 512 MB; send fewer photos at once",
                }
            ]
        }
    )


Responses = dict[int | str, dict[str, Any]]  # what a route may answer, by HTTP status
OF_UPLOADS = (400, 408, 413, 422, 507)  # problems that requests with photos can have
_MEANINGS = {
    400: "the request cannot be read",
    401: "no key was sent",
    403: "the request does not come from this machine, or was sent on behalf of another site",
    404: "does not exist",
    408: "the body came too slowly",
    409: "not possible in the current state",
    413: "too large",
    416: "the file has no such part",
    422: "unusable values",
    429: "too many requests with this key",
    503: "busy or not ready; Retry-After says when to try again",
    507: "the server's disk is full",
}


def problem_responses(settings: Settings, *statuses: int) -> Responses:
    """Return the problems that a route can answer with, for the OpenAPI document.

    Args:
        settings: those of the server, which decide about problems that every route has.
        statuses: HTTP statuses of the route's own problems.
    """
    always = {403, 503} | ({401, 429} if settings.keys else set())
    return {
        status: {"description": _MEANINGS[status], "model": ProblemAnswer}
        for status in sorted(always | set(statuses))
    }
