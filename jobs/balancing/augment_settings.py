"""Read and check the command line of `jobs/augment.py`."""

from collections.abc import Sequence
from dataclasses import dataclass

from augmentor.command_line import called_as
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
    """The checked command line of `jobs/augment.py`; its --help explains the values.

    Raises:
        InputError: a value is out of range, or one folder lies in the other.
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
            raise InputError(
                f"--per-class {self.per_class}: every person needs at least 1 image; use 128, for example"
            )
        low, high = SIZE_RANGE
        if not low <= self.size <= high:
            raise InputError(
                f"--size {self.size}: images are {low} to {high} pixels wide; the default is 150"
            )
        if self.hold_out < 0:
            raise InputError(
                f"--hold-out {self.hold_out}: the number of photos to set aside cannot be negative"
            )
        if not 0 <= self.max_failed <= 1:
            raise InputError(
                f"--max-failed {self.max_failed}: must be a fraction from 0 to 1, such as 0.05 for five in a hundred"
            )
        if self.workers is not None and self.workers < 1:
            raise InputError(f"--workers {self.workers}: at least 1 is needed")
        if self.seed < 0:
            raise InputError(f"--seed {self.seed}: must be 0 or more")
        if self.views != SPREAD and self.head_model.startswith(READY):
            raise InputError(f"--views {self.views}: {self.head_model} has its own views; leave --views out")
        if EXPRESSION in self.effects and (self.views == PAPER or self.head_model.startswith(READY)):
            rest = ",".join(name for name in EFFECTS if name != EXPRESSION)
            raise InputError(
                f"--effects {EXPRESSION}: the expression of these views cannot be changed; use --effects {rest}"
            )
        if lies_in(self.data, self.out) or lies_in(self.out, self.data):
            raise InputError(
                f"--out {self.out} and --data {self.data}: one lies in the other; choose an --out elsewhere"
            )


def make_parser() -> OneLineParser:
    """Return the parser of the command line."""
    parser = OneLineParser(
        prog=called_as("jobs/augment.py"),
        description="Make a balanced training set from a folder of photos per person: the same number of images for "
        "each person, the photos themselves and renders of them at other head poses. An interrupted job continues "
        "where it was; a finished one changes nothing when it is run again.",
        epilog="Exit codes: 0 done; 1 a person has too few images or too many photos failed; 2 unusable input.",
    )
    parser.add_argument(
        "--data", required=True, help="one folder of photos per person: a path, s3://... or gs://..."
    )
    parser.add_argument(
        "--out",
        required=True,
        help="where to write the set; new, empty, or from an earlier run: a path or a URI",
    )
    parser.add_argument("--per-class", type=int, required=True, help="number of images for each person")
    parser.add_argument(
        "--size", type=int, default=150, help="width and height of the images in pixels (%(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="another seed makes another set (%(default)s)")
    parser.add_argument(
        "--hold-out", type=int, default=0, help="set aside N photos of each person who has more", metavar="N"
    )
    parser.add_argument(
        "--faces",
        choices=POLICIES,
        default="central",
        help="which face to use if there are several (%(default)s)",
    )
    parser.add_argument(
        "--detector",
        choices=tuple(SOURCES),
        default=DEFAULT_DETECTOR,
        help="what finds the faces (%(default)s)",
    )
    parser.add_argument(
        "--max-failed", type=float, default=0.05, help="fraction of photos that may fail (%(default)s)"
    )
    parser.add_argument("--workers", type=int, default=None, help="number of worker processes (one per core)")
    parser.add_argument(
        "--format", choices=FORMATS, default=FOLDER, help="format of the images (%(default)s)"
    )
    parser.add_argument(
        "--head-model", default="built-in", help="head model: built-in, ict:DIR or views:DIR (%(default)s)"
    )
    parser.add_argument(
        "--views",
        choices=POSES,
        default=SPREAD,
        help="views spread over the poses of photos, or the poses and ten head shapes of the paper (%(default)s)",
    )
    parser.add_argument(
        "--effects",
        default="none",
        metavar="NAMES",
        help=f"effects that some renders get: none, all, or some of {', '.join(EFFECTS)}, separated by commas "
        "(%(default)s)",
    )
    return parser


def parse_arguments(arguments: Sequence[str] | None, *, submitted: bool) -> AugmentSettings:
    """Read a command line.

    Args:
        arguments: arguments without the program's name; None for those of this process.
        submitted: the job runs in a copy of the working directory (`ray job submit`), where relative paths are of no
            use.

    Raises:
        InputError: the call is wrong.
        SystemExit: the call asks for --help.
    """
    values = vars(make_parser().parse_args(arguments))
    values["effects"] = effect_names(values["effects"])
    for name in ("data", "out"):
        check_place(f"--{name}", values[name], submitted=submitted)
    return AugmentSettings(**values)
