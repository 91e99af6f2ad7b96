"""The plan of a comparison: what is cleaned how, how it is split, which models are trained.  TOML, or nothing at all.

target = "cancelled"

[clean]
drop = ["refund"]
types = {postcode = "category"}

[split]
by = "time"
column = "booked_on"
test_share = 0.25
seed = 1

[[model]]
kind = "forest"
name = "forest of 200"
params = {n_estimators = 200}
"""

from __future__ import annotations

import difflib
import tomllib
from pathlib import Path
from typing import Annotated, Any

import msgspec

from boxwork import errors
from boxwork.packs.compare.models import KINDS, check_params
from boxwork.packs.compare.splitting import By

# Models of one plan.  Unit: models.
MODELS_MAX = 100
PLAN_BYTES_MAX = 256 * 1024
# What is compared if the plan names no model.
DEFAULTS = ("logistic", "naive_bayes", "tree", "forest", "hist_boosting", "xgboost")

Share = Annotated[float, msgspec.Meta(gt=0, lt=1)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=80)]


class Clean(msgspec.Struct, forbid_unknown_fields=True):
    """As the inputs of the box `compare_clean`; what is left out has the box's own default."""

    separator: Annotated[str, msgspec.Meta(max_length=1)] | None = None
    drop: list[str] | None = None
    keep: list[str] | None = None
    types: dict[str, str] | None = None
    missing: list[str] | None = None
    missing_share_max: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    number_share_min: Annotated[float, msgspec.Meta(gt=0, le=1)] | None = None
    categories_max: Annotated[int, msgspec.Meta(ge=2, le=100_000)] | None = None
    class_rows_min: Annotated[int, msgspec.Meta(ge=2)] | None = None
    duplicates: bool | None = None

    def inputs(self) -> dict[str, Any]:
        """For the box: tuples, and nothing that was left out."""
        given = {name: value for name in self.__struct_fields__ if (value := getattr(self, name)) is not None}
        for name, value in given.items():
            if isinstance(value, dict):
                given[name] = tuple(sorted(value.items()))
            elif isinstance(value, list):
                given[name] = tuple(value)
        return given


class Split(msgspec.Struct, forbid_unknown_fields=True):
    by: By = "stratified"
    column: str = ""
    test_share: Share = 0.25
    seed: Annotated[int, msgspec.Meta(ge=0, lt=2**32)] = 0


class Model(msgspec.Struct, forbid_unknown_fields=True):
    kind: str
    name: Name | None = None
    params: dict[str, Any] = {}
    seed: Annotated[int, msgspec.Meta(ge=0, lt=2**32)] = 0


class Plan(msgspec.Struct, forbid_unknown_fields=True):
    target: str = ""
    clean: Clean = msgspec.field(default_factory=Clean)
    split: Split = msgspec.field(default_factory=Split)
    model: Annotated[list[Model], msgspec.Meta(max_length=MODELS_MAX)] = []
    resamples: Annotated[int, msgspec.Meta(ge=100, le=10_000)] = 400
    level: Annotated[float, msgspec.Meta(ge=0.5, lt=1)] = 0.95


def read(path: Path | None) -> Plan:
    """A plan from a file; without one the default plan.  Raises `BadInput`."""
    if path is None:
        return Plan()
    try:
        data = path.read_bytes()
    except OSError as fault:
        raise errors.BadInput(f"the plan {path} cannot be read: {fault.strerror}") from None
    if len(data) > PLAN_BYTES_MAX:
        raise errors.BadInput(f"the plan {path} has {len(data):,} bytes, at most {PLAN_BYTES_MAX:,} are read")
    try:
        return msgspec.convert(tomllib.loads(data.decode("utf-8")), Plan)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as fault:
        raise errors.BadInput(f"the plan {path}: {fault}") from None


def settled(plan: Plan) -> Plan:
    """The plan with all its models named, checked, and a dummy among them.  Raises `BadInput`."""
    if not plan.target:
        raise errors.BadInput('say what is predicted: --target COLUMN, or target = "COLUMN" in the plan')
    if plan.split.by in ("group", "time") and not plan.split.column:
        raise errors.BadInput(f'a split by {plan.split.by} needs its column: column = "…" under [split]')
    if plan.split.column and plan.split.by not in ("group", "time"):
        raise errors.BadInput(f'[split] names the column {plan.split.column!r}: add by = "group" or by = "time"')
    if plan.split.column == plan.target:
        raise errors.BadInput(f"the table cannot be split by {plan.target!r}, which is what is predicted")
    models = plan.model or [Model(kind) for kind in DEFAULTS]
    if not any(model.kind == "dummy" for model in models):
        models = [*models, Model("dummy")]
    names: set[str] = set()
    named = []
    for model in models:
        if model.kind not in KINDS:
            near = difflib.get_close_matches(model.kind, KINDS, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise errors.BadInput(f"there is no model of kind {model.kind!r}; there are {', '.join(KINDS)}{hint}")
        wrong = check_params(model.kind, model.params)
        if wrong:
            raise errors.BadInput(wrong, kind=model.kind)
        name = model.name or _name(model)
        if name in names:
            raise errors.BadInput(f"two models are called {name!r}: give each a name of its own")
        names.add(name)
        named.append(msgspec.structs.replace(model, name=name))
    return msgspec.structs.replace(plan, model=named)


def _name(model: Model) -> str:
    told = ", ".join(f"{key}={value}" for key, value in sorted(model.params.items()))
    return f"{model.kind} ({told})"[:80] if told else model.kind
