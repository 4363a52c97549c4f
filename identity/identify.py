"""Name the people in photos: `python -m identity.identify --model RUN [--fpir 0.01] PHOTO...`.

PHOTO is a photo or a folder of photos. The command prints one line with a JSON object for every photo, also for
unreadable ones, and nothing else on stdout; `identity.runs.recogniser` describes the objects.

Exit codes: 0, done; 2, wrong call or unusable run, explained by one line on stderr.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from augmentor.command_line import CommandParser, called_as
from augmentor.errors import LikenessError
from identity.chips.many_photos import available_cores
from identity.chips.photo_lists import photos_at
from identity.networks.tensorflow_loading import load_tensorflow

_MANY = 32  # from this many photos on, starting several processes saves more time than it takes


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = CommandParser(
        prog=called_as("python -m identity.identify"),
        description="Name the people in photos, with one line of JSON per photo.",
    )
    parser.add_argument("--model", type=Path, required=True, metavar="RUN", help="a trained run")
    parser.add_argument(
        "--fpir", type=float, default=0.01, help="share of strangers who may be given a name (0.01)"
    )
    parser.add_argument(
        "--faces",
        choices=("all", "central", "largest"),
        default="all",
        help="which faces of a photo to name (all)",
    )
    parser.add_argument(
        "--workers",
        type=int,
        help="number of processes that detect faces (1; with 32 photos or more, all cores)",
    )
    parser.add_argument("photos", type=Path, nargs="+", metavar="PHOTO", help="a photo or a folder of photos")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    options = make_parser().parse_args(arguments)
    try:
        paths = photos_at(options.photos)
        load_tensorflow()
        from identity.runs.bundle import Bundle
        from identity.runs.recogniser import Recogniser

        recogniser = Recogniser(Bundle.load(options.model), options.fpir, options.faces)
        bar = tqdm(total=len(paths), unit="photo", disable=None)  # shown only if stderr is a terminal
        workers = options.workers or (available_cores() if len(paths) >= _MANY else 1)
        for recognition in recogniser.files(paths, workers):
            print(json.dumps(recognition.as_json(), ensure_ascii=False), flush=True)
            if recognition.status == "ok" and recognition.detail:
                tqdm.write(f"{recognition.photo}: {recognition.detail}", file=sys.stderr)
            bar.update()
        bar.close()
    except LikenessError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
