"""Draw photos of people who do not exist: `python -m datasets.synthetic --out DIR`; see `augmentor.made_up.people`."""

import sys

from augmentor.made_up.people import main

if __name__ == "__main__":
    sys.exit(main())
