"""The command group `boxwork compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import msgspec
from cyclopts import App, Parameter

# Rows of the sample, when nobody says how many.
SAMPLE_ROWS = 20_000
SAMPLE_ROWS_MAX = 10_000_000


def commands(context: Any) -> App:
    """`boxwork compare …`; `context` is the command line's: data directory, output, flags."""
    app = App(name="compare", help="Models and frameworks compared by F1 and accuracy on a table of your own.")
    _running(app, context)
    _reading(app, context)
    return app


def _running(app: App, context: Any) -> None:
    """Commands that compute or write."""
    from boxwork import errors

    output = context.output

    @app.command
    def run(
        table: Path,
        *,
        target: str = "",
        plan: Path | None = None,
        name: str = "",
        drop: Annotated[tuple[str, ...], Parameter(negative="", consume_multiple=False)] = (),
    ) -> None:
        """Clean a table, split it, train every model of the plan, and show who is best.

        Parameters
        ----------
        table: a CSV file with a header, plain or gzip
        target: the column that is predicted, if the plan does not say it
        plan: a TOML file; without one six models are trained as their libraries have them, and a dummy
        name: of the comparison; else it is called as the table
        drop: a column to leave out; may be given several times
        """
        from boxwork.packs.compare import plan as plans

        wanted = plans.read(plan)
        if target:
            wanted = msgspec.structs.replace(wanted, target=target)
        if drop:
            clean = msgspec.structs.replace(wanted.clean, drop=sorted({*(wanted.clean.drop or ()), *drop}))
            wanted = msgspec.structs.replace(wanted, clean=clean)
        with context.work() as work, output.progress("comparing") as bar:
            done = work.part("compare").run(
                table,
                wanted,
                name=name,
                who=context.user,
                progress=lambda at, total, said: bar.at(at, total, note=said),
            )
            view = _outlook(work).run(done["name"], done["number"])
        view.update(computed=done["computed"], remembered=done["remembered"], took_ns=done["took_ns"])
        _show(output, view)
        ran = ", ".join(done["computed"]) or "nothing"
        output.say(f"\ncomputed {len(done['computed'])}: {ran}\nremembered {len(done['remembered'])}")

    @app.command
    def sample(file: Path, *, rows: int = SAMPLE_ROWS, seed: int = 0, leak: bool = True) -> None:
        """Write a made-up, messy table of bookings, to try this out with: the target is `cancelled`.

        Parameters
        ----------
        file: where to; it must not exist
        leak: with a column that gives the target away
        """
        from boxwork.packs.compare.sample import raw_table

        if not 1000 <= rows <= SAMPLE_ROWS_MAX:
            raise errors.BadInput(f"a sample has 1,000 to {SAMPLE_ROWS_MAX:,} rows, not {rows:,}")
        try:
            with file.open("xb") as out:
                out.write(raw_table(rows, seed, leak=leak))
        except OSError as fault:
            raise errors.BadInput(f"{file} cannot be written: {fault.strerror}", path=str(file)) from None
        output.answer(
            {"file": str(file), "target": "cancelled"}, f"{file}: boxwork compare run {file} --target cancelled"
        )

    @app.command
    def forget(name: str) -> None:
        """Forget a comparison and all its runs; a later `boxwork gc` frees what they held."""
        with context.work(must_exist=True) as work:
            gone = work.part("compare").forget(name)
        output.answer({"name": name, "forgotten": gone}, f"{name}: {len(gone)} runs are forgotten")


def _reading(app: App, context: Any) -> None:
    """Commands that show what there is."""
    output = context.output

    @app.command(name="list")
    def list_() -> None:
        """List the comparisons, the newest first."""
        with context.work(must_exist=True) as work:
            rows = [
                {
                    **row,
                    "run": row["number"],
                    "alarms": ", ".join(row["leaks"]),
                    "macro_f1": round(row["macro_f1"], 4),
                    "accuracy": round(row["accuracy"], 4),
                }
                for row in _outlook(work).all()
            ]
        columns = ["name", "run", "target", "rows_out", "models", "best", "macro_f1", "accuracy", "alarms"]
        output.table(columns, rows, "nothing was compared yet: boxwork compare run TABLE --target COLUMN")

    @app.command
    def show(name: str, *, number: int = 0, columns: Annotated[bool, Parameter(negative="")] = False) -> None:
        """Show a run: alarms, leaderboard, what cleaning did.  Without a number the newest.

        Parameters
        ----------
        columns: what was done with each column, too
        """
        with context.work(must_exist=True) as work:
            view = _outlook(work).run(name, number)
        _show(output, view, columns=columns)

    @app.command
    def wrong(name: str, model: str, *, number: int = 0, limit: int = 50) -> None:
        """List the test rows that a model got wrong, by their number in the raw table.

        Parameters
        ----------
        limit: of rows; 0 is all
        """
        with context.work(must_exist=True) as work:
            rows = _outlook(work).wrong(name, model, number)
        output.table(["row", "true", "predicted"], rows[: limit or None], f"{model} got every test row right")
        if 0 < limit < len(rows):
            output.say(f"… and {len(rows) - limit:,} more: --limit 0")


def _outlook(work: Any) -> Any:
    from boxwork.packs.compare.outlook import Outlook

    return Outlook(work)


def _show(output: Any, view: dict[str, Any], *, columns: bool = False) -> None:
    """One JSON object for scripts; for people the report, the warnings, the leaderboard."""
    if output.as_json:
        output.answer(view)
        return
    board = view["board"]
    report = board["report"]
    output.answer("", "\n".join([f"{view['name']} run {view['number']}", *report_lines(report)]))
    if columns:
        rows = [{**row, "why": "; ".join(filter(None, [row["why"], *row["notes"]]))} for row in board["columns"]]
        output.table(["name", "kind", "action", "distinct", "missing", "why"], rows)
    for said in board["warnings"]:
        output.answer("", f"! {said}")
    output.answer("", f"\n{board['rows_train']:,} rows to learn from, {board['rows_test']:,} to test with")
    shown = ["#", "model", "macro F1", "interval", "weighted", "accuracy", "fit s", "predict s", ""]
    output.table(shown, [_row(row) for row in board["rows"]])


def report_lines(report: dict[str, Any]) -> list[str]:
    """Cleaning in a few lines."""
    gone = [f"  {step['rows']:>9,} {step['what']}" for step in report["steps"]]
    return [
        f"{report['rows_in']:,} rows in, {report['rows_out']:,} out"
        f" · {report['columns_in']} columns in, {report['columns_out']} out",
        *gone,
    ]


def _row(row: dict[str, Any]) -> dict[str, Any]:
    if row["score"] is None:
        return {"#": "–", "model": row["name"], "": f"failed: {row['failed']}"}
    score, times = row["score"], row["times"] or {}
    low, high = score["macro_f1_interval"]
    tie = row["versus"] is not None and row["versus"]["tie"]
    return {
        "#": row["rank"], "model": row["name"], "macro F1": f"{score['macro_f1']:.4f}",
        "interval": f"{low:.3f}–{high:.3f}", "weighted": f"{score['weighted_f1']:.4f}",
        "accuracy": f"{score['accuracy']:.4f}", "fit s": _seconds(times, "fit"),
        "predict s": _seconds(times, "predict"), "": "tie" if tie else "",
    }  # fmt: skip


def _seconds(times: dict[str, Any], lap: str) -> str:
    return f"{times[lap] / 1e9:.2f}" if lap in times else "–"
