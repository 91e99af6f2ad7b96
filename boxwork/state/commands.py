"""The command group `boxwork state`: check a log, and ask what happened to a commit.

Both only read, also while a process owns the facts.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cyclopts import App

from boxwork.errors import BadInput, LogCorrupt
from boxwork.state.engine import FOLDER
from boxwork.state.explain import explain_from
from boxwork.state.logs.disk import DiskLog
from boxwork.state.logs.files import RealFiles
from boxwork.state.receipts import Receipt
from boxwork.state.verify import verify as verify_records
from boxwork.transactions import Transaction

Answer = Callable[[Any, str], None]


def transactions_of(names: list[str]) -> dict[str, Transaction[..., Any]]:
    """The transactions that stand in these modules, by name; the working directory is looked in."""
    found: dict[str, Transaction[..., Any]] = {}
    if names and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    for name in names:
        try:
            module = importlib.import_module(name)
        except ImportError as reason:
            raise BadInput(
                f"--boxes {name}: {reason}; give modules that can be imported, for example shop.orders", module=name
            ) from reason
        boxes = [value for value in vars(module).values() if isinstance(value, Transaction)]
        if not boxes:
            raise BadInput(f"--boxes {name}: no @transaction stands in this module", module=name)
        found.update({box.name: box for box in boxes})
    return found


def commands(
    answer: Answer, directory: Callable[[], Path], known: Mapping[str, Transaction[..., Any]] | None = None
) -> App:
    """The group: `answer(value, text)` prints a result, `directory()` is the node's data directory.

    known: transactions that are at hand without being named, by name
    """
    app = App(name="state", help="Check the log of facts, and ask it questions.")

    def files() -> RealFiles:
        folder = directory() / FOLDER
        if not folder.is_dir():
            raise BadInput(f"{folder} does not exist: nothing was ever committed in {directory()}")
        return RealFiles(folder, own=False)

    def log() -> DiskLog:
        return DiskLog(files())

    def at_hand(boxes: list[str] | None) -> dict[str, Transaction[..., Any]] | None:
        return {**(known or {}), **transactions_of(boxes or [])} or None

    @app.command
    def verify(*, boxes: list[str] | None = None, receipts: Path | None = None) -> None:
        """Replay the log: its chain, receipts, and with --boxes every transaction.

        Parameters
        ----------
        boxes: modules whose transactions are run again and compared, beside those of the packs
        receipts: a file with one receipt a line
        """
        held = DiskLog.first(log())
        if held > 1:
            raise BadInput(f"the log begins with entry {held}: older history was given up (state.keep_history)")
        lines = receipts.read_text("utf-8").split() if receipts is not None else []
        report = verify_records(log().read(), receipts=map(Receipt.parse, lines), boxes=at_hand(boxes))
        text = [
            f"{report.entries} entries, {report.commits} commits, {report.replayed} run again,"
            f" {report.receipts} receipts: {'sound' if report.is_sound else 'NOT SOUND'}",
            f"digest {report.digest.hex()}",
        ]
        text += [f"entry {row.version}: {row.name}: {row.what}" for row in report.differences]
        text += report.false_receipts
        text += [
            f"not run again, the code is not at hand: {name} ({count} calls)"
            for name, count in report.not_replayed.items()
        ]
        answer({**asdict(report), "digest": report.digest.hex(), "sound": report.is_sound}, "\n".join(text))
        if not report.is_sound:
            raise LogCorrupt("the log is not what its receipts or its transactions say")

    @app.command
    def explain(receipt: str, *, boxes: list[str] | None = None) -> None:
        """Tell what happened to a commit: keys, rivals, re-runs, lost time.

        Parameters
        ----------
        receipt: as `commit(receipt=True)` gave it
        boxes: modules whose transactions are run again, beside those of the packs, to show what was read and written
        """
        told = explain_from(files(), Receipt.parse(receipt), boxes=at_hand(boxes))
        answer(
            {
                "transaction": told.transaction,
                "row": list(map(repr, told.row)),
                "runs": told.runs,
                "lost_ns": told.lost_ns,
                "rivals": [{"key": list(map(str, key)), "by": by} for key, by in told.rivals],
                "reads": {repr(key): repr(value) for key, value in told.reads.items()},
                "writes": {repr(key): repr(value) for key, value in told.writes.items()},
            },
            str(told),
        )

    return app
