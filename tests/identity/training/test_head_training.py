"""Fitting a head: it learns, keeps its best epoch, and goes on after a kill as if nothing had happened."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from augmentor.errors import InputError
from identity.networks.heads import HeadConfig
from identity.training import head_training
from identity.training.head_training import FitConfig, run_head, train_head
from identity.training.learning_curves import History

SHAPE = (3, 3, 16)
CLASSES = 4
LABELS = np.tile(np.arange(CLASSES), 24)


class DrawnMaps:
    """Maps of four people: a pattern each, plus noise."""

    shape = SHAPE

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        patterns = rng.normal(size=(CLASSES, *SHAPE))
        self.values = (patterns[LABELS] + 0.5 * rng.normal(size=(len(LABELS), *SHAPE))).astype(np.float16)

    def batches(self, rows: np.ndarray, batch: int, rng: np.random.Generator) -> Iterator[tuple]:
        order = rng.permutation(rows)
        for start in range(0, len(order), batch):
            part = order[start : start + batch]
            yield part, self.values[part]

    def read(self, rows: np.ndarray) -> Iterator[tuple]:
        yield rows, self.values[rows]


def fitted(checkpoint: Path, kind: str = "cosine", epochs: int = 4, key: str = "k") -> tuple:
    rows = np.arange(len(LABELS))
    return train_head(
        HeadConfig(kind, CLASSES, map_shape=SHAPE, channels=16, embedding=8),
        FitConfig(epochs=epochs, batch=16, learning_rate=1e-2),
        DrawnMaps(),
        LABELS,
        train_rows=rows[16:],
        held_rows=rows[:16],
        mean_rows=rows[16:],
        checkpoint=checkpoint,
        key=key,
    )


@pytest.mark.parametrize("kind", ["cosine", "seed"])
def test_head_learns_to_tell_held_out_photos_apart(tmp_path: Path, kind: str) -> None:
    head, history = fitted(tmp_path / "c.npz", kind)
    assert history.held_out_rank1[history.best] >= 0.9
    named = run_head(head, DrawnMaps().values[:16]).argmax(axis=1)
    assert (named == LABELS[:16]).mean() == history.held_out_rank1[history.best]


def test_a_killed_training_ends_as_one_that_was_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, _ = fitted(tmp_path / "whole.npz")
    run_epoch = head_training._run_epoch

    def killed_in_third(*arguments: object) -> None:
        if arguments[-1].epochs == 2:  # type: ignore[attr-defined]
            raise KeyboardInterrupt
        run_epoch(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(head_training, "_run_epoch", killed_in_third)
    with pytest.raises(KeyboardInterrupt):
        fitted(tmp_path / "killed.npz")
    monkeypatch.setattr(head_training, "_run_epoch", run_epoch)
    resumed, history = fitted(tmp_path / "killed.npz")
    assert history.epochs == 4
    for first, second in zip(whole.get_weights(), resumed.get_weights(), strict=True):
        assert np.allclose(first, second, atol=1e-4)


def test_a_checkpoint_of_another_run_is_not_continued_and_a_damaged_one_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.npz"
    fitted(path, epochs=2, key="one")
    assert fitted(path, epochs=1, key="two")[1].epochs == 1
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(InputError, match="damaged checkpoint"):
        fitted(path, key="two")


def test_best_epoch_is_the_first_with_most_right_and_the_last_without_held_out_photos() -> None:
    assert History([1, 1, 1], [0, 0, 0], [0.5, 0.8, 0.8]).best == 1
    assert History([1, 1], [0, 0], [float("nan")] * 2).best == 1
