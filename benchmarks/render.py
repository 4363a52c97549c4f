"""How long one render takes, against the bare OpenCV calls that nobody can do without.

    python -m benchmarks.render [--size 150] [--people 12] [--rounds 15] [--json]

Protocol: one process, one thread. Photos of made-up people, 250x250, whose faces are found by the project's
finder; the (photo, view) pairs that the planner draws for them at 128 per person, shuffled. In every round
the same pairs are rendered and encoded, and then put through the floor: the view's points projected by a 3x4
camera, one `cv2.remap` of the photo with the interpolation renders use (bilinear), JPEG at the quality and
colour resolution of the job. Figures are medians over rounds, the ratio the median of the rounds' ratios,
with the 10 % and 90 % quantiles.
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

from augmentor.balance import PhotoRecord, plan
from augmentor.errors import LikenessError, PhotoError
from augmentor.faces import FaceFinder
from augmentor.head_model import HeadModel, load_head_model
from augmentor.images import encode_jpeg
from augmentor.light import relight
from augmentor.pose import Camera
from augmentor.render import PreparedPhoto, allowed, prepare_photo, render_view
from augmentor.view import View, default_view_keys, make_view
from datasets.synthetic import PeopleOptions, draw_photos, people_names
from datasets.synthetic_render import Studio

PHOTO_SIZE = 250
PER_CLASS = 128
JPEG_QUALITY = 92  # of the job's renders (jobs.photo_worker)


@dataclass(frozen=True)
class Pair:
    """One render to make.

    Attributes:
        prepared: the photo, as the renderer wants it.
        image: (H, W, 3) uint8, the photo itself.
        camera: (3, 4) float32, photo pixels ~ camera @ (model point, 1).
        view: what it is rendered into.
    """

    prepared: PreparedPhoto
    image: np.ndarray
    camera: np.ndarray
    view: View


def draw_pairs(people: int, size: int, count: int, head: HeadModel, seed: int = 7) -> tuple[list[Pair], int]:
    """`count` of the pairs that a job draws for made-up people, and the bytes of the views among them."""
    options = PeopleOptions(people, (4, 4), seed=seed, size=PHOTO_SIZE)
    studio, finder = Studio(head), FaceFinder("central")
    photos: dict[str, tuple[np.ndarray, PreparedPhoto]] = {}
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
            photos[path] = photo.image, prepared
            records.append(PhotoRecord(name, path, "", pose.yaw, pose.pitch, pose.roll, None))
    planned = plan(records, default_view_keys(), PER_CLASS, 0, allowed=allowed).images
    renders = [image for image in planned if image.view is not None]
    chosen = [renders[k] for k in np.random.default_rng(seed).permutation(len(renders))[:count]]
    views = {
        key: make_view(head, key, size)
        for key in tqdm(sorted({image.view for image in chosen if image.view}), "views")
    }
    pairs = []
    for planned_image in chosen:
        assert planned_image.view is not None
        image, prepared = photos[planned_image.photo]
        pairs.append(Pair(prepared, image, _matrix(prepared.fit.camera), views[planned_image.view]))
    return pairs, sum(map(_bytes_of, views.values())) // len(views)


def _bytes_of(view: View) -> int:
    return sum(value.nbytes for value in vars(view).values() if isinstance(value, np.ndarray))


def full_render(pair: Pair) -> bytes:
    """What the job does for one image, but for writing the file."""
    return encode_jpeg(render_view(pair.prepared, pair.view).image, JPEG_QUALITY)


def lit_render(pair: Pair) -> bytes:
    """The same under another light."""
    image = render_view(pair.prepared, pair.view).image
    return encode_jpeg(relight(image, pair.view, 1), JPEG_QUALITY)


def floor(pair: Pair) -> bytes:
    """The bare calls: project the points, read the photo there, encode."""
    points = pair.view.position.reshape(-1, 3) @ pair.camera[:, :3].T + pair.camera[:, 3]
    where = (points[:, :2] / points[:, 2:]).reshape(*pair.view.position.shape[:2], 2)
    image = cv2.remap(pair.image, where, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    options += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    return cv2.imencode(".jpg", image, options)[1].tobytes()


def _matrix(camera: Camera) -> np.ndarray:
    """(3, 4) float32."""
    inner = np.array([[camera.focal, 0, camera.centre[0]], [0, camera.focal, camera.centre[1]], [0, 0, 1]])
    return (inner @ np.column_stack([camera.rotation, camera.translation])).astype(np.float32)


def milliseconds(work: Callable[[Pair], bytes], pairs: Sequence[Pair]) -> float:
    """Mean time of one call over all pairs."""
    started = time.perf_counter()
    for pair in pairs:
        work(pair)
    return 1000 * (time.perf_counter() - started) / len(pairs)


def measure(options: argparse.Namespace) -> dict[str, float | int]:
    """All figures."""
    cv2.setNumThreads(1)
    pairs, view_bytes = draw_pairs(options.people, options.size, options.renders, load_head_model())
    times: dict[str, list[float]] = {"render": [], "floor": [], "light": []}
    for work in (full_render, floor, lit_render):
        milliseconds(work, pairs[:20])
    for _ in tqdm(range(options.rounds), "rounds"):
        times["render"].append(milliseconds(full_render, pairs))
        times["floor"].append(milliseconds(floor, pairs))
        times["light"].append(milliseconds(lit_render, pairs))
    table = {name: np.array(values) for name, values in times.items()}
    ratio, lit = table["render"] / table["floor"], table["light"] / table["floor"]
    return {
        "ms_per_render": float(np.median(table["render"])),
        "floor_ms": float(np.median(table["floor"])),
        "ratio": float(np.median(ratio)),
        "ratio_low": float(np.quantile(ratio, 0.1)),
        "ratio_high": float(np.quantile(ratio, 0.9)),
        "ratio_with_light": float(np.median(lit)),
        "renders": len(pairs),
        "rounds": options.rounds,
        "size": options.size,
        "bytes_per_view": view_bytes,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.render", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--size", type=int, default=150, help="edge of the renders, pixels")
    parser.add_argument("--people", type=int, default=12, help="made-up people, four photos each")
    parser.add_argument("--renders", type=int, default=300, help="pairs timed in a round")
    parser.add_argument("--rounds", type=int, default=15)
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
