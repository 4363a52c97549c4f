"""The shapes of answers, for the OpenAPI document. `runs.recogniser` and `runs.comparison` make the answers."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Candidate(BaseModel):
    """A name and how alike the face is to the person's photos."""

    name: str
    similarity: Annotated[float, Field(description="cosine, -1 to 1")]


class Pose(BaseModel):
    """Of a head, degrees."""

    yaw: float
    pitch: float
    roll: float


class FaceAnswer(BaseModel):
    """One face."""

    name: Annotated[str, Field(description="who it is, or `unknown`")]
    score: Annotated[float, Field(description="of the best name; it is given from the threshold on")]
    probability: Annotated[
        float,
        Field(ge=0, le=1, description="that the best name is right, were every second face a stranger's"),
    ]
    box: Annotated[list[float], Field(description="x, y, width, height in pixels of the photo")]
    size: int
    quality: float
    pose: Pose | None
    best: Annotated[list[Candidate], Field(description="the most similar people, the most similar first")]


class PhotoAnswer(BaseModel):
    """One photo."""

    photo: str
    status: Literal["ok", "no_face", "error"]
    reason: str | None = None
    faces: list[FaceAnswer]


class IdentifyAnswer(BaseModel):
    """All photos, in the order they were sent."""

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
    """Two photos; null where a face is missing."""

    photo_a: str
    photo_b: str
    status: Literal["ok", "no_face", "error"]
    reason: str | None = None
    faces: list[int]
    fmr: Annotated[
        float, Field(description="share of pairs of different people that the threshold lets through")
    ]
    distance: Annotated[float | None, Field(description="1 - cosine; lower is more alike")]
    threshold: Annotated[float | None, Field(description="the distance up to which it is the same person")]
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
    """A folder of photos that is, or was, sorted into albums."""

    job: str
    status: Literal["receiving", "running", "done", "failed"]
    done: Annotated[int, Field(description="photos looked at")]
    photos: int
    detail: str | None
    albums: Annotated[
        dict[str, Any] | None, Field(description="as albums.json of identity.organise, once done")
    ]


class GroupName(BaseModel):
    """Names the person of a group of unknown faces."""

    album: Annotated[str, Field(max_length=400, examples=["unknown/001"])]
    name: Annotated[str, Field(min_length=1, max_length=200, examples=["Ada Lovelace"])]


class Move(BaseModel):
    """Puts a photo into another album."""

    photo: Annotated[str, Field(max_length=2000)]
    source: Annotated[str, Field(max_length=400)]
    target: Annotated[str, Field(min_length=1, max_length=400)]


class PersonAnswer(BaseModel):
    """Somebody who is enrolled."""

    name: str
    photos: int


class PeopleAnswer(BaseModel):
    """Everybody who is enrolled."""

    people: list[PersonAnswer]


class EnrolledAnswer(BaseModel):
    """Somebody new."""

    name: str
    photos: int
    left_out: Annotated[list[PhotoAnswer], Field(description="photos without a usable face")]
    looks_like: Annotated[list[str], Field(description="enrolled people some of the photos look like")]


class ForgottenAnswer(BaseModel):
    """What became of somebody."""

    name: str
    removed: list[str]
    originals: Annotated[list[str], Field(description="photos that are not this software's to delete")]
    left: list[str]


class ModelAnswer(BaseModel):
    """The run that answers."""

    people: int
    features: str
    fpir: Annotated[float, Field(description="of this server, where a request does not say")]
    choices: Annotated[
        list[dict[str, float | None]],
        Field(description="thresholds of the score: `fpir`, `threshold`, and the share of known faces named"),
    ]
    card: Annotated[str, Field(description="the model card, Markdown")]


class ProblemAnswer(BaseModel):
    """RFC 9457."""

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
                    "detail": "a request may have 512 MB; send fewer photos at once",
                }
            ]
        }
    )
