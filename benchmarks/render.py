"""Measure how long one render takes, and compare it with the bare OpenCV calls that no renderer can avoid.

    python -m benchmarks.render [--size 150] [--people 12] [--rounds 15] [--json]

Protocol: one process, one thread. Photos of made-up people, 250x250, whose faces the project's finder detects; the
renders that the planner plans for them at 128 per person, photo by photo as a job makes them. Every round makes and
encodes the same renders, and then does the minimum for them (the floor): it projects the view's points with a 3x4
camera, samples the photo with one `cv2.remap` and the interpolation of renders (bilinear), and encodes JPEG at the
quality and colour resolution of the job. Figures are medians over rounds. The ratio is the median of the rounds'
ratios, with the 10 % and 90 % quantiles. `ratio_with_light` relights every render; the other ratios have effects on,
drawn as often as a job draws them: light and those of image quality (grey to JPEG), or all.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from tqdm import tqdm

from augmentor.balancing.plan import PhotoRecord, plan
from augmentor.errors import LikenessError, PhotoError
from augmentor.faces.face_source import face_source
from augmentor.head.head_model import HeadModel, load_head_model
from augmentor.head.pose import Camera
from augmentor.made_up.people import PeopleOptions, draw_photos, people_names
from augmentor.made_up.render import Studio
from augmentor.photos.images import encode_jpeg
from augmentor.rendering.effects import EFFECTS, apply_effects, draw_effects, expression_of
from augmentor.rendering.light import relight
from augmentor.rendering.render import PreparedPhoto, prepare_photo, render_views
from augmentor.views.head_view import make_view
from augmentor.views.view import View
from augmentor.views.view_key import ViewKey, allowed, spread_view_keys

PHOTO_SIZE = 250
PER_CLASS = 128
LIGHT_AND_QUALITY = ("light", "grey", "low_resolution", "blur", "noise", "jpeg")
JPEG_QUALITY = 92  # the quality of the job's renders (jobs.balancing.photo_worker)


@dataclass(frozen=True)
class Task:
    """The renders of one photo.

    Attributes:
        prepared: the photo, prepared for the renderer.
        image: (H, W, 3) uint8 RGB, the photo itself.
        camera: (3, 4) float64, photo pixels ~ camera @ (model point, 1).
        views: the views to render into.
        points: for the floor: the model point of every pixel of each view, (S * S, 1, 3) float32 mm.
    """

    prepared: PreparedPhoto
    image: np.ndarray
    camera: np.ndarray
    views: list[View]
    points: list[np.ndarray]


def draw_tasks(people: int, size: int, photos: int, head: HeadModel, seed: int = 7) -> list[Task]:
    """Draw the renders that a job would make from `photos` photos of made-up people."""
    options = PeopleOptions(people, (4, 4), seed=seed, size=PHOTO_SIZE)
    studio, finder = Studio(head), face_source()
    usable: dict[str, tuple[np.ndarray, PreparedPhoto]] = {}
    records = []
    for index, name in enumerate(tqdm(people_names(seed, people), "people")):
        for number, (_person, _shot, photo) in enumerate(draw_photos(studio, options, index, name)):
            search = finder(photo.image)
            if not search:
                continue
            try:
                prepared = prepare_photo(photo.image, search.faces[0].landmarks, head, size)
            except PhotoError:
                continue
            path, pose = f"{name}/{number}.jpg", prepared.fit.camera.pose
            usable[path] = photo.image, prepared
            records.append(PhotoRecord(name, path, "", pose.yaw, pose.pitch, pose.roll, None))
    planned = plan(records, spread_view_keys(), PER_CLASS, 0, allowed=allowed).images
    keys: dict[str, list[ViewKey]] = {}
    for wanted in planned:
        if wanted.view is not None:
            keys.setdefault(wanted.photo, []).append(wanted.view)
    chosen = [sorted(usable)[k] for k in np.random.default_rng(seed).permutation(len(usable))[:photos]]
    needed = sorted({key for path in chosen for key in keys[path]})
    views = {key: make_view(head, key, size) for key in tqdm(needed, "views")}
    points = {key: cv2.resize(v.position, (size, size)).reshape(-1, 1, 3) for key, v in views.items()}
    tasks = []
    for path in chosen:
        image, prepared = usable[path]
        matrix = _matrix(prepared.fit.camera)
        own = keys[path]
        tasks.append(Task(prepared, image, matrix, [views[k] for k in own], [points[k] for k in own]))
    return tasks


def full_renders(task: Task) -> list[bytes]:
    """Do what the job does for the images of a photo, except writing the files."""
    renders = render_views(task.prepared, task.views)
    return [encode_jpeg(rendered.image, JPEG_QUALITY) for rendered in renders]


def lit_renders(task: Task) -> list[bytes]:
    """Do the same under another light."""
    renders = zip(task.views, render_views(task.prepared, task.views), strict=True)
    return [encode_jpeg(relight(rendered.image, view, 1), JPEG_QUALITY) for view, rendered in renders]


def renders_with_effects(names: Sequence[str], head: HeadModel) -> Callable[[Task], list[bytes]]:
    """Return a function that does the same with effects, drawn as a job draws them."""

    def work(task: Task) -> list[bytes]:
        drawn = [draw_effects(names, number) for number in range(len(task.views))]
        changes = [expression_of(effects, task.prepared, head) for effects in drawn]
        renders = render_views(task.prepared, task.views, changes)
        encoded = []
        for effects, view, rendered in zip(drawn, task.views, renders, strict=True):
            image = apply_effects(rendered.image, view, rendered.landmarks_2d, effects)
            encoded.append(encode_jpeg(image, JPEG_QUALITY))
        return encoded

    return work


def floor(task: Task) -> list[bytes]:
    """Do the bare minimum: project the points, sample the photo there, and encode."""
    size = task.prepared.size
    options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    options += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    encoded = []
    for points in task.points:
        where = cv2.perspectiveTransform(points, task.camera).reshape(size, size, 2)
        image = cv2.remap(task.image, where, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        encoded.append(cv2.imencode(".jpg", image, options)[1].tobytes())
    return encoded


def _matrix(camera: Camera) -> np.ndarray:
    """Return the camera as a matrix (3, 4) float64."""
    inner = np.array([[camera.focal, 0, camera.centre[0]], [0, camera.focal, camera.centre[1]], [0, 0, 1]])
    return inner @ np.column_stack([camera.rotation, camera.translation])


def milliseconds(work: Callable[[Task], list[bytes]], tasks: Sequence[Task]) -> float:
    """Return the mean milliseconds of one render."""
    started = time.perf_counter()
    made = sum(len(work(task)) for task in tasks)
    return 1000 * (time.perf_counter() - started) / made


def measure(options: argparse.Namespace) -> dict[str, float | int]:
    """Measure everything."""
    cv2.setNumThreads(1)
    head = load_head_model()
    tasks = draw_tasks(options.people, options.size, options.photos, head)
    views = {view.key: view for task in tasks for view in task.views}
    work = {
        "render": full_renders,
        "floor": floor,
        "light": lit_renders,
        "quality": renders_with_effects(LIGHT_AND_QUALITY, head),
        "effects": renders_with_effects(tuple(EFFECTS), head),
    }
    times: dict[str, list[float]] = {name: [] for name in work}
    for call in work.values():
        milliseconds(call, tasks[:1])
    for _ in tqdm(range(options.rounds), "rounds"):
        for name, call in work.items():
            times[name].append(milliseconds(call, tasks))
    table = {name: np.array(values) for name, values in times.items()}
    ratio = table["render"] / table["floor"]
    return {
        "ms_per_render": float(np.median(table["render"])),
        "floor_ms": float(np.median(table["floor"])),
        "ratio": float(np.median(ratio)),
        "ratio_low": float(np.quantile(ratio, 0.1)),
        "ratio_high": float(np.quantile(ratio, 0.9)),
        "ratio_with_light": float(np.median(table["light"] / table["floor"])),
        "ratio_with_light_and_quality": float(np.median(table["quality"] / table["floor"])),
        "ratio_with_effects": float(np.median(table["effects"] / table["floor"])),
        "renders": sum(len(task.views) for task in tasks),
        "rounds": options.rounds,
        "size": options.size,
        "bytes_per_view": sum(view.nbytes for view in views.values()) // len(views),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.render", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--size", type=int, default=150, help="edge of the renders, pixels")
    parser.add_argument("--people", type=int, default=12, help="made-up people, four photos each")
    parser.add_argument(
        "--photos", type=int, default=12, help="photos rendered in a round, about 31 times each"
    )
    parser.add_argument("--rounds", type=int, default=15, help="number of rounds (%(default)s)")
    parser.add_argument("--json", action="store_true", help="one JSON object on the last line")
    options = parser.parse_args(arguments)
    try:
        result = measure(options)
    except LikenessError as error:
        print(error, file=sys.stderr)
        return 2
    for name, value in result.items():
        print(f"{name:18} {value:.4g}" if isinstance(value, float) else f"{name:18} {value}")
    if options.json:
        print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
