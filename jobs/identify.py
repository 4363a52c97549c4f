"""Name everybody on the photos of an archive, into a Parquet table: `python jobs/identify.py --help`.

Only a way in, like `jobs/augment.py`: everything else is in `jobs.naming.identify_job`.
"""

import sys
from pathlib import Path

if (Path(__file__).resolve().parent / "__init__.py").exists():
    # In a checkout: use its packages, and not this folder as a place to import from.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from jobs.naming.identify_job import main

if __name__ == "__main__":
    sys.exit(main())
