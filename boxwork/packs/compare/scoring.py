"""What a model's predictions are worth.  Every figure is scikit-learn's; the resampling is exact, and quick.

A row of the test part matters by its true class and the predicted one alone, so drawing rows with replacement is the
same as drawing the cells of the confusion matrix from a multinomial: a thousand resamples of 75,000 rows cost as much
as a thousand small ones, and scikit-learn takes the counts as weights of samples.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from boxwork import Blob, derivation
from boxwork.packs.compare.table import CleanTable

SCORE_S_MAX = 900.0
SCORE_BYTES_MAX = 4 * 1024**3
RESAMPLES = 400
LEVEL = 0.95


class PerClass(msgspec.Struct):
    name: str
    precision: float
    recall: float
    f1: float
    rows: int


class Score(msgspec.Struct):
    """Figures over the test rows; an interval is (low, high) at `level`.  confusion[true][predicted] counts rows."""

    rows: int
    accuracy: float
    accuracy_interval: tuple[float, float]
    macro_f1: float
    macro_f1_interval: tuple[float, float]
    weighted_f1: float
    weighted_f1_interval: tuple[float, float]
    classes: list[PerClass]
    confusion: list[list[int]]
    level: float
    resamples: int


class Versus(msgspec.Struct):
    """How much better `a` is than `b` in macro F1, on the same resampled rows."""

    difference: float
    interval: tuple[float, float]
    tie: bool


@derivation(
    name="compare_score", worker="process", timeout_s=SCORE_S_MAX, memory_bytes_max=SCORE_BYTES_MAX, durable=True
)
def score(
    cleaned: Blob,
    part: np.ndarray,
    predicted: np.ndarray,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> bytes:
    """Accuracy, F1, the table of classes, the confusion matrix, and intervals by bootstrap: a `Score` as JSON."""
    from sklearn import metrics

    table = CleanTable.of(cleaned)
    names = table.about.classes
    labels = np.arange(len(names))
    truth = table.target[part == 1]
    confusion = metrics.confusion_matrix(truth, predicted, labels=labels)
    true, said = np.nonzero(confusion)
    counts = confusion[true, said]
    draws = np.random.default_rng(seed).multinomial(len(truth), counts / counts.sum(), size=resamples)
    sampled = np.array([_figures(true, said, labels, draw) for draw in draws])
    low, high = np.quantile(sampled, [(1 - level) / 2, (1 + level) / 2], axis=0)
    intervals = [(float(a), float(b)) for a, b in zip(low, high, strict=True)]
    figures = [float(figure) for figure in _figures(true, said, labels, counts)]
    rows = zip(
        *metrics.precision_recall_fscore_support(truth, predicted, labels=labels, zero_division=0.0), strict=True
    )
    classes = [
        PerClass(name, float(p), float(r), float(f), int(n)) for name, (p, r, f, n) in zip(names, rows, strict=True)
    ]
    return msgspec.json.encode(
        Score(
            len(truth), figures[0], intervals[0], figures[1], intervals[1], figures[2], intervals[2], classes,
            confusion.tolist(), level, resamples,
        )
    )  # fmt: skip


@derivation(
    name="compare_versus", worker="process", timeout_s=SCORE_S_MAX, memory_bytes_max=SCORE_BYTES_MAX, durable=True
)
def versus(
    cleaned: Blob, part: np.ndarray, a: np.ndarray, b: np.ndarray,
    resamples: int = RESAMPLES, level: float = LEVEL, seed: int = 0,
) -> bytes:  # fmt: skip
    """Two models on the same rows: a `Versus` as JSON.  A tie: the interval of the difference holds zero."""
    table = CleanTable.of(cleaned)
    labels = np.arange(len(table.about.classes))
    truth = table.target[part == 1]
    cells, counts = np.unique(np.column_stack([truth, a, b]), axis=0, return_counts=True)
    true, first, second = cells.T
    draws = np.random.default_rng(seed).multinomial(len(truth), counts / counts.sum(), size=resamples)
    sampled = np.array([_macro_f1(true, first, labels, draw) - _macro_f1(true, second, labels, draw) for draw in draws])
    low, high = (float(edge) for edge in np.quantile(sampled, [(1 - level) / 2, (1 + level) / 2]))
    difference = float(_macro_f1(true, first, labels, counts) - _macro_f1(true, second, labels, counts))
    return msgspec.json.encode(Versus(difference, (low, high), low <= 0 <= high))


def _figures(true: Any, said: Any, labels: Any, counts: Any) -> tuple[Any, Any, Any]:
    """Accuracy, macro F1 and weighted F1 of cells with counts."""
    from sklearn import metrics

    accuracy = metrics.accuracy_score(true, said, sample_weight=counts)
    f1, rows = _f1_of_classes(true, said, labels, counts)
    return accuracy, f1.mean(), np.average(f1, weights=rows)


def _macro_f1(true: Any, said: Any, labels: Any, counts: Any) -> Any:
    return _f1_of_classes(true, said, labels, counts)[0].mean()


def _f1_of_classes(true: Any, said: Any, labels: Any, counts: Any) -> tuple[Any, Any]:
    """F1 and rows of each class that is there, in truth or in what was said: a resample may lack one."""
    from sklearn import metrics

    there = np.intersect1d(labels, np.union1d(true[counts > 0], said[counts > 0]))
    _, _, f1, rows = metrics.precision_recall_fscore_support(
        true, said, labels=there, sample_weight=counts, zero_division=0.0
    )
    return f1, rows
