"""What is missing for a job, said before an hour is lost.

    python -m jobs.preflight --cluster jobs/cluster.yaml --data URI --out URI     where you submit from
    python -m jobs.preflight --here --data URI --out URI                          on a node

One line for everything looked at, with the way out where something is missing. Machines that are set up already
are asked to look at themselves as well.
"""

import json
import os
import sys
import threading
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NoReturn

from augmentor.command_line import called_as, require_extra
from augmentor.errors import LikenessError
from augmentor.photos.place import PATIENCE
from jobs.cluster.check_result import Finding
from jobs.cluster.cluster_check import cluster_findings
from jobs.cluster.command_line import OneLineParser
from jobs.cluster.node_check import node_findings

# The dashboard of Ray, which `ray job submit` talks to, needs aiohttp_cors; plain Ray comes without it.
CLUSTER_MODULES = ("yaml", "aiohttp_cors")


def main(arguments: Sequence[str] | None = None) -> int:
    """Look and tell; returns the exit code."""
    # Who waits for this would rather know now that storage does not answer.
    os.environ.setdefault(PATIENCE, "5")
    try:
        asked = make_parser().parse_args(arguments)
        if asked.here:
            findings = node_findings(asked.data, asked.out)
        else:
            require_extra("cluster", CLUSTER_MODULES)
            findings = cluster_findings(asked.cluster, asked.data, asked.out)
    except LikenessError as error:
        print(f"preflight: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    _tell(findings, asked.json)
    return 0 if all(finding.ok for finding in findings) else 2


def make_parser() -> OneLineParser:
    """Return the parser of the command line."""
    parser = OneLineParser(
        prog=called_as("python -m jobs.preflight"),
        description="Whether everything a job needs is there, one line each.",
        epilog="Exit codes: 0 everything is there; 2 something is missing, or the call is wrong.",
    )
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--cluster", type=Path, metavar="FILE", help="a cluster file, and its machines by ssh")
    where.add_argument("--here", action="store_true", help="this machine, as one that is to do the work")
    parser.add_argument("--data", help="the job's --data")
    parser.add_argument("--out", help="the job's --out")
    parser.add_argument("--json", action="store_true", help="one object on one line instead")
    return parser


def _tell(findings: Sequence[Finding], as_json: bool) -> None:
    missing = sum(not finding.ok for finding in findings)
    if as_json:
        print(json.dumps({"missing": missing, "findings": [asdict(finding) for finding in findings]}))
        return
    for finding in findings:
        print(finding.line())
    print(f"{missing} of {len(findings)} are missing" if missing else "everything is there")


def run(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and end the process, also while storage that never answers is still being asked."""
    exit_code = main(arguments)
    if threading.active_count() > 1:
        sys.stdout.flush()
        os._exit(exit_code)
    sys.exit(exit_code)


if __name__ == "__main__":
    run()
