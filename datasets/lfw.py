"""Download Labeled Faces in the Wild: `python -m datasets.lfw --out DIR`; see `augmentor.photos.lfw`."""

import sys

from augmentor.photos.lfw import main

if __name__ == "__main__":
    sys.exit(main())
