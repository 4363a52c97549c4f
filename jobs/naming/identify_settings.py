"""Read and check the command line of `jobs/identify.py`."""

from collections.abc import Sequence
from dataclasses import dataclass

from augmentor.command_line import called_as
from augmentor.errors import InputError
from augmentor.faces.face_search import Policy
from jobs.cluster.command_line import OneLineParser, check_place, lies_in


@dataclass(frozen=True)
class IdentifySettings:
    """The checked command line of `jobs/identify.py`; its --help explains the values.

    Raises:
        InputError: a value is out of range, or the table lies among the photos.
    """

    model: str
    data: str
    out: str
    fpir: float = 0.01
    faces: Policy = "all"
    workers: int | None = None
    max_failed: float = 0.05

    def __post_init__(self) -> None:
        if not 0 < self.fpir < 1:
            raise InputError(
                f"--fpir {self.fpir:g}: must be a fraction between 0 and 1, such as 0.01 for one stranger in a hundred"
            )
        if not 0 <= self.max_failed <= 1:
            raise InputError(
                f"--max-failed {self.max_failed:g}: must be a fraction from 0 to 1, such as 0.05 for five in a hundred"
            )
        if self.workers is not None and self.workers < 1:
            raise InputError(f"--workers {self.workers}: at least 1 is needed")
        if lies_in(self.out, self.data):
            raise InputError(
                f"--out {self.out}: lies among the photos of --data {self.data}; choose an --out elsewhere"
            )


def make_parser() -> OneLineParser:
    """Return the parser of the command line."""
    parser = OneLineParser(
        prog=called_as("jobs/identify.py"),
        description="Name everybody in the photos of an archive, into a Parquet table with one row for each face, and "
        "one for each photo without a face or that cannot be read. An interrupted job continues where it was; a "
        "finished one changes nothing when it is run again.",
        epilog="Exit codes: 0 done; 1 too many photos cannot be read; 2 unusable input.",
    )
    parser.add_argument(
        "--model",
        required=True,
        metavar="RUN",
        help="run of identity.train: a path that every node can reach, or a URI",
    )
    parser.add_argument(
        "--data", required=True, metavar="PHOTOS", help="photos at any depth: a path, s3://... or gs://..."
    )
    parser.add_argument(
        "--out",
        required=True,
        metavar="TABLE.parquet",
        help="table to write; new, or from the same call: a path or a URI",
    )
    parser.add_argument(
        "--fpir",
        type=float,
        default=0.01,
        help="share of strangers who may be given somebody's name (%(default)s)",
    )
    parser.add_argument(
        "--faces",
        choices=("all", "central", "largest"),
        default="all",
        help="which faces to use if there are several (%(default)s)",
    )
    parser.add_argument("--workers", type=int, default=None, help="number of worker processes (one per core)")
    parser.add_argument(
        "--max-failed",
        type=float,
        default=0.05,
        help="fraction of photos that may be unreadable (%(default)s)",
    )
    return parser


def parse_arguments(arguments: Sequence[str] | None, *, submitted: bool) -> IdentifySettings:
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
    for name in ("model", "data", "out"):
        check_place(f"--{name}", values[name], submitted=submitted)
    return IdentifySettings(**values)
