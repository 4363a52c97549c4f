"""Make a trained run of dlib's features without training."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from identity.chips.photo_faces import PhotoReader
from identity.decisions.acceptance import DecisionConstants, LeadAndCrowding
from identity.decisions.open_set import Decision, ProbabilityCurve
from identity.networks.embedding import load_embedder
from identity.networks.face_space import unit
from identity.runs.bundle import Bundle
from identity.runs.enrolled_people import EnrolledPeople


def write_dlib_run(people: Path, labels: Sequence[str], folder: Path) -> None:
    """Save a run in `folder` with these people enrolled, by all their photos in `people`/<name>."""
    reader, networks = PhotoReader(150, policy="central"), load_embedder(("dlib",))
    templates = []
    for label in labels:
        chips = [chip for photo in sorted((people / label).iterdir()) for chip in reader.file(photo).chips]
        templates.append(networks.probes(np.stack(chips))["dlib"].mean(0))
    Bundle(
        people=EnrolledPeople(
            labels=tuple(labels),
            part_templates={"dlib": unit(np.array(templates))},
            decision=Decision(
                LeadAndCrowding(DecisionConstants(), np.zeros(len(labels), np.float32)),
                {"fpir_1": 0.8, "fpir_10": 0.5},
                ProbabilityCurve(5.0, -3.0),
                {"mated": 8.0, "strangers": 10.0},
            ),
            sources=pa.table(
                {"photo": [""], "sha256": [""], "phash": pa.array([0], pa.uint64()), "identity": [""]}
            ),
        ),
        features="dlib",
        shares={"dlib": 1.0},
        size=150,
        stranger_mean=np.zeros(128, np.float32),
    ).save(folder)
