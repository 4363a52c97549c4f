import numpy as np

from identity.distillation import DistillationLoss, agreement, centred


def test_centred_takes_off_what_all_share() -> None:
    rows = np.array([[1.0, 1.0], [1.0, -1.0]])
    unit, mean = centred(rows)
    np.testing.assert_allclose(mean, [np.sqrt(0.5), 0], atol=1e-6)
    np.testing.assert_allclose(unit, [[0, 1], [0, -1]], atol=1e-6)


def test_agreement_is_the_mean_cosine() -> None:
    assert agreement(np.array([[2.0, 0], [0, 3.0]]), np.array([[1.0, 0], [1.0, 0]])) == 0.5


def test_a_student_that_agrees_has_no_loss_whatever_its_length() -> None:
    teacher = np.array([[1, 0], [0.6, 0.8]], "f4")
    assert abs(float(DistillationLoss(5.0)(teacher, 7 * teacher))) < 1e-6


def test_loss_matches_a_hand_worked_pair() -> None:
    # The second face points away from its teacher: direction 0 and 1; the pair's cosine is 0 instead of 1.
    teacher = np.array([[1, 0], [1, 0]], "f4")
    student = np.array([[1, 0], [0, 1]], "f4")
    direction = (0 + 1) / 2
    relation = (0 + 1 + 1 + 0) / 4
    assert abs(float(DistillationLoss(5.0)(teacher, student)) - (direction + 5.0 * relation)) < 1e-6
