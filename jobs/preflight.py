"""Check what is missing for a job before it is started.

    python -m jobs.preflight --cluster jobs/cluster.yaml --data URI --out URI     where you submit from
    python -m jobs.preflight --here --data URI --out URI                          on a node

Prints one line for everything that is checked, with what to do if something is missing. Machines that are set up
already also check themselves.
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
    """Run the checks, print the results, and return the exit code."""
    # Storage that does not answer should be reported soon, not after the patience of a job.
    os.environ.setdefault(PATIENCE, "5")
    try:
        options = make_parser().parse_args(arguments)
        if options.here:
            findings = node_findings(options.data, options.out)
        else:
            require_extra("cluster", CLUSTER_MODULES)
            findings = cluster_findings(options.cluster, options.data, options.out)
    except LikenessError as error:
        print(f"preflight: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    _print(findings, options.json)
    return 0 if all(finding.ok for finding in findings) else 2


def make_parser() -> OneLineParser:
    """Return the parser of the command line."""
    parser = OneLineParser(
        prog=called_as("python -m jobs.preflight"),
        description="Check whether everything that a job needs is there, with one line for each thing.",
        epilog="Exit codes: 0 everything is there; 2 something is missing, or the call is wrong.",
    )
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument(
        "--cluster", type=Path, metavar="FILE", help="check a cluster file, and its machines by ssh"
    )
    where.add_argument("--here", action="store_true", help="check this machine, as one that will do the work")
    parser.add_argument("--data", help="the job's --data")
    parser.add_argument("--out", help="the job's --out")
    parser.add_argument("--json", action="store_true", help="print one JSON object on one line instead")
    return parser


def _print(findings: Sequence[Finding], as_json: bool) -> None:
    missing = sum(not finding.ok for finding in findings)
    if as_json:
        print(json.dumps({"missing": missing, "findings": [asdict(finding) for finding in findings]}))
        return
    for finding in findings:
        print(finding.line())
    print(f"{missing} of {len(findings)} are missing" if missing else "everything is there")


def run(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and end the process, even while a check of storage is still running."""
    exit_code = main(arguments)
    if threading.active_count() > 1:  # Python would wait for the check
        sys.stdout.flush()
        os._exit(exit_code)
    sys.exit(exit_code)


if __name__ == "__main__":
    run()
