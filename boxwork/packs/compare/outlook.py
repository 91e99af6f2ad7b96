"""One run as people and scripts see it: what is kept of it, its board, and the times that were measured, together."""

from __future__ import annotations

import contextlib
from typing import Any

import msgspec
import numpy as np

from boxwork import Ref, errors
from boxwork.packs.compare import stopwatch
from boxwork.packs.compare.board import Board
from boxwork.packs.compare.records import Catalog
from boxwork.packs.compare.table import CleanTable


class Outlook:
    """Over one node; reads only."""

    def __init__(self, work: Any) -> None:
        self.work = getattr(work, "blocking", work)
        self.catalog = Catalog(self.work)

    def all(self) -> list[dict[str, Any]]:
        """Every comparison in a few words, the newest first."""
        return [self._summary(run) for run in self.catalog.latest()]

    def run(self, name: str, number: int = 0) -> dict[str, Any]:
        """A run with its board.  `times` of a row are nanoseconds, None where nobody measured them here."""
        kept = self.catalog.run(name, number)
        board: dict[str, Any] = msgspec.to_builtins(self.board(kept))
        by_name = {row["name"]: row for row in kept["rows"]}
        for row in board["rows"]:
            mine = by_name[row["name"]]
            row.update(version=mine["version"], key=mine["key"], predicted=mine["predicted"], scored=mine["score"])
            row["times"] = self._times(mine["times"])
        fields = ("name", "number", "at_ns", "who", "table", "table_name", "table_bytes", "plan", "cleaned", "split",
                  "took_ns", "ran", "known")  # fmt: skip
        return {**{field: kept[field] for field in fields}, "board_ref": kept["board"], "board": board}

    def board(self, kept: dict[str, Any]) -> Board:
        return msgspec.json.decode(self.work.get(kept["board"]), type=Board)

    def numbers(self, name: str) -> list[int]:
        return [int(run["number"]) for run in self.catalog.runs(name)]

    def wrong(self, name: str, model: str, number: int = 0) -> list[dict[str, Any]]:
        """The test rows that a model got wrong: their number in the raw table, the true class and the predicted one."""
        kept = self.catalog.run(name, number)
        row = next((row for row in kept["rows"] if row["name"] == model), None)
        if row is None:
            known = ", ".join(row["name"] for row in kept["rows"])
            raise errors.NotFound(f"{name} has no model {model!r}; it has {known}", model=model)
        if not row["predicted"]:
            raise errors.NotFound(f"{model} of {name} failed: it predicted nothing", model=model)
        if not (self.work.has(kept["cleaned"]) and self.work.has(kept["split"])):
            raise errors.NotFound(f"the cleaned table of {name} was swept: run the comparison again", name=name)
        with self.work.open(kept["cleaned"]) as file:
            table = CleanTable(file)
            part, predicted = (self._array(kept["split"]), self._array(row["predicted"]))
            rows, truth, classes = table.rows[part == 1], table.target[part == 1], table.about.classes
        return [
            {"row": int(rows[at]), "true": classes[truth[at]], "predicted": classes[predicted[at]]}
            for at in np.flatnonzero(truth != predicted)
        ]

    def _array(self, ref: str) -> Any:
        with self.work.open(Ref.parse(ref)) as file:
            return np.load(file, allow_pickle=False)

    def _times(self, source: str) -> dict[str, Any] | None:
        seen = self.work.latest(stopwatch.TIMES, source)
        if seen is None:
            return None
        with contextlib.suppress(errors.BoxworkError):  # swept: then nobody knows
            times: dict[str, Any] = msgspec.msgpack.decode(self.work.get(seen.ref))
            return times
        return None

    def _summary(self, run: dict[str, Any]) -> dict[str, Any]:
        board = self.board(run)
        best = board.rows[0]
        score = best.score
        return {
            "name": run["name"], "number": run["number"], "at_ns": run["at_ns"], "who": run["who"],
            "table_name": run["table_name"], "target": board.target, "rows_in": board.report.rows_in,
            "rows_out": board.report.rows_out, "models": len(board.rows), "best": best.name,
            "macro_f1": score.macro_f1 if score else 0.0, "accuracy": score.accuracy if score else 0.0,
            "ties": sum(row.versus.tie for row in board.rows if row.versus is not None),
            "leaks": sorted({alarm.column or "rows" for alarm in board.alarms.alarms if alarm.level != "note"}),
        }  # fmt: skip
