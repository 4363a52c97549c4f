"""The head and the views that photos are rendered into, as `--head-model` names them.

built-in     the project's head, with views made from it
ict:DIR      a user's ICT-FaceKit checkout, with views made from it
views:DIR    ready views from the `.mat` models of Masi et al. in DIR; photos are fitted with the built-in head
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from augmentor.head.chosen_head import load_chosen_head
from augmentor.head.head_model import HeadModel, load_head_model
from augmentor.views.head_view import make_view
from augmentor.views.mat_views import load_mat_views
from augmentor.views.view import View
from augmentor.views.view_key import ViewKey, paper_view_keys, spread_view_keys

READY = "views:"


@dataclass(frozen=True)
class ViewSet:
    """A head model and its views.

    Attributes:
        head: the head model that photos are fitted with.
        keys: names of the views.
        size: side of the renders, pixels.
        ready: name → view, for views that exist already; the others are made from the head.
    """

    head: HeadModel
    keys: Sequence[ViewKey]
    size: int
    ready: dict[str, View] = field(default_factory=dict)

    def view(self, key: ViewKey) -> View:
        """Return the view of one key; making a view takes 0.1 s."""
        return self.ready[key.name] if key.name in self.ready else make_view(self.head, key, self.size)

    @property
    def digest(self) -> str:
        """A hexadecimal digest that differs for another head or other views."""
        digest = hashlib.sha256(self.head.mean.tobytes() + self.head.identity_modes.tobytes())
        for key in self.keys:
            digest.update(key.name.encode())
            if key.name in self.ready:
                digest.update(self.ready[key.name].position.tobytes())
        return digest.hexdigest()


SPREAD, PAPER = "spread", "paper"
POSES = (SPREAD, PAPER)


def load_view_set(
    spec: str, size: int, seed: int, poses: str = SPREAD, offsets: np.ndarray | None = None
) -> ViewSet:
    """Load the head and views that `spec` names; the module lists the possible values.

    Args:
        spec: value of `--head-model`.
        size: side of the renders, pixels.
        seed: seed of the drawn views; ready views and those of the paper do not depend on it.
        poses: `spread` over the poses of photos, or `paper`, the poses of Masi et al.; ready views have their own.
        offsets: (68, 3) mm, the offsets of the face source (`FaceSource.offsets`); None: dlib's.

    Raises:
        InputError: the spec is unknown, or files are missing or damaged.
    """
    if not spec.startswith(READY):
        keys = paper_view_keys() if poses == PAPER else spread_view_keys(seed)
        return ViewSet(_for_source(load_chosen_head(spec), offsets), keys, size)
    head = _for_source(load_head_model(), offsets)
    ready = load_mat_views(Path(spec.removeprefix(READY)), head, size)
    return ViewSet(head, [view.key for view in ready], size, {view.key.name: view for view in ready})


def _for_source(head: HeadModel, offsets: np.ndarray | None) -> HeadModel:
    return head if offsets is None else head.with_landmark_offsets(offsets)
