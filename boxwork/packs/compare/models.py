"""The trainings: one box a kind of model, so that an upgrade of a library, or an edit here, reruns its own alone.

Each takes a cleaned table, a split, parameters (those of the estimator, by its own names) and a seed, and answers with
the predicted class of every test row.  One training has one thread: the result does not depend on the machine's
processors, and trainings run beside each other.  How long it took is no output; see stopwatch.py.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from boxwork import Blob, Derivation, derivation
from boxwork.packs.compare import stopwatch
from boxwork.packs.compare.features import Parts, parts_of, scaled

# Limits of one training.  Unit: s, bytes.
TRAIN_S_MAX = 3600.0
TRAIN_BYTES_MAX = 8 * 1024**3

# In seed and thread count this pack decides; what is passed under these names is refused.
OURS = frozenset(
    {"random_state", "seed", "n_jobs", "nthread", "verbose", "verbosity", "device", "callbacks", "missing"}
)

Params = tuple[tuple[str, Any], ...]


def _box(name: str) -> Callable[[Callable[..., Any]], Derivation[..., Any]]:
    return derivation(
        name=f"compare_{name}",
        worker="process",
        timeout_s=TRAIN_S_MAX,
        memory_bytes_max=TRAIN_BYTES_MAX,
        durable=True,
        # It tells a file beside the outputs how long it took; nothing comes back from there.
        ignores=["stopwatch"],
    )


@_box("dummy")
def dummy(cleaned: Blob, part: np.ndarray, params: Params = (), seed: int = 0) -> np.ndarray[Any, Any]:
    """The most frequent class, whatever the row: what every model must beat."""
    from sklearn.dummy import DummyClassifier

    parts = parts_of(cleaned, part)
    return _trained("dummy", DummyClassifier(**_asked(params, random_state=seed)), parts, cleaned, part, params, seed)


@_box("logistic")
def logistic(cleaned: Blob, part: np.ndarray, params: Params = (), seed: int = 0) -> np.ndarray[Any, Any]:
    """Logistic regression on scaled numbers and one column a category."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    parts = parts_of(cleaned, part)
    model = make_pipeline(scaled(parts.category), LogisticRegression(**_asked(params, max_iter=300, random_state=seed)))
    return _trained("logistic", model, parts, cleaned, part, params, seed)


@_box("naive_bayes")
def naive_bayes(cleaned: Blob, part: np.ndarray, params: Params = (), seed: int = 0) -> np.ndarray[Any, Any]:
    """Gaussian naive Bayes on scaled numbers and one column a category."""
    from sklearn.naive_bayes import GaussianNB
    from sklearn.pipeline import make_pipeline

    parts = parts_of(cleaned, part)
    model = make_pipeline(scaled(parts.category, dense=True), GaussianNB(**_asked(params)))
    return _trained("naive_bayes", model, parts, cleaned, part, params, seed)


@_box("tree")
def tree(cleaned: Blob, part: np.ndarray, params: Params = (), seed: int = 0) -> np.ndarray[Any, Any]:
    """One decision tree."""
    from sklearn.tree import DecisionTreeClassifier

    parts = parts_of(cleaned, part)
    model = DecisionTreeClassifier(**_asked(params, max_depth=10, random_state=seed))
    return _trained("tree", model, parts, cleaned, part, params, seed)


@_box("forest")
def forest(cleaned: Blob, part: np.ndarray, params: Params = (), seed: int = 0) -> np.ndarray[Any, Any]:
    """A random forest."""
    from sklearn.ensemble import RandomForestClassifier

    parts = parts_of(cleaned, part)
    chosen = _asked(params, n_estimators=100, min_samples_leaf=5, n_jobs=1, random_state=seed)
    return _trained("forest", RandomForestClassifier(**chosen), parts, cleaned, part, params, seed)


