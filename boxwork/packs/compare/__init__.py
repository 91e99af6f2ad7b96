"""Models and frameworks compared by F1 and accuracy, with what cleaning did and an alarm for leaks."""

from __future__ import annotations

from typing import Any

from boxwork import Pack, Page, Setting
from boxwork.packs.compare import alarms, board, cleaning, models, records, scoring, splitting
from boxwork.packs.compare.described import DESCRIBED


def _open(work: Any) -> Any:
    from boxwork.packs.compare.comparer import Comparer

    return Comparer(work)


def _commands(context: Any) -> Any:
    from boxwork.packs.compare.commands import commands

    return commands(context)


def _routes(work: Any) -> list[Any]:
    from boxwork.packs.compare.routes import routes

    return routes(work)


PACK = Pack(
    "compare",
    "Models and frameworks compared by F1 and accuracy, with what cleaning did and an alarm for leaks.",
    # Each runs for minutes on whatever it is given, so a stranger may not ask for one.
    inner=(
        cleaning.clean, splitting.split, *(kind.box for kind in models.KINDS.values()),
        scoring.score, scoring.versus, alarms.alarms, board.board, *records.TRANSACTIONS,
    ),
    settings=(
        Setting("compare.table_bytes_max", 1024**3, "bytes", "of a table; in memory it takes ten times as much"),
        Setting(
            "compare.run_s_max", 6 * 3600.0, "s", "a whole comparison; what is trained by then is kept for the next one"
        ),
    ),
    routes=_routes,
    described=DESCRIBED,
    pages=(Page("Compare", "/compare"),),
    commands=_commands,
    opener=_open,
)  # fmt: skip
