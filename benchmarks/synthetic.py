"""Measure how much made-up people resemble real ones to dlib, and how well pose is estimated from their photos.

    python -m benchmarks.synthetic --identities 60 [--photos 4] [--seed 1000] [--json]

Protocol: photos as `augmentor.made_up.people` makes them, encoded as JPEG; the project's face finder (HOG on the photo
enlarged once, then twice; most central face); dlib's 128-d embedding of the chip, photo only; all mated pairs, all
non-mated pairs; EER on Euclidean distance and on cosine. Landmark error: mean distance of dlib's landmarks from the
true ones, in percent of the true distance between the outer corners of the eyes, for photos with |yaw| <= 40. Pose
error: `augmentor.head.pose` on dlib's landmarks and on the true ones, compared with the true pose.
"""

import argparse
import json
import sys
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from tqdm import tqdm

from augmentor.errors import LikenessError, PhotoError
from augmentor.faces.chip import cut_chip
from augmentor.faces.face_source import face_source
from augmentor.head.head_model import HeadModel, load_head_model
from augmentor.head.pose import estimate_camera, fit_face
from augmentor.made_up.people import PeopleOptions, draw_photos, people_names
from augmentor.made_up.render import Photo, Studio
from augmentor.photos.images import encode_jpeg, load_image
from identity.decisions.metrics import eer
from identity.networks.dlib_embedding import DlibEmbedding


@dataclass(frozen=True)
class Sighting:
    """The face that dlib detects in one photo; `landmarks` and `chip` are None if there is none."""

    person: int
    photo: Photo
    landmarks: np.ndarray | None
    chip: np.ndarray | None


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.synthetic", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--identities", type=int, default=60, help="number of people (%(default)s)")
    parser.add_argument("--photos", type=int, default=4, help="photos of each (%(default)s)")
    parser.add_argument("--seed", type=int, default=1000, help="seed of the people (%(default)s)")
    parser.add_argument("--size", type=int, default=256, help="edge of a photo, pixels (%(default)s)")
    parser.add_argument("--json", action="store_true", help="one JSON object on the last line")
    given = parser.parse_args(arguments)
    try:
        options = PeopleOptions(
            given.identities, (given.photos, given.photos), seed=given.seed, size=given.size
        )
        result = measure(options, load_head_model())
    except LikenessError as error:
        print(error, file=sys.stderr)
        return 2
    for name, value in result.items():
        print(f"{name:34} {value:.4g}" if isinstance(value, float) else f"{name:34} {value}")
    if given.json:
        print(json.dumps(result))
    return 0


def measure(options: PeopleOptions, head: HeadModel) -> dict[str, Any]:
    """Measure everything; rates and errors are in percent or degrees as their names say."""
    sightings, milliseconds = _detect(options, Studio(head))
    detected = [s for s in sightings if s.landmarks is not None]
    result: dict[str, Any] = {
        "photos": len(sightings),
        "ms_per_photo": milliseconds,
        "found_percent": 100 * len(detected) / len(sightings),
    }
    result |= _recognition(detected)
    result |= _geometry([s for s in detected if abs(s.photo.yaw) <= 40], head)
    return result


def _detect(options: PeopleOptions, studio: Studio) -> tuple[list[Sighting], float]:
    """Draw the photos and detect their faces; also return the milliseconds a photo takes to draw."""
    finder = face_source()
    sightings, spent = [], 0.0
    for index, name in enumerate(tqdm(people_names(options.seed, options.identities), desc="people")):
        started = time.process_time()
        photos = [(shot, photo) for _, shot, photo in draw_photos(studio, options, index, name)]
        spent += time.process_time() - started
        for shot, photo in photos:
            image = load_image(encode_jpeg(photo.image, shot.quality))
            search = finder(image)
            landmarks = search.faces[0].landmarks if search else None
            chip = cut_chip(image, search.faces[0].points) if search else None
            sightings.append(Sighting(index, photo, landmarks, chip))
    return sightings, 1000 * spent / len(sightings)


def _recognition(detected: list[Sighting]) -> dict[str, float]:
    """Measure how well dlib's embedding separates these people."""
    embeddings = DlibEmbedding()(np.stack([s.chip for s in detected if s.chip is not None]))
    people = np.array([s.person for s in detected])
    first, second = np.triu_indices(len(detected), 1)
    mated = people[first] == people[second]
    distance = np.linalg.norm(embeddings[first] - embeddings[second], axis=1)
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    cosine = (unit[first] * unit[second]).sum(axis=1)
    return {
        "eer_percent_euclid": 100 * float(eer(-distance[mated], -distance[~mated])),
        "eer_percent_cosine": 100 * float(eer(cosine[mated], cosine[~mated])),
        "mated_distance": float(distance[mated].mean()),
        "nonmated_distance": float(distance[~mated].mean()),
        "mated_pairs": int(mated.sum()),
        "nonmated_pairs": int((~mated).sum()),
    }


def _geometry(detected: list[Sighting], head: HeadModel) -> dict[str, float]:
    """Measure how far dlib's landmarks lie from the true ones, and the pose error from either."""
    errors, biases = [], []
    poses: dict[str, list[tuple[float, float, float]]] = {
        "dlib_fit": [],
        "dlib_mean_head": [],
        "true_fit": [],
    }
    for sighting in detected:
        photo, landmarks = sighting.photo, sighting.landmarks
        assert landmarks is not None
        span = float(np.linalg.norm(photo.landmarks[36] - photo.landmarks[45]))
        errors.append(100 * np.linalg.norm(landmarks - photo.landmarks, axis=1) / span)
        biases.append(100 * (landmarks - photo.landmarks) / span)
        size = photo.image.shape[:2]
        truth = np.array([photo.yaw, photo.pitch, photo.roll])
        readings = {
            "dlib_fit": lambda: fit_face(landmarks, head, size).camera,  # noqa: B023
            "dlib_mean_head": lambda: estimate_camera(landmarks, head.landmarks(), size),  # noqa: B023
            "true_fit": lambda: fit_face(photo.landmarks, head, size).camera,  # noqa: B023
        }
        for name, read in readings.items():
            try:
                pose = read().pose
            except PhotoError:
                poses[name].append((180.0, 180.0, 180.0))
                continue
            poses[name].append(tuple(np.array([pose.yaw, pose.pitch, pose.roll]) - truth))
    error, bias = np.stack(errors), np.stack(biases).mean(axis=0)
    result = {
        "landmark_error_percent": float(error.mean()),
        "landmark_error_percent_inner": float(error[:, 17:].mean()),
    }
    parts = {"jaw": (0, 17), "brows": (17, 27), "nose": (27, 36), "eyes": (36, 48), "mouth": (48, 68)}
    for part, (start, end) in parts.items():
        result[f"{part}_error_percent"] = float(error[:, start:end].mean())
        result[f"{part}_bias_down_percent"] = float(bias[start:end, 1].mean())
    for name, differences in poses.items():
        for axis, values in zip(("yaw", "pitch", "roll"), np.array(differences).T, strict=True):
            result[f"{name}_{axis}_error_degrees"] = float(np.abs(values).mean())
        result[f"{name}_pitch_bias_degrees"] = float(np.array(differences)[:, 1].mean())
    return result


if __name__ == "__main__":
    sys.exit(main())
