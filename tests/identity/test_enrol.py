"""A person who is enrolled later is named like everybody else, and nobody else changes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from augmentor.errors import InputError
from identity.chips.photo_faces import PhotoFaces
from identity.decisions.acceptance import DecisionConstants, LeadAndCrowding
from identity.decisions.pose_templates import NO_SIDE, side_of
from identity.enrol import main
from identity.networks.face_space import unit
from identity.runs.bundle import Bundle
from identity.runs.enrolment import enrol, taken_for, wanted_renders
from tests.identity.changed_run import crowding_of, with_crowding, with_decision, with_people
from tests.identity.runs.test_bundle import small_bundle
from tests.stand_in_faces import one_face


class ColourEmbedder:
    """A stand-in for the networks: a chip's embedding is its mean colour minus grey."""

    def once(self, chips: np.ndarray) -> dict[str, np.ndarray]:
        colours = chips.reshape(len(chips), -1, 3).mean(axis=1) - 100
        return {"dlib": colours, "head": colours[:, ::-1]}

    def compared(self, parts: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {part: unit(rows) for part, rows in parts.items()}

    def probes(self, chips: np.ndarray) -> dict[str, np.ndarray]:
        return self.compared(self.once(chips))

    def probes_and_likeness(self, chips: np.ndarray) -> tuple[dict, dict]:
        probes = self.probes(chips)
        return probes, {part: np.ones(len(chips)) for part in probes}

    def probes_and_gallery(self, chips: np.ndarray, seed: int) -> tuple[dict, dict]:
        return self.probes(chips), self.probes(chips)


def trained(people: int = 3, seed: int = 0) -> Bundle:
    """A run of people who differ by colour, with the same crowding for everybody."""
    colours = np.random.default_rng(seed).normal(size=(people, 3))
    bundle = small_bundle()
    bundle = with_people(
        bundle,
        labels=tuple(f"person {k}" for k in range(people)),
        part_templates={"dlib": unit(colours), "head": unit(colours[:, ::-1])},
        decision=replace(
            bundle.decision,
            acceptance=LeadAndCrowding(DecisionConstants(), np.full(people, 0.25, np.float32)),
            calibration={"mated": 1.0, "strangers": 10.0 * people},
        ),
    )
    bundle = replace(bundle, about={}, model_card="# Model card\n\n- seed 0\n\n## Calibration\n")
    bundle._embedder = ColourEmbedder()  # type: ignore[assignment]
    return bundle


def photo(colour: tuple[int, int, int], number: int = 0) -> PhotoFaces:
    chip = np.full((8, 8, 3), colour, np.uint8)
    digest = f"{hash(colour) & 0xFFFF:08x}{number:08x}"
    return one_face(Path(f"{digest}.jpg"), chip, digest, hash((colour, number)) & (2**63 - 1))


def test_the_new_persons_template_is_the_unit_mean_of_the_photos() -> None:
    grown = enrol(trained(), "Ann Other", [photo((200, 100, 100)), photo((100, 200, 100), 1)])
    assert grown.labels[-1] == "Ann Other"
    np.testing.assert_allclose(grown.part_templates["dlib"][-1], np.array([1, 1, 0]) / np.sqrt(2), atol=1e-6)
    np.testing.assert_allclose(grown.part_templates["head"][-1], np.array([0, 1, 1]) / np.sqrt(2), atol=1e-6)
    similarities = grown.similarities(grown.embed(photo((180, 180, 100)).chip[None]))
    assert similarities.argmax() == 3 and similarities.max() == pytest.approx(1)


def test_renders_of_the_new_person_make_templates_of_the_sides() -> None:
    bundle = trained()
    axes = {part: np.stack([rows] * 2) for part, rows in bundle.part_templates.items()}
    bundle = with_people(bundle, side_templates=axes)
    faces = [replace(photo((200, 100, 100)).faces[0], landmarks=np.ones((68, 2), np.float32))]
    photos = [replace(photo((200, 100, 100)), faces=tuple(faces))]
    (wanted,) = wanted_renders(bundle, photos)
    sides = side_of(np.array(wanted.yaws))
    colours = {0: (100, 200, 100), 1: (100, 100, 200), NO_SIDE: (200, 100, 100)}
    renders = np.stack([np.full((8, 8, 3), colours[side], np.uint8) for side in sides.tolist()])
    grown = enrol(bundle, "Ann Other", photos, renders)
    np.testing.assert_allclose(
        grown.part_templates["dlib"][-1], [1, 0, 0], atol=1e-6
    )  # renders have no weight
    np.testing.assert_allclose(grown.people.side_templates["dlib"][:, -1], [[0, 1, 0], [0, 0, 1]], atol=1e-6)
    probe = grown.embed(photo((100, 200, 100)).chip[None])
    assert grown.similarities(probe)[0, 3] == pytest.approx(1 - grown.people.side_margin, abs=1e-6)


def test_enrolling_changes_neither_other_people_nor_the_given_run() -> None:
    bundle = trained()
    grown = enrol(bundle, "Ann Other", [photo((200, 100, 100))])
    assert len(bundle.labels) == 3 and bundle.sources.num_rows == 1
    np.testing.assert_array_equal(grown.templates[:3], bundle.templates)
    np.testing.assert_array_equal(crowding_of(grown)[:3], crowding_of(bundle))
    assert grown.thresholds == bundle.thresholds
    assert "enrolled later, by imprinting, not part of the calibration: 1" in grown.model_card


def test_the_photos_are_known_to_the_leak_guard_and_survive_saving(tmp_path: Path) -> None:
    grown = enrol(trained(), "Ann Other", [photo((200, 100, 100)), photo((100, 200, 100), 1)])
    grown.save(tmp_path)
    loaded = Bundle.load(tmp_path)
    assert loaded.sources.to_pydict()["identity"] == ["Ann", "Ann Other", "Ann Other"]
    np.testing.assert_array_equal(loaded.templates, grown.templates)
    again = enrol(replace(loaded, _embedder=ColourEmbedder()), "Third", [photo((100, 100, 220))])  # type: ignore[arg-type]
    assert again.model_card.count("enrolled later") == 1 and again.labels[-1] == "Third"


def test_a_taken_name_a_known_photo_and_no_photo_are_refused() -> None:
    grown = enrol(trained(), "Ann Other", [photo((200, 100, 100))])
    with pytest.raises(InputError, match="enrolled already"):
        enrol(grown, "Ann Other", [photo((100, 200, 100))])
    with pytest.raises(InputError, match="a photo of Ann Other already"):
        enrol(grown, "Somebody", [photo((200, 100, 100))])
    with pytest.raises(InputError, match="no photo with a face"):
        enrol(grown, "Somebody", [])
    with pytest.raises(InputError, match="empty"):
        enrol(grown, " ", [photo((100, 200, 100))])


def test_crowding_follows_the_line_through_the_enrolled_people() -> None:
    bundle = trained(people=40, seed=1)
    templates = bundle.templates
    others = templates @ templates.T
    np.fill_diagonal(others, -1)
    nearest = -np.sort(-others, axis=1)[:, :1].mean(1)  # 10 of 400 strangers correspond to 1 of 40 people
    bundle = with_crowding(bundle, (0.5 * nearest - 0.1).astype(np.float32))
    grown = enrol(bundle, "Ann Other", [photo((200, 120, 90))])
    expected = 0.5 * (templates @ grown.templates[-1]).max() - 0.1
    assert crowding_of(grown)[-1] == pytest.approx(expected, abs=1e-5)


def test_a_face_that_has_a_name_already_is_pointed_out() -> None:
    bundle = trained()
    own = bundle.part_templates["dlib"][1]
    colour = tuple(int(v) for v in np.rint(100 + 90 * own))
    bundle = with_decision(bundle, thresholds={"fpir_1": 0.6, "fpir_10": 0.5})
    assert [name for name, _ in taken_for(bundle, [photo(colour)])] == ["person 1"]  # type: ignore[arg-type]


def test_the_command_says_what_is_wrong_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--model", str(tmp_path), "--name", "Ann", str(tmp_path / "none.jpg")]) == 2
    assert "no such photo or folder" in capsys.readouterr().err
    (tmp_path / "a.jpg").write_bytes(b"x")
    assert main(["--model", str(tmp_path), "--name", "Ann", str(tmp_path / "a.jpg")]) == 2
    assert "no trained model" in capsys.readouterr().err
