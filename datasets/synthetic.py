"""Make people up: `python -m datasets.synthetic --out DIR`. The work is done by `augmentor.made_up.people`."""

import sys

from augmentor.made_up.people import main

if __name__ == "__main__":
    sys.exit(main())
