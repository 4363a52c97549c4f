"""The command line of `jobs/identify.py`, checked."""

from collections.abc import Sequence
from dataclasses import dataclass

from augmentor.errors import InputError
from augmentor.faces.face_search import Policy
from jobs.cluster.command_line import OneLineParser, check_place, lies_in


@dataclass(frozen=True)
class IdentifySettings:
    """What `jobs/identify.py` is asked to do; see its --help.

    Raises:
        InputError: a value out of range, or a table among the photos.
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
                f"--fpir {self.fpir:g}: a fraction between 0 and 1, 0.01 for one stranger in a hundred"
            )
        if not 0 <= self.max_failed <= 1:
            raise InputError(
                f"--max-failed {self.max_failed:g}: a fraction from 0 to 1, 0.05 for five in a hundred"
            )
        if self.workers is not None and self.workers < 1:
            raise InputError(f"--workers {self.workers}: at least 1 is needed to do the work")
        if lies_in(self.out, self.data):
            raise InputError(
                f"--out {self.out}: lies among the photos of --data {self.data}; choose an --out elsewhere"
            )


def parse_arguments(arguments: Sequence[str] | None, *, submitted: bool) -> IdentifySettings:
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
        prog="jobs/identify.py",
        description="Name everybody on the photos of an archive, into a Parquet table with a row for each face, and "
        "one for each photo without a face or that cannot be read. Interrupted, it goes on where it was; run again, "
        "it changes nothing.",
        epilog="Exit codes: 0 done; 1 too many photos cannot be read; 2 unusable input.",
    )
    parser.add_argument(
        "--model",
        required=True,
        metavar="RUN",
        help="of identity.train; a path that every node sees, or a URI",
    )
    parser.add_argument(
        "--data", required=True, metavar="PHOTOS", help="photos at any depth: a path, s3://... or gs://..."
    )
    parser.add_argument(
        "--out", required=True, metavar="TABLE.parquet", help="the table, likewise; new, or of the same call"
    )
    parser.add_argument(
        "--fpir", type=float, default=0.01, help="share of strangers who may be given a name (%(default)s)"
    )
    parser.add_argument(
        "--faces",
        choices=("all", "central", "largest"),
        default="all",
        help="which, if there are several (%(default)s)",
    )
    parser.add_argument("--workers", type=int, default=None, help="processes that do the work (one per core)")
    parser.add_argument(
        "--max-failed",
        type=float,
        default=0.05,
        help="fraction of photos that may be unreadable (%(default)s)",
    )
    values = vars(parser.parse_args(arguments))
    for name in ("model", "data", "out"):
        check_place(f"--{name}", values[name], submitted=submitted)
    return IdentifySettings(**values)