@_box("hist_boosting")
def hist_boosting(cleaned: Blob, part: np.ndarray, params: Params = (), seed: int = 0) -> np.ndarray[Any, Any]:
    """Gradient boosting on histograms, by scikit-learn; columns of up to 255 categories as categories."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    parts = parts_of(cleaned, part)
    words = [
        bool(is_category) and np.nanmax(parts.train[:, at], initial=0.0) < 255
        for at, is_category in enumerate(parts.category)
    ]
    test = parts.test.copy()
    test[:, words] = np.where(test[:, words] < 255, test[:, words], np.nan)
    model = HistGradientBoostingClassifier(**_asked(params, categorical_features=words, random_state=seed))
    return _trained("hist_boosting", model, parts._replace(test=test), cleaned, part, params, seed)


@_box("xgboost")
def xgboost(cleaned: Blob, part: np.ndarray, params: Params = (), seed: int = 0) -> np.ndarray[Any, Any]:
    """Gradient boosting on histograms, by XGBoost."""
    from xgboost import XGBClassifier

    parts = parts_of(cleaned, part)
    chosen = _asked(params, tree_method="hist", n_jobs=1, random_state=seed, verbosity=0)
    # It wants classes 0, 1, 2 without a gap, and a split by group or time may leave one out of training.
    known, train_target = np.unique(parts.train_target, return_inverse=True)
    model = XGBClassifier(**chosen)
    codes = _trained("xgboost", model, parts._replace(train_target=train_target), cleaned, part, params, seed)
    classes: np.ndarray[Any, Any] = known[codes].astype(np.int16)
    return classes


def _asked(params: Params, **ours: Any) -> dict[str, Any]:
    """What the estimator is made with: our choices under those of the plan."""
    return {**ours, **dict(params)}


def _trained(
    kind: str, model: Any, parts: Parts, cleaned: Blob, part: Any, params: Params, seed: int
) -> np.ndarray[Any, Any]:
    """Fit on the training part, predict the test part: the class of every test row."""
    from threadpoolctl import threadpool_limits

    watch = stopwatch.Stopwatch()
    with threadpool_limits(1), warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        model.fit(parts.train, parts.train_target)
        watch.lap("fit")
        found = model.predict(parts.test)
        watch.lap("predict")
    said = sorted({f"{warning.category.__name__}: {warning.message}".splitlines()[0] for warning in told})
    stopwatch.tell(stopwatch.run_of(kind, cleaned.ref, part, params, seed), watch.laps, said)
    codes: np.ndarray[Any, Any] = np.asarray(found).astype(np.int16)
    return codes


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of model: its box, whose library it is, and the estimator's class as module:name."""

    name: str
    box: Derivation[..., Any]
    framework: str
    estimator: str
    distribution: str = "scikit-learn"
    ours: Mapping[str, Any] = field(default_factory=dict)


KINDS = {
    kind.name: kind
    for kind in (
        Kind("dummy", dummy, "baseline", "sklearn.dummy:DummyClassifier"),
        Kind("logistic", logistic, "scikit-learn", "sklearn.linear_model:LogisticRegression"),
        Kind("naive_bayes", naive_bayes, "scikit-learn", "sklearn.naive_bayes:GaussianNB"),
        Kind("tree", tree, "scikit-learn", "sklearn.tree:DecisionTreeClassifier"),
        Kind("forest", forest, "scikit-learn", "sklearn.ensemble:RandomForestClassifier"),
        Kind("hist_boosting", hist_boosting, "scikit-learn", "sklearn.ensemble:HistGradientBoostingClassifier"),
        Kind("xgboost", xgboost, "XGBoost", "xgboost:XGBClassifier", "xgboost-cpu"),
    )
}


def check_params(kind: str, params: Mapping[str, Any]) -> str:
    """What is wrong with these parameters of a kind; empty if nothing is found."""
    import importlib

    module, _, name = KINDS[kind].estimator.partition(":")
    known = set(getattr(importlib.import_module(module), name)().get_params()) - OURS
    for key, value in params.items():
        if key in OURS:
            return f"{key} is not a parameter here: this pack decides it" + (" (seed in [split])" if "s" in key else "")
        if key not in known:
            return f"{kind} has no parameter {key!r}; it has {', '.join(sorted(known))}"
        if not isinstance(value, str | int | float | bool | None):
            return f"{kind}: {key} = {value!r} is no number, text, true or false"
        if isinstance(value, float) and not math.isfinite(value):
            return f"{kind}: {key} = {value!r} is no finite number"
    return ""
