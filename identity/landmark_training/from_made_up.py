"""Make examples from people who do not exist (`augmentor.made_up`), at any pose, with hair, ears and glasses."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from augmentor.head.head_model import HeadModel
from augmentor.head.pose import HeadPose, rotation_from_pose
from augmentor.made_up.person import Person, Shot, make_person, plan_shot
from augmentor.made_up.render import HEAD_WIDTH_MM, Studio
from identity.landmark_training.examples import MADE_UP, Row, cut_example
from identity.landmark_training.from_photos import FindPoints, seen_from
from identity.landmark_training.true_landmarks import TrueLandmarks, true_landmarks, visible_landmarks

PHOTO_SIDE = 160
_STREAM = 3  # of random numbers: nobody here is among the people of datasets.synthetic
_FACE_SHARE = 0.8  # of what a made-up photo usually shows, so that profiles fit in


def made_up_examples(
    studio: Studio, find_points: FindPoints, seed: int, person: int, photos: int
) -> Iterator[Row]:
    """Yield the rows of one made-up person (`identity.landmark_training.examples`).

    Args:
        studio: takes the photos.
        find_points: returns the detector's five points (5, 2) of the one face in a picture, or None.
        seed: seed of all people.
        person: number of the person.
        photos: number of photos.
    """
    modes = len(studio.head.identity_modes)
    who = make_person(seed, person, modes, name=f"{person}", stream=_STREAM)
    looks = studio.looks(who)
    rng = np.random.default_rng([seed, _STREAM, person, 68])
    start = rng.uniform(-90, 90)
    for number in range(photos):
        shot = plan_shot(who, seed, person, number, stream=_STREAM)
        turn = (start + 90 + 180 * number / photos) % 180 - 90
        pose = seen_from(turn, float(np.clip(rng.normal(0, 16), -45, 45)))
        share = shot.face_share * _FACE_SHARE
        shot = replace(shot, yaw=pose.yaw, pitch=pose.pitch, roll=pose.roll, face_share=share)
        image = studio.take(who, looks, shot, PHOTO_SIDE).image
        truth, visible = made_up_truth(studio, who, shot, PHOTO_SIDE)
        crop, landmarks, five = cut_example(image, truth.landmarks_2d, find_points(image))
        yield crop, landmarks, visible.astype(np.uint8), five, (turn, pose.pitch), MADE_UP, person


def made_up_truth(studio: Studio, person: Person, shot: Shot, size: int) -> tuple[TrueLandmarks, np.ndarray]:
    """Return the landmarks of a made-up photo and which of them (68,) bool the head does not hide.

    Args:
        studio: the studio that took the photo.
        person: the person in it.
        shot: how it was taken.
        size: its side, pixels.
    """
    head: HeadModel = studio.head
    vertices = studio.vertices(person, shot)
    rotation = rotation_from_pose(HeadPose(shot.yaw, shot.pitch, shot.roll))
    focal = shot.face_share * size * shot.distance / HEAD_WIDTH_MM
    bare = vertices[head.landmarks68]
    turned = bare @ rotation.T
    centre = (turned[:, :2] / (turned[:, 2:] + shot.distance)).mean(0) * focal
    # `Studio.take` shifts the head so that it would be in its place at the distance of the model's origin.
    shift = (size * np.array(shot.shift) - centre) * shot.distance / focal

    def to_pixels(points: np.ndarray) -> np.ndarray:
        in_camera = points @ rotation.T + [*shift, shot.distance]
        return in_camera[:, :2] * (focal / in_camera[:, 2:]) + (size - 1) / 2

    def depth(points: np.ndarray) -> np.ndarray:
        return points @ rotation[2] + shot.distance

    truth = true_landmarks(vertices, bare + head.landmark_offsets, to_pixels, head)
    return truth, visible_landmarks(truth, vertices, to_pixels, depth, head)
