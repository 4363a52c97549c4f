"""Make the space of dlib's embedding that the package contains, from embeddings of unlabelled faces.

python -m identity.pretraining.dlib_space --teacher faces_unlabelled_dlib.npz --out identity/weights/dlib_space.npz
"""

import argparse
import hashlib
import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from augmentor.errors import LikenessError
from augmentor.photos.images import write_whole
from identity.networks.face_space import CENTRE, EVENNESS, FILE, face_space
from identity.pretraining.teacher_file import read_teacher

_TERMS = "statistics (a mean, a covariance) of faces that may be used for non-commercial research; no person in them"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m identity.pretraining.dlib_space", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument(
        "--teacher", type=Path, required=True, help="npz with `embeddings` (N, 128) of unlabelled faces"
    )
    parser.add_argument("--out", type=Path, default=FILE, help="file to write; its card is written beside it")
    options = parser.parse_args(arguments)
    try:
        _, embeddings = read_teacher(options.teacher)
        space = face_space(embeddings)
        buffer = io.BytesIO()
        np.savez(buffer, origin=space.origin, matrix=space.matrix)
        digest = hashlib.sha256(buffer.getvalue()).hexdigest()
        card = {
            "name": "dlib_space",
            "faces": len(embeddings),
            "centre": CENTRE,
            "evenness": EVENNESS,
            "terms": _TERMS,
            "sha256": digest,
        }
        write_whole(options.out, buffer.getvalue())
        write_whole(options.out.with_suffix(".json"), (json.dumps(card, indent=2) + "\n").encode())
    except LikenessError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{options.out}: made from {len(embeddings)} faces, sha256 {digest[:12]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
