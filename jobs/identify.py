"""Name everybody in the photos of an archive, into a Parquet table: `python jobs/identify.py --help`.

This file is only an entry point, like `jobs/augment.py`; the job itself is in `jobs.naming.identify_job`.
"""

import sys
from pathlib import Path

if (Path(__file__).resolve().parent / "__init__.py").exists():
    # In a checkout: import from its packages, and not from this folder.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from jobs.naming.identify_job import main

if __name__ == "__main__":
    sys.exit(main())
