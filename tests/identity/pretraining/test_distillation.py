"""The loss of pre-training and the agreement with teachers, on examples worked by hand."""

import numpy as np

from identity.pretraining.distillation import DistillationLoss, agreement, agreements, centred, centred_blocks


def test_centred_subtracts_the_shared_part() -> None:
    rows = np.array([[1.0, 1.0], [1.0, -1.0]])
    unit, mean = centred(rows)
    np.testing.assert_allclose(mean, [np.sqrt(0.5), 0], atol=1e-6)
    np.testing.assert_allclose(unit, [[0, 1], [0, -1]], atol=1e-6)


def test_agreement_is_the_mean_cosine() -> None:
    assert agreement(np.array([[2.0, 0], [0, 3.0]]), np.array([[1.0, 0], [1.0, 0]])) == 0.5


def test_a_student_that_agrees_has_no_loss_whatever_the_length_of_its_embeddings() -> None:
    teacher = np.array([[1, 0], [0.6, 0.8]], "f4")
    assert abs(float(DistillationLoss(5.0)(teacher, 7 * teacher))) < 1e-6


def test_loss_matches_a_hand_worked_pair() -> None:
    # The second embedding is orthogonal to the teacher's: the directions cost 0 and 1, the pair's cosine is 0, not 1.
    teacher = np.array([[1, 0], [1, 0]], "f4")
    student = np.array([[1, 0], [0, 1]], "f4")
    direction = (0 + 1) / 2
    relation = (0 + 1 + 1 + 0) / 4
    assert abs(float(DistillationLoss(5.0)(teacher, student)) - (direction + 5.0 * relation)) < 1e-6


def test_rows_of_zeros_stay_zeros_and_count_in_no_mean() -> None:
    rows, mean = centred(np.array([[1.0, 1.0], [0.0, 0.0], [1.0, -1.0]]))
    np.testing.assert_allclose(mean, [np.sqrt(0.5), 0], atol=1e-6)
    np.testing.assert_allclose(rows, [[0, 1], [0, 0], [0, -1]], atol=1e-6)
    assert agreement(np.array([[2.0, 0], [5.0, 5.0]]), np.array([[1.0, 0], [0, 0]])) == 1


def test_each_teacher_is_centred_and_compared_separately() -> None:
    answers = np.array([[1.0, 1, 3, 4, 0], [1.0, -1, 4, 3, 0]])
    targets, centre = centred_blocks(answers, (2, 3))
    np.testing.assert_allclose(targets[:, :2], [[0, 1], [0, -1]], atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(targets[:, 2:], axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(centre, [np.sqrt(0.5), 0, 0.7, 0.7, 0], atol=1e-6)
    student = np.concatenate([5 * targets[:, :2], -targets[:, 2:]], axis=1)
    agreed = agreements(student, targets, ("one", "other"), (2, 3))
    assert agreed["one"] > 0.999 and agreed["other"] < -0.999


def test_the_loss_of_two_teachers_is_the_weighted_mean_of_theirs() -> None:
    rng = np.random.default_rng(0)
    targets, _ = centred_blocks(rng.normal(size=(6, 7)), (3, 4))
    student = rng.normal(size=(6, 7)).astype("f4")
    one = float(DistillationLoss(2.0)(targets[:, :3], student[:, :3]))
    other = float(DistillationLoss(2.0)(targets[:, 3:], student[:, 3:]))
    both = float(DistillationLoss(2.0, (3, 4), (3.0, 1.0))(targets, student))
    assert abs(both - (3 * one + other) / 4) < 1e-5


def test_a_face_that_a_teacher_did_not_embed_adds_nothing_to_its_loss() -> None:
    targets = np.array([[1, 0, 1, 0], [1, 0, 0, 0]], "f4")
    loss = DistillationLoss(1.0, (2, 2))
    right, wrong = (np.array([[1, 0, 1, 0], [1, 0, *own]], "f4") for own in ((1, 0), (-1, 0)))
    assert float(loss(targets, right)) == float(loss(targets, wrong)) < 1e-6
