"""The command line of `jobs/augment.py`, checked."""

from collections.abc import Sequence
from dataclasses import dataclass

from augmentor.errors import InputError
from augmentor.faces.face_search import POLICIES, Policy
from augmentor.faces.face_source import DEFAULT as DEFAULT_DETECTOR
from augmentor.faces.face_source import SOURCES
from augmentor.rendering.effects import EFFECTS, EXPRESSION, effect_names
from augmentor.views.view_set import PAPER, POSES, READY, SPREAD
from jobs.balancing.image_sink import FOLDER, FORMATS
from jobs.cluster.command_line import OneLineParser, check_place, lies_in

SIZE_RANGE = (32, 1024)


@dataclass(frozen=True)
class AugmentSettings:
    """What `jobs/augment.py` is asked to do; see its --help.

    Raises:
        InputError: a value out of range, or folders that contain each other.
    """

    data: str
    out: str
    per_class: int
    size: int = 150
    seed: int = 0
    hold_out: int = 0
    faces: Policy = "central"
    max_failed: float = 0.05
    workers: int | None = None
    format: str = "folder"
    head_model: str = "built-in"
    effects: tuple[str, ...] = ()
    views: str = SPREAD
    detector: str = DEFAULT_DETECTOR

    def __post_init__(self) -> None:
        if self.per_class < 1:
            raise InputError(f"--per-class {self.per_class}: every person needs at least 1 image, say 128")
        low, high = SIZE_RANGE
        if not low <= self.size <= high:
            raise InputError(
                f"--size {self.size}: images are {low} to {high} pixels wide, 150 unless told otherwise"
            )
        if self.hold_out < 0:
            raise InputError(f"--hold-out {self.hold_out}: how many photos to set aside cannot be negative")
        if not 0 <= self.max_failed <= 1:
            raise InputError(
                f"--max-failed {self.max_failed}: a fraction from 0 to 1, 0.05 for five in a hundred"
            )
        if self.workers is not None and self.workers < 1:
            raise InputError(f"--workers {self.workers}: at least 1 is needed to do the work")
        if self.seed < 0:
            raise InputError(f"--seed {self.seed}: seeds are 0 or more")
        if self.views != SPREAD and self.head_model.startswith(READY):
            raise InputError(
                f"--views {self.views}: {self.head_model} has views of its own; leave --views out"
            )
        if EXPRESSION in self.effects and (self.views == PAPER or self.head_model.startswith(READY)):
            rest = ",".join(name for name in EFFECTS if name != EXPRESSION)
            raise InputError(
                f"--effects {EXPRESSION}: these views have no expressions that change; say --effects {rest}"
            )
        if lies_in(self.data, self.out) or lies_in(self.out, self.data):
            raise InputError(
                f"--out {self.out} and --data {self.data} lie in each other; choose an --out elsewhere"
            )


def parse_arguments(arguments: Sequence[str] | None, *, submitted: bool) -> AugmentSettings:
    """Read a command line.

    Args:
        arguments: without the program's name; None for those of this process.
        submitted: the job runs in a copy of the working directory (`ray job submit`), where relative paths lead
            nowhere.

    Raises:
        InputError: the call is wrong.
        SystemExit: it asks for --help.
    """
    parser = OneLineParser(
        prog="jobs/augment.py",
        description="From a folder of photos per person to a balanced training set: as many images of each person, "
        "the photos themselves and renders of them at other head poses. Interrupted, it goes on where it was; run "
        "again, it changes nothing.",
        epilog="Exit codes: 0 done; 1 a person has no image or too many photos failed; 2 unusable input.",
    )
    parser.add_argument(
        "--data", required=True, help="one folder of photos per person: a path, s3://... or gs://..."
    )
    parser.add_argument(
        "--out", required=True, help="where the set goes, likewise; new, empty, or of an earlier run"
    )
    parser.add_argument("--per-class", type=int, required=True, help="images of each person")
    parser.add_argument(
        "--size", type=int, default=150, help="pixels, width and height of the images (%(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="another one makes another set (%(default)s)")
    parser.add_argument(
        "--hold-out", type=int, default=0, help="set aside N photos of each person with more", metavar="N"
    )
    parser.add_argument(
        "--faces", choices=POLICIES, default="central", help="which, if there are several (%(default)s)"
    )
    parser.add_argument(
        "--detector", choices=tuple(SOURCES), default=DEFAULT_DETECTOR, help="finds the faces (%(default)s)"
    )
    parser.add_argument(
        "--max-failed", type=float, default=0.05, help="fraction of photos that may fail (%(default)s)"
    )
    parser.add_argument("--workers", type=int, default=None, help="processes that do the work (one per core)")
    parser.add_argument("--format", choices=FORMATS, default=FOLDER, help="of the images (%(default)s)")
    parser.add_argument(
        "--head-model", default="built-in", help="built-in, ict:DIR or views:DIR (%(default)s)"
    )
    parser.add_argument(
        "--views",
        choices=POSES,
        default=SPREAD,
        help="spread over what photos show, or the poses and ten shapes of the paper (%(default)s)",
    )
    parser.add_argument(
        "--effects",
        default="none",
        metavar="NAMES",
        help=f"what some renders get besides: none, all, or of {', '.join(EFFECTS)}, with commas (%(default)s)",
    )
    values = vars(parser.parse_args(arguments))
    values["effects"] = effect_names(values["effects"])
    for name in ("data", "out"):
        check_place(f"--{name}", values[name], submitted=submitted)
    return AugmentSettings(**values)
