"""Make a balanced training set from a folder of photos per person: `python jobs/augment.py --help`.

Only a way in: `ray submit jobs/cluster.yaml jobs/augment.py -- ...` copies this one file to the cluster, whose nodes
have the packages installed. Everything else is in `jobs.balancing.augment_job`.
"""

import sys
from pathlib import Path

if (Path(__file__).resolve().parent / "__init__.py").exists():
    # In a checkout: use its packages, and not this folder as a place to import from.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from jobs.balancing.augment_job import main

if __name__ == "__main__":
    sys.exit(main())
