"""Download Labeled Faces in the Wild: `python -m datasets.lfw --out DIR`. `augmentor.photos.lfw` does the work."""

import sys

from augmentor.photos.lfw import main

if __name__ == "__main__":
    sys.exit(main())
