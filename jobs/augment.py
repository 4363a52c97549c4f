"""Make a balanced training set from a folder of photos per person: `python jobs/augment.py --help`.

This file is only an entry point. `ray submit jobs/cluster.yaml jobs/augment.py -- ...` copies this one file to the
cluster, whose nodes have the packages installed. The job itself is in `jobs.balancing.augment_job`.
"""

import sys
from pathlib import Path

if (Path(__file__).resolve().parent / "__init__.py").exists():
    # In a checkout: import from its packages, and not from this folder.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from jobs.balancing.augment_job import main

if __name__ == "__main__":
    sys.exit(main())
