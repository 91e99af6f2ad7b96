"""Runs a comparison: asks for every derivation it is made of, counts what ran, and keeps what it came to.

    table → clean → split → one training a model → one score a model ┐
                          → alarms                                   ├→ board → a run of this comparison
                            the best against each other: versus      ┘

Nothing here decides what runs again: that is the keys.  A training that fails is a row that says so.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import re
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import msgspec

from boxwork import Blob, Ref, errors
from boxwork.packs.compare import plan as plans
from boxwork.packs.compare import stopwatch
from boxwork.packs.compare.records import Catalog, compare_forget, compare_record

NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,60}")
NEEDED = ("sklearn", "pandas", "xgboost")
Progress = Callable[[int, int, str], None]
# Of why a training failed this much stands in its row.  Unit: characters.
FAILED_CHARACTERS_MAX = 300


class Counts:
    """Which derivations of a run were computed, and which remembered."""

    def __init__(self) -> None:
        self.computed: list[str] = []
        self.remembered: list[str] = []
        # Of what is kept durably: forgotten with the run.
        self.keys: list[str] = []


class Comparer:
    """Compares on one node.  Safe from many threads."""

    def __init__(self, work: Any) -> None:
        self.work = getattr(work, "blocking", work)
        self.catalog = Catalog(self.work)
        self._wait_s = self.work.settings.number("compare.run_s_max")

    def run(
        self, table: Path, plan: plans.Plan, *, name: str = "", who: str = "", progress: Progress = lambda *_: None
    ) -> dict[str, Any]:
        """Compare the models of a plan on a table: the run as it is kept, with what was `computed` and `remembered`.

        Raises `BadInput` also for what cleaning or splitting cannot use, `TooLarge`, `Timeout`, and `DerivationFailed`
        where no model could be trained.
        """
        need_libraries()
        plan = plans.settled(plan)
        name = name or name_of(table)
        if not NAME.fullmatch(name):
            raise errors.BadInput(
                f"a comparison is called by a-z, 0-9 and -, at most 61 of them, not {name[:80]!r}: give --name"
            )
        ref = self._take_in(table)
        began_ns = self.work.clock.monotonic_ns()
        counts, pending = Counts(), Pending(self)
        try:
            found = self._steps(ref, plan, counts, pending, progress)
        finally:
            pending.leave()
        took_ns = self.work.clock.monotonic_ns() - began_ns
        run = {"table": str(ref), "table_name": table.name, "table_bytes": self.work.size(ref),
               "plan": msgspec.to_builtins(plan), "took_ns": took_ns, "ran": len(counts.computed),
               "known": len(counts.remembered), "keys": sorted(set(counts.keys)), **found}  # fmt: skip
        number = self.work.commit(compare_record, name=name, run=run, by=who)
        self.work.pin(ref, f"compare/{name}/{number}")
        kept = self.catalog.run(name, number)
        return {**kept, "took_ns": took_ns, "computed": counts.computed, "remembered": counts.remembered}

    def forget(self, name: str) -> list[int]:
        """Forget a comparison; its table, and outputs that no other has, go with a later sweep.  Raises `NotFound`."""
        keys = {key for run in self.catalog.runs(name) for key in run["keys"]}
        gone = self.work.commit(compare_forget, name=name)
        for number in gone:
            self.work.unpin(f"compare/{name}/{number}")
        used = {key for fact, run in self.catalog.facts().items() if fact[1] == "run" for key in run["keys"]}
        for key in keys - used:
            self.work.node.deriver.forget(bytes.fromhex(key))
        return [int(number) for number in gone]

    def close(self) -> None:
        """Nothing is held between two runs."""

    def _take_in(self, table: Path) -> Ref:
        limit = self.work.settings.integer("compare.table_bytes_max")
        try:
            size = table.stat().st_size
        except OSError as fault:
            raise errors.BadInput(f"the table {table} cannot be read: {fault.strerror}", path=str(table)) from None
        if size > limit:
            raise errors.TooLarge(f"{table} has {size:,} bytes, at most {limit:,} (setting compare.table_bytes_max)")
        ref: Ref = self.work.put(table)
        return ref

    def _steps(
        self, table: Ref, plan: plans.Plan, counts: Counts, pending: Pending, progress: Progress
    ) -> dict[str, Any]:
        from boxwork.packs.compare import alarms, board, cleaning, models, scoring, splitting

        total = 4 + 3 * len(plan.model) - 1
        done = 0

        def step(said: str) -> None:
            nonlocal done
            progress(done, total, said)
            done += 1

        chosen = plan.clean.inputs()
        if plan.split.column:
            chosen["aside"] = (plan.split.column,)
        step("cleaning")
        cleaned = pending.ask(counts, "clean", cleaning.clean, table=table, target=plan.target, **chosen)
        cleaned = pending.wait_for(cleaned)
        by = {"by": plan.split.by, "column": plan.split.column}
        step("splitting")
        part = pending.wait_for(
            pending.ask(
                counts, "split", splitting.split, cleaned=cleaned, test_share=plan.split.test_share,
                seed=plan.split.seed, **by,
            )
        )  # fmt: skip
        split = self.work.call(
            splitting.split, cleaned=cleaned, test_share=plan.split.test_share, seed=plan.split.seed, **by
        )
        alarm = pending.ask(
            counts, "alarms", alarms.alarms, cleaned=cleaned, part=part,
            **({"by": "time", "column": plan.split.column} if plan.split.by == "time" else {}),
        )  # fmt: skip
        rows: list[dict[str, Any]] = []
        for model in plan.model:
            kind = models.KINDS[model.kind]
            params = tuple(sorted(model.params.items()))
            asked = {"cleaned": cleaned, "part": part, "params": params, "seed": model.seed}
            rows.append({"name": model.name, "kind": model.kind, "params": params, "framework": kind.framework,
                         "version": version_of(kind.distribution), "failed": "", "predicted": "", "score": "",
                         "times": stopwatch.run_of(model.kind, cleaned, split, params, model.seed),
                         "key": self.work.node.deriver.key(kind.box, asked).hex(),
                         "asked": pending.ask(counts, f"train {model.name}", kind.box, **asked)})  # fmt: skip
        drawn = {"resamples": plan.resamples, "level": plan.level}
        for row in rows:
            step(f"training {row['name']}")
            try:
                row["predicted"] = pending.wait(row["asked"])
            except errors.DerivationError as fault:
                row["failed"] = reason_of(fault)[:FAILED_CHARACTERS_MAX]
                continue
            self._keep_times(row)
            asked = {"cleaned": cleaned, "part": part, "predicted": row["predicted"], **drawn}
            row["asked"] = pending.ask(counts, f"score {row['name']}", scoring.score, **asked)
        scored = [row for row in rows if not row["failed"]]
        if not scored:
            raise errors.DerivationFailed(f"no model could be trained; {rows[0]['name']}: {rows[0]['failed']}")
        for row in scored:
            step(f"scoring {row['name']}")
            row["score"] = pending.wait(row["asked"])
            row["macro_f1"] = msgspec.json.decode(self.work.get(row["score"]), type=scoring.Score).macro_f1
        best = min(scored, key=lambda row: (-row["macro_f1"], row["name"]))
        for row in scored:
            if row is not best:
                pair = {"cleaned": cleaned, "part": part, "a": best["predicted"], "b": row["predicted"], **drawn}
                row["asked"] = pending.ask(counts, f"versus {row['name']}", scoring.versus, **pair)
        for row in scored:
            if row is not best:
                step(f"comparing {row['name']} with {best['name']}")
                row["versus"] = pending.wait(row["asked"])
        step("alarms")
        told = pending.wait(alarm)
        step("leaderboard")
        entries = tuple(
            board.Entry(
                row["name"], row["kind"], row["framework"], row["params"],
                self._blob(row["score"]), self._blob(row.get("versus", "")), row["failed"],
            )
            for row in rows
        )  # fmt: skip
        sizes = (int((split == 0).sum()), int((split == 1).sum()))
        made = pending.wait(
            pending.ask(counts, "board", board.board, cleaned=cleaned, part_sizes=sizes, alarms=told, entries=entries)
        )
        kept = [
            {field: str(row[field]) for field in ("name", "kind", "version", "key", "times", "predicted", "score")}
            for row in rows
        ]
        return {"cleaned": str(cleaned), "split": str(part), "alarms": str(told), "board": str(made), "rows": kept}

    def _blob(self, ref: str) -> Blob | None:
        return Blob(Ref.parse(ref), self.work.content) if ref else None

    def _keep_times(self, row: dict[str, Any]) -> None:
        times = stopwatch.take(row["times"])
        if times is not None:
            self.work.observe(stopwatch.TIMES, times, source=row["times"])


class Pending:
    """The derivations of one run that are asked for: waited for until a limit, and left when the run is over."""

    def __init__(self, comparer: Comparer) -> None:
        self.work = comparer.work
        self._until_ns = self.work.clock.monotonic_ns() + int(comparer._wait_s * 1e9)
        self._futures: list[Future[Any]] = []

    def ask(self, counts: Counts, what: str, box: Any, **inputs: Any) -> Future[Any]:
        if box.terms.durable:
            counts.keys.append(self.work.node.deriver.key(box, inputs).hex())
        (counts.computed if self.work.peek(box, **inputs) is None else counts.remembered).append(what)
        future: Future[Any] = self.work.submit(box, **inputs)
        self._futures.append(future)
        return future

    def wait(self, future: Future[Any]) -> Any:
        left_s = (self._until_ns - self.work.clock.monotonic_ns()) / 1e9
        try:
            return future.result(max(0.0, left_s))
        except TimeoutError:
            raise errors.Timeout(
                "the comparison takes longer than the setting compare.run_s_max allows; what is trained is kept:"
                " run it again to go on"
            ) from None

    def wait_for(self, future: Future[Any]) -> Any:
        """As `wait`, for a box that says what is wrong with what it was given."""
        try:
            return self.wait(future)
        except errors.DerivationFailed as fault:
            if fault.details.get("error") != "ValueError":
                raise
            raise errors.BadInput(reason_of(fault)) from fault

    def leave(self) -> None:
        for future in self._futures:
            with contextlib.suppress(Exception):
                future.cancel()


def need_libraries() -> None:
    """Raises `BadInput` that says what to install."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise errors.BadInput(
            f"comparing models needs {', '.join(missing)}, which is not installed: pip install 'boxwork[compare]'"
            " (in a checkout: .venv/bin/pip install -e '.[compare]')"
        )


def name_of(table: Path) -> str:
    """A comparison is called as its table, in letters a name has."""
    stem = table.name.lower().removesuffix(".gz").removesuffix(".csv")
    return re.sub(r"[^a-z0-9]+", "-", stem).strip("-")[:61]


def version_of(distribution: str) -> str:
    for name in (distribution, distribution.removesuffix("-cpu")):  # XGBoost comes as two distributions
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            return importlib.metadata.version(name)
    return "unknown"


def reason_of(fault: errors.BoxworkError) -> str:
    """What a box said, without the name of the box in front of it."""
    return re.sub(r"^compare_\w+ failed with (ValueError: )?", "", fault.message)
