"""A comparison from nothing, and again: what did not change is not trained again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import boxwork
from boxwork import errors
from boxwork.packs.compare import comparer as module
from boxwork.packs.compare import models
from boxwork.packs.compare.outlook import Outlook
from tests.packs.compare.conftest import QUICK, plan_of


@pytest.fixture
def board(work: Any, compared: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = Outlook(work).run(compared["name"], compared["number"])["board"]
    return found


def trained(run: dict[str, Any]) -> list[str]:
    return [what for what in run["computed"] if what.startswith("train")]


def test_from_nothing_every_model_is_trained_scored_and_ranked(compared: dict[str, Any], board: dict[str, Any]) -> None:
    assert ("bookings", 1, []) == (compared["name"], compared["number"], compared["remembered"])
    assert ["train tree", "train logistic", "train xgboost (n_estimators=20)", "train dummy"] == trained(compared)
    assert [1, 2, 3, 4] == [row["rank"] for row in board["rows"]]
    figures = [row["score"]["macro_f1"] for row in board["rows"]]
    assert sorted(figures, reverse=True) == figures
    assert {"scikit-learn", "XGBoost", "baseline"} == {row["framework"] for row in board["rows"]}
    assert "dummy" == board["rows"][-1]["kind"]
    assert board["rows_train"] + board["rows_test"] == board["report"]["rows_out"]


def test_the_board_warns_of_the_leak_and_says_what_is_a_tie(board: dict[str, Any]) -> None:
    assert "The column refund alone predicts cancelled" in board["warnings"][0]
    ties = [row["name"] for row in board["rows"] if row["versus"] and row["versus"]["tie"]]
    assert ties  # with the leak, all models are equally good
    assert (
        f"A tie: {board['rows'][0]['name']} is not ahead of {', '.join(ties)} by more than chance." in board["warnings"]
    )
    assert "dummy" not in ties


def test_the_same_again_computes_nothing_and_makes_no_new_run(work: Any, table: Path, compared: dict[str, Any]) -> None:
    again = work.part("compare").run(table, plan_of())
    assert ([], compared["number"]) == (again["computed"], again["number"])
    assert sorted(compared["computed"]) == sorted(again["remembered"])


def test_one_changed_parameter_reruns_one_training(work: Any, table: Path, compared: dict[str, Any]) -> None:
    changed = [{"kind": "tree", "name": "tree", "params": {"max_depth": 2}}, *QUICK[1:]]
    run = work.part("compare").run(table, plan_of(model=changed), name="changed")
    assert ["train tree"] == trained(run)
    assert set(run["computed"]) <= {"train tree", "score tree", "versus tree", "board"}
    before, after = ({row["name"]: row["predicted"] for row in one["rows"]} for one in (compared, run))
    assert {name: ref for name, ref in before.items() if name != "tree"} == {
        name: ref for name, ref in after.items() if name != "tree"
    }
    assert "argument params" in str(work.last_miss(models.tree))


def test_another_seed_of_the_split_trains_all_models_and_cleans_nothing(work: Any, table: Path) -> None:
    run = work.part("compare").run(table, plan_of(split={"seed": 5}, model=QUICK[:1]), name="reseeded")
    assert ["train tree", "train dummy"] == trained(run)
    assert "clean" in run["remembered"]
    assert "split" in run["computed"]


def test_the_version_of_the_framework_is_in_the_key_of_its_models_alone(work: Any, compared: dict[str, Any]) -> None:
    seen = {row["kind"]: " ".join(work.why(row["key"]).versions) for row in compared["rows"]}
    given = {row["kind"]: row["version"] for row in compared["rows"]}
    assert f"xgboost-cpu {given['xgboost']}" in seen["xgboost"]
    for kind in ("tree", "logistic", "dummy"):
        assert f"scikit-learn {given[kind]}" in seen[kind]
        assert "xgboost" not in seen[kind]


def test_the_lineage_of_predictions_leads_down_to_the_table(work: Any, compared: dict[str, Any]) -> None:
    told = json.dumps(work.why(compared["rows"][0]["key"]).as_json(), default=str)
    assert f'"table": "bytes {compared["table"].removeprefix("sha256:")[:8]}' in told
    assert compared["cleaned"] in told
    whole = json.dumps(work.why(compared["board"]).as_json(), default=str)
    assert all(row["predicted"] in whole for row in compared["rows"])


def test_a_training_runs_again_to_the_same_bytes(work: Any, compared: dict[str, Any]) -> None:
    """Nothing of the clock, of threads or of chance is in an output."""
    for row, params in zip(compared["rows"], ((), (), (("n_estimators", 20),), ()), strict=True):
        box = models.KINDS[row["kind"]].box
        inputs = {"cleaned": compared["cleaned"], "part": compared["split"], "params": params, "seed": 0}
        inputs = {
            name: boxwork.Ref.parse(value) if name in ("cleaned", "part") else value for name, value in inputs.items()
        }
        before, again = work.node.deriver.run_again(box, inputs)
        assert row["predicted"] == str(before) == str(again)


def test_times_are_observed_and_belong_to_no_output(work: Any, compared: dict[str, Any]) -> None:
    rows = Outlook(work).run(compared["name"])["board"]["rows"]
    assert all(row["times"]["fit"] > 0 and row["times"]["predict"] > 0 for row in rows)
    assert b"predict_ns" not in work.get(compared["board"])


def test_a_training_that_fails_is_a_row_that_says_why(work: Any, table: Path) -> None:
    broken = [{"kind": "tree", "name": "broken", "params": {"max_depth": -3}}, *QUICK[:1]]
    run = work.part("compare").run(table, plan_of(model=broken), name="broken")
    rows = {row["name"]: row for row in Outlook(work).run("broken")["board"]["rows"]}
    assert (0, None) == (rows["broken"]["rank"], rows["broken"]["score"])
    assert "InvalidParameterError: The 'max_depth' parameter" in rows["broken"]["failed"]
    assert 1 == rows["tree"]["rank"]
    with pytest.raises(errors.NotFound, match="broken of broken failed"):
        Outlook(work).wrong("broken", "broken", run["number"])


def test_wrong_rows_are_named_by_their_number_in_the_raw_table(
    work: Any, table: Path, compared: dict[str, Any]
) -> None:
    wrong = Outlook(work).wrong("bookings", "dummy")
    lines = table.read_text("utf-8").splitlines()
    assert len(wrong) > 50
    assert {("yes", "no")} == {(row["true"], row["predicted"]) for row in wrong}
    assert {"yes"} == {lines[row["row"]].split(",")[-1] for row in wrong}


def test_a_comparison_is_forgotten_with_all_that_no_other_has(work: Any, table: Path, compared: dict[str, Any]) -> None:
    own = [{"kind": "tree", "name": "own", "params": {"max_depth": 4}}]
    run = work.part("compare").run(table, plan_of(model=[*own, *QUICK[:1]]), name="gone")
    keys = {row["name"]: row["key"] for row in run["rows"]}
    assert ["compare/gone/1"] == [name for name, _ in work.pins("compare/gone/")]
    assert [1] == work.part("compare").forget("gone")
    assert [] == list(work.pins("compare/gone/"))
    with pytest.raises(errors.NotFound):
        work.why(keys["own"])
    assert work.why(keys["tree"]).record  # the first comparison has it, too
    for lost in (lambda: Outlook(work).run("gone"), lambda: work.part("compare").forget("gone")):
        with pytest.raises(errors.NotFound, match="there is no comparison 'gone'; there are: "):
            lost()


def test_what_cannot_be_compared_is_told(work: Any, table: Path, tmp_path: Path) -> None:
    comparer = work.part("compare")
    with pytest.raises(errors.BadInput, match="no.csv cannot be read: No such file"):
        comparer.run(tmp_path / "no.csv", plan_of())
    with pytest.raises(errors.BadInput, match="not 'Up!': give --name"):
        comparer.run(table, plan_of(), name="Up!")
    with pytest.raises(errors.BadInput, match="^there is no column 'no such'; the table has booking"):
        comparer.run(table, plan_of(target="no such"))
    assert not [run for run in comparer.catalog.latest() if run["name"] == "up"]


def test_a_table_that_is_too_large_and_a_run_that_is_too_long_are_refused(tmp_path: Path, table: Path) -> None:
    settings = {"compare.table_bytes_max": 1000, "compare.run_s_max": 0.0}
    refused = pytest.raises(errors.TooLarge, match=r"at most 1,000 \(setting compare.table_bytes_max\)")
    with boxwork.open(tmp_path / "data", settings=settings) as node, refused:
        node.part("compare").run(table, plan_of())
    late = pytest.raises(errors.Timeout, match=r"compare.run_s_max .*run it again to go on")
    with boxwork.open(tmp_path / "data", settings={"compare.run_s_max": 0.0}) as node, late:
        node.part("compare").run(table, plan_of())


def test_without_the_libraries_it_says_what_to_install(work: Any, table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "NEEDED", ("sklearn", "no_such_library"))
    with pytest.raises(errors.BadInput, match=r"needs no_such_library, .*pip install 'boxwork\[compare\]'"):
        work.part("compare").run(table, plan_of())
