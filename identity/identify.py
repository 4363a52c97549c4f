"""Name the people on photos: `python -m identity.identify --model RUN [--fpir 0.01] PHOTO...`.

PHOTO is a photo or a folder of photos. Prints one JSON object a line for every photo, unreadable ones too, and nothing
else on stdout; see `identity.runs.recogniser`. Exit code 0: done; 2: wrong call or no usable run, one line on stderr.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from augmentor.errors import LikenessError
from identity.chips.many_photos import available_cores
from identity.chips.photo_lists import photos_at
from identity.networks.tensorflow_loading import load_tensorflow

_MANY = 32  # photos, for which starting more processes takes less time than it saves


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m identity.identify", description="Name the people on photos, one JSON line each."
    )
    parser.add_argument("--model", type=Path, required=True, metavar="RUN", help="a trained run")
    parser.add_argument("--fpir", type=float, default=0.01, help="share of strangers who may be given a name")
    parser.add_argument(
        "--faces", choices=("all", "central", "largest"), default="all", help="which faces of a photo count"
    )
    parser.add_argument(
        "--workers", type=int, help="processes that look for faces (all cores for 32 photos and more)"
    )
    parser.add_argument("photos", type=Path, nargs="+", metavar="PHOTO", help="photo or folder of photos")
    options = parser.parse_args(arguments)
    try:
        paths = photos_at(options.photos)
        load_tensorflow()
        from identity.runs.bundle import Bundle
        from identity.runs.recogniser import Recogniser

        recogniser = Recogniser(Bundle.load(options.model), options.fpir, options.faces)
        bar = tqdm(total=len(paths), unit="photo", disable=None)  # none where stderr is no terminal
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
