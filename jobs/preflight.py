"""What is missing for a job, said before an hour is lost.

    python -m jobs.preflight --cluster jobs/cluster.yaml --data URI --out URI     where you submit from
    python -m jobs.preflight --here --data URI --out URI                          on a node

One line for everything looked at, with the way out where something is missing. Machines that are set up already
are asked to look at themselves as well.
"""

import argparse
import json
import os
import sys
import threading
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from augmentor.errors import LikenessError
from augmentor.photos.place import PATIENCE
from jobs.cluster.check_result import Finding
from jobs.cluster.cluster_check import cluster_findings
from jobs.cluster.command_line import OneLineParser
from jobs.cluster.node_check import node_findings


def main(arguments: Sequence[str] | None = None) -> int:
    """Look and tell; returns the exit code."""
    # Who waits for this would rather know now that storage does not answer.
    os.environ.setdefault(PATIENCE, "5")
    try:
        asked = _parse(arguments)
        if asked.here:
            findings = node_findings(asked.data, asked.out)
        else:
            findings = cluster_findings(asked.cluster, asked.data, asked.out)
    except LikenessError as error:
        print(f"preflight: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    _tell(findings, asked.json)
    return 0 if all(finding.ok for finding in findings) else 2


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = OneLineParser(
        prog="python -m jobs.preflight",
        description="Whether everything a job needs is there, one line each.",
        epilog="Exit codes: 0 everything is there; 2 something is missing, or the call is wrong.",
    )
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--cluster", type=Path, metavar="FILE", help="a cluster file, and its machines by ssh")
    where.add_argument("--here", action="store_true", help="this machine, as one that is to do the work")
    parser.add_argument("--data", help="the job's --data")
    parser.add_argument("--out", help="the job's --out")
    parser.add_argument("--json", action="store_true", help="one object on one line instead")
    return parser.parse_args(arguments)


def _tell(findings: Sequence[Finding], as_json: bool) -> None:
    missing = sum(not finding.ok for finding in findings)
    if as_json:
        print(json.dumps({"missing": missing, "findings": [asdict(finding) for finding in findings]}))
        return
    for finding in findings:
        print(finding.line())
    print(f"{missing} of {len(findings)} are missing" if missing else "everything is there")


if __name__ == "__main__":
    exit_code = main()
    if threading.active_count() > 1:  # storage is still being asked, and would be waited for
        sys.stdout.flush()
        os._exit(exit_code)
    sys.exit(exit_code)
