"""The figures are scikit-learn's, on the rows themselves; the intervals are those of resampled rows."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from sklearn import metrics

from boxwork import Blob
from boxwork.packs.compare.cleaning import clean
from boxwork.packs.compare.scoring import Score, Versus, score, versus


@pytest.fixture(scope="module")
def stage() -> tuple[Blob, Any, Any, Any]:
    """A table of three classes, a split, the truth of the test rows, and predictions that are right in 80 %."""
    chance = np.random.default_rng(4)
    names = np.array(["x", "y", "z"])[chance.choice(3, 900, p=(0.6, 0.3, 0.1))]
    text = "n,c\n" + "".join(f"{at % 50},{name}\n" for at, name in enumerate(names))
    cleaned = Blob.of(clean(Blob.of(text.encode()), "c", duplicates=False))
    part = (np.arange(900) % 2).astype(np.int8)
    truth = np.searchsorted(["x", "y", "z"], names)[part == 1]
    said = np.where(chance.random(450) < 0.8, truth, chance.integers(0, 3, 450)).astype(np.int16)
    return cleaned, part, truth, said


def scored(stage: Any, **more: Any) -> Score:
    cleaned, part, _, said = stage
    return msgspec.json.decode(score(cleaned, part, said, **more), type=Score)


def test_the_figures_are_those_of_scikit_learn_on_the_rows(stage: Any) -> None:
    _, _, truth, said = stage
    found = scored(stage, resamples=100)
    assert pytest.approx(metrics.accuracy_score(truth, said)) == found.accuracy
    assert pytest.approx(metrics.f1_score(truth, said, average="macro")) == found.macro_f1
    assert pytest.approx(metrics.f1_score(truth, said, average="weighted")) == found.weighted_f1
    assert metrics.confusion_matrix(truth, said).tolist() == found.confusion
    assert metrics.f1_score(truth, said, average=None).tolist() == [one.f1 for one in found.classes]
    assert [("x", int((truth == 0).sum())), ("z", int((truth == 2).sum()))] == [
        (one.name, one.rows) for one in found.classes[::2]
    ]


def test_the_interval_is_that_of_resampled_rows(stage: Any) -> None:
    """Drawing cells is drawing rows: both ways give the same interval, but for chance."""
    _, _, truth, said = stage
    found = scored(stage, resamples=600)
    chance = np.random.default_rng(0)
    drawn = []
    for _ in range(400):
        rows = chance.integers(0, len(truth), len(truth))
        drawn.append(metrics.f1_score(truth[rows], said[rows], average="macro"))
    low, high = np.quantile(drawn, (0.025, 0.975))
    assert pytest.approx((low, high), abs=0.015) == found.macro_f1_interval
    assert found.macro_f1_interval[0] < found.macro_f1 < found.macro_f1_interval[1]


def test_a_class_that_nobody_predicts_has_an_f1_of_zero_and_counts(stage: Any) -> None:
    cleaned, part, truth, _ = stage
    nobody = np.zeros(450, np.int16)
    found = msgspec.json.decode(score(cleaned, part, nobody, resamples=100), type=Score)
    assert [0.0, 0.0] == [one.f1 for one in found.classes[1:]]
    assert pytest.approx(metrics.f1_score(truth, nobody, average="macro", zero_division=0.0)) == found.macro_f1


def test_two_models_that_differ_by_chance_are_a_tie_and_others_are_not(stage: Any) -> None:
    cleaned, part, truth, said = stage
    flipped = said.copy()
    flipped[:3] = (truth[:3] + 1) % 3
    for other, tie in ((said, True), (flipped, True), (np.zeros(450, np.int16), False)):
        found = msgspec.json.decode(versus(cleaned, part, said, other, resamples=150), type=Versus)
        assert tie == found.tie
        assert (found.interval[0] <= 0 <= found.interval[1]) == tie
    assert found.difference > 0.2


def test_the_seed_makes_the_bootstrap_repeat(stage: Any) -> None:
    assert scored(stage, resamples=100) == scored(stage, resamples=100)
    assert scored(stage, resamples=100) != scored(stage, resamples=100, seed=1)
