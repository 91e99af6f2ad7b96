"""A plan says what is wrong with it before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from boxwork import errors
from boxwork.packs.compare.models import KINDS
from boxwork.packs.compare.plan import DEFAULTS, Plan, read, settled

WHOLE = """
target = "cancelled"
[clean]
drop = ["refund"]
types = {b = "category", a = "number"}
missing_share_max = 0.5
[split]
by = "time"
column = "booked_on"
seed = 7
[[model]]
kind = "forest"
params = {n_estimators = 50, max_depth = 4}
[[model]]
kind = "logistic"
name = "mine"
"""


def plan(tmp_path: Path, text: str) -> Plan:
    path = tmp_path / "plan.toml"
    path.write_text(text, "utf-8")
    return settled(read(path))


def test_a_plan_is_read_named_and_gets_its_dummy(tmp_path: Path) -> None:
    found = plan(tmp_path, WHOLE)
    assert ["forest (max_depth=4, n_estimators=50)", "mine", "dummy"] == [model.name for model in found.model]
    assert {
        "drop": ("refund",),
        "types": (("a", "number"), ("b", "category")),
        "missing_share_max": 0.5,
    } == found.clean.inputs()


def test_without_a_plan_models_of_two_frameworks_and_a_dummy_are_compared() -> None:
    found = settled(Plan(target="y"))
    assert [*DEFAULTS, "dummy"] == [model.kind for model in found.model]
    assert {"scikit-learn", "XGBoost", "baseline"} == {KINDS[model.kind].framework for model in found.model}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "say what is predicted"),
        ("target = ", "Invalid value"),
        ('target = "y"\nmodels = []', "unknown field `models`"),
        ('target = "y"\n[[model]]\nkind = "forrest"', "did you mean forest?"),
        ('target = "y"\n[[model]]\nkind = "forest"\nparams = {trees = 3}', "forest has no parameter 'trees'; it has"),
        ('target = "y"\n[[model]]\nkind = "forest"\nparams = {n_jobs = 3}', "n_jobs is not a parameter here"),
        ('target = "y"\n[[model]]\nkind = "forest"\nparams = {max_depth = [3]}', r"max_depth = \[3\] is no number"),
        ('target = "y"\n[[model]]\nkind = "logistic"\nparams = {C = inf}', "C = inf is no finite number"),
        ('target = "y"\n[[model]]\nkind = "tree"\n[[model]]\nkind = "tree"', "two models are called 'tree'"),
        ('target = "y"\n[split]\nby = "time"', "a split by time needs its column"),
        ('target = "y"\n[split]\ncolumn = "a"', 'add by = "group" or by = "time"'),
        ('target = "y"\n[split]\nby = "group"\ncolumn = "y"', "which is what is predicted"),
        ('target = "y"\n[split]\ntest_share = 1.0', "Expected `float` < 1.0"),
    ],
)
def test_what_is_wrong_with_a_plan_is_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(errors.BadInput, match=said):
        plan(tmp_path, text)


def test_a_plan_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(errors.BadInput, match="nothing.toml cannot be read: No such file"):
        read(tmp_path / "nothing.toml")
