"""Run every step on made-up people, from drawing their photos to a report: `likeness demo`, `make demo`.

Each step is a command that a user would type. It is printed before it runs. The demo needs no checkout: it works in any
folder, with nothing but the installed package.
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from augmentor.command_line import called_as
from augmentor.errors import InputError, LikenessError

MARK = ".likeness-demo"
LIKENESS = Path(__file__).with_name("likeness.py")


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog=called_as("python -m jobs.demo"), description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--out", type=Path, default=Path("demo"), help="folder for everything the demo makes")
    parser.add_argument("--identities", type=int, default=20)
    parser.add_argument("--per-class", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo and print the rank-1 rate and the report's path as its last two lines; returns the exit code."""
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
        f"\nThe demo took {time.monotonic() - began:.0f} s. These people are made up: the numbers show that everything"
    )
    print("works on this machine, and not how well real people are named. The README has those numbers.")
    print(f"rank-1 {result['rank1']:.3f}")
    print(options.out / "report" / "index.html")
    return 0


def run_demo(out: Path, identities: int, per_class: int, seed: int) -> dict[str, float]:
    """Draw people, balance their photos, train and evaluate.

    Args:
        out: folder for everything that the steps write.
        identities: how many people to enrol.
        per_class: images of each person in the balanced set.
        seed: of everything random.

    Returns:
        The values that `likeness evaluate --json` printed.

    Raises:
        InputError: `out` holds something that is not an earlier demo's.
        subprocess.CalledProcessError: a step failed.
    """
    start_clean(out)
    people, balanced, run = out / "people", out / "balanced", out / "run"
    step(
        "Draw made-up people, a few photos of each, and strangers",
        ["synthetic", "--out", people, "--identities", identities, "--photos", "3-6"]
        + ["--strangers", 80, "--seed", seed],
    )
    calibration, test = split_strangers(people / "strangers", out)
    step(
        "Balance them: render each photo at other poses and on other heads",
        ["augment", "--data", people / "photos", "--out", balanced]
        + ["--per-class", per_class, "--hold-out", 1, "--seed", seed],
    )
    step(
        "Train: frozen features, a head, thresholds from strangers",
        ["train", "--data", balanced, "--out", run, "--strangers", calibration],
    )
    printed = step(
        "Evaluate on held-out photos and on other strangers",
        ["evaluate", "--model", run, "--probes", balanced / "holdout", "--strangers", test]
        + ["--json", "--report", out / "report"],
    )
    result: dict[str, float] = json.loads(printed.strip().splitlines()[-1])
    return result


def start_clean(out: Path) -> None:
    """Make an empty folder for the demo. A folder of an earlier demo is emptied.

    Raises:
        InputError: the folder holds something else.
    """
    if out.exists() and any(out.iterdir()):
        if not (out / MARK).exists():
            raise InputError(f"{out}: not empty and not an earlier demo's; name another folder with --out")
        shutil.rmtree(out)
    out.mkdir(parents=True, exist_ok=True)
    (out / MARK).touch()


def split_strangers(strangers: Path, out: Path) -> tuple[Path, Path]:
    """Split the strangers into those that set the thresholds and those to measure with; returns the two folders."""
    folders = out / "strangers_calibration", out / "strangers_test"
    for folder in folders:
        folder.mkdir()
    for k, photo in enumerate(sorted(strangers.iterdir())):
        shutil.copy(photo, folders[k % 2])
    return folders


def step(title: str, words: Sequence[object]) -> str:
    """Print and run a command of `likeness`, whose output the user sees, too.

    Args:
        title: what the command is for.
        words: its name and arguments.

    Returns:
        What it printed on standard output.

    Raises:
        subprocess.CalledProcessError: it failed.
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
