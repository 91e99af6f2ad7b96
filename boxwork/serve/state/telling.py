"""What became of a commit, and what one would do: explanations and previews, as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from boxwork.clock import MILLISECOND_NS, SECOND_NS, monotonic_ns
from boxwork.errors import BadInput, BoxworkError, Refused, StateInUse, Timeout
from boxwork.serve.readable import readable, readable_key
from boxwork.state.batch import Record
from boxwork.state.engine import FOLDER
from boxwork.state.explain import Explanation, Preview, explain_from
from boxwork.state.logs.files import RealFiles
from boxwork.state.receipts import Receipt
from boxwork.transactions import Transaction

# An explanation that must replay the log up to its commit (who scanned, or read very much) may take so long.  Unit: s.
# Reason: about 10 million small writes; after that the command line, which has no limit, is the better place to ask.
EXPLAIN_S_MAX = 5.0


def explained(work: Any, text: str) -> dict[str, Any]:
    """What happened to the commit of this receipt.  Raises `BadInput`, `NotFound` for one that is not of this log."""
    receipt = Receipt.parse(text)
    folder = work.node.root / FOLDER
    if not folder.is_dir():
        raise BadInput("nothing was ever committed here, so there is no receipt")
    told = explain_from(RealFiles(folder, own=False), receipt, boxes=work.transactions, within=_within)
    return _explanation(told, work.transactions.get(told.transaction))


def _within(records: Iterable[Record]) -> Iterator[Record]:
    end = monotonic_ns() + EXPLAIN_S_MAX * SECOND_NS
    for record in records:
        if monotonic_ns() > end:
            raise Timeout(
                f"the log is too long to be replayed within {EXPLAIN_S_MAX:g} s: ask `boxwork state explain RECEIPT`"
            )
        yield record


def _explanation(told: Explanation, box: Transaction[..., Any] | None) -> dict[str, Any]:
    names = box.inputs.names if box is not None else [f"input {number}" for number in range(1, len(told.row) + 1)]
    return {
        "receipt": str(told.receipt), "transaction": told.transaction, "at_ms": told.at_ns / MILLISECOND_NS,
        "version": told.receipt.version, "index": told.receipt.index, "batch": told.batch_size,
        "inputs": {name: readable(value) for name, value in zip(names, told.row, strict=False)},
        "runs": told.runs, "lost_ms": told.lost_ns / MILLISECOND_NS,
        "rivals": [{"key": readable_key(key), "by": by} for key, by in told.rivals],
        "reads": _facts(told.reads), "writes": _facts(told.writes), "answer": readable(told.answer),
        "was_run_again": told.was_run_again,
    }  # fmt: skip


def previewed(work: Any, box: Transaction[..., Any], inputs: dict[str, Any]) -> dict[str, Any]:
    """What it would read, write and answer now; nothing is committed."""
    try:
        told: Preview = work.engine.preview(box, **inputs)
    except StateInUse as reason:
        raise StateInUse(
            f"{reason.message}; a preview runs where the facts are, so look at its page, or commit", **reason.details
        ) from reason
    return {
        "version": told.version, "reads": _facts(told.reads), "scans": [readable_key(key) for key in told.scans],
        "writes": _facts(told.writes),
        "merges": [
            {"key": readable_key(key), "merge": merge[0], "value": readable(merge[1])}
            for key, merge in told.merges.items()
        ],
        "answer": readable(told.answer), "error": _error(told.error),
    }  # fmt: skip


def _error(error: BaseException | None) -> dict[str, Any] | None:
    if error is None:
        return None
    if isinstance(error, BoxworkError):
        told = error.as_json()
        return {**told, "details": readable(told["details"]), "refused": isinstance(error, Refused)}
    return {"error": type(error).__name__, "message": str(error), "retry": "never", "details": {}, "refused": False}


def _facts(facts: dict[Any, Any]) -> list[dict[str, Any]]:
    return [{"key": readable_key(key), "value": readable(value)} for key, value in facts.items()]
