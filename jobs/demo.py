"""Run the whole pipeline on made-up people, from nothing to a report: `likeness demo`, `make demo`.

Every step is a command that a user could type, and is printed before it runs. The demo needs no checkout: it works in
any folder, with nothing but the installed package.
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from augmentor.command_line import CommandParser, called_as
from augmentor.errors import InputError, LikenessError

MARK = ".likeness-demo"
LIKENESS = Path(__file__).with_name("likeness.py")


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = CommandParser(prog=called_as("python -m jobs.demo"), description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("demo"), help="folder for everything the demo makes")
    parser.add_argument("--identities", type=int, default=20, help="number of made-up people (20)")
    parser.add_argument("--per-class", type=int, default=32, help="images for each person (32)")
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same result (0)")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo and return its exit code; the last lines printed are the rank-1 rate and the report's path."""
    options = make_parser().parse_args(arguments)
    try:
        began = time.monotonic()
        result = run_demo(options.out, options.identities, options.per_class, options.seed)
    except LikenessError as error:
        print(error, file=sys.stderr)
        return 2
    except subprocess.CalledProcessError as error:
        print(f"the demo stopped: the command above ended with {error.returncode}", file=sys.stderr)
        return error.returncode
    print(
        f"\nThe demo took {time.monotonic() - began:.0f} s. Its people are made up, so its numbers show that"
    )
    print("everything works here, not how well the model names real people; for that see the README.")
    print(f"rank-1 {result['rank1']:.3f}")
    print(options.out / "report" / "index.html")
    return 0


def run_demo(out: Path, identities: int, per_class: int, seed: int) -> dict[str, float]:
    """Draw people, balance their photos, train and evaluate.

    Args:
        out: folder for everything the demo makes.
        identities: number of people.
        per_class: images for each person in the balanced set.
        seed: seed of everything random.

    Returns:
        The object that `likeness evaluate --json` printed.

    Raises:
        InputError: `out` holds something other than an earlier demo.
        subprocess.CalledProcessError: a step failed.
    """
    start_clean(out)
    people, balanced, run = out / "people", out / "balanced", out / "run"
    step(
        "Draw made-up people: a few photos each, and strangers",
        ["synthetic", "--out", people, "--identities", identities, "--photos", "3-6"]
        + ["--strangers", 80, "--seed", seed],
    )
    calibration, test = split_strangers(people / "strangers", out)
    step(
        "Balance them: render each photo at other poses and onto other heads",
        ["augment", "--data", people / "photos", "--out", balanced]
        + ["--per-class", per_class, "--hold-out", 1, "--seed", seed],
    )
    step(
        "Train: frozen features, a head, and thresholds from strangers",
        ["train", "--data", balanced, "--out", run, "--strangers", calibration],
    )
    printed = step(
        "Evaluate on the photos that were held out and on new strangers",
        ["evaluate", "--model", run, "--probes", balanced / "holdout", "--strangers", test]
        + ["--json", "--report", out / "report"],
    )
    result: dict[str, float] = json.loads(printed.strip().splitlines()[-1])
    return result


def start_clean(out: Path) -> None:
    """Make an empty folder for the demo; one from an earlier demo is emptied.

    Raises:
        InputError: the folder holds something else.
    """
    if out.exists() and any(out.iterdir()):
        if not (out / MARK).exists():
            raise InputError(
                f"{out}: not empty, and not from an earlier demo; choose another folder with --out"
            )
        shutil.rmtree(out)
    out.mkdir(parents=True, exist_ok=True)
    (out / MARK).touch()


def split_strangers(strangers: Path, out: Path) -> tuple[Path, Path]:
    """Copy half of the strangers to a folder for setting thresholds and the other half to one for measuring."""
    folders = out / "strangers_calibration", out / "strangers_test"
    for folder in folders:
        folder.mkdir()
    for k, photo in enumerate(sorted(strangers.iterdir())):
        shutil.copy(photo, folders[k % 2])
    return folders


def step(title: str, words: Sequence[object]) -> str:
    """Print and run a `likeness` command, and pass its output on to the user.

    Args:
        title: what the command is for.
        words: the command's name and arguments.

    Returns:
        What it printed on standard output.

    Raises:
        subprocess.CalledProcessError: the command failed.
    """
    typed = [str(word) for word in words]
    print(f"\n== {title}\n$ likeness {' '.join(typed)}", flush=True)
    command = [sys.executable, str(LIKENESS), *typed]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, encoding="utf-8") as process:
        assert process.stdout
        lines = []
        for line in process.stdout:
            lines.append(line)
            print(line, end="", flush=True)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return "".join(lines)


if __name__ == "__main__":
    sys.exit(main())
