"""What was compared: numbered runs of named comparisons, as facts.

Facts, each below ("compare", NAME):
    ("latest",)    the number of the newest run; numbers begin at 1
    ("run", N)     what run N was: refs of table, cleaned table, split, board and predictions, plan, what it took
"""

from __future__ import annotations

from typing import Any

from boxwork import errors, transaction

TOP = "compare"


@transaction
def compare_record(tx: Any, name: str, run: dict[str, Any], by: str) -> int:
    """Keep a run, unless the latest one came to the same from the same; the answer is its number."""
    latest = tx.get((TOP, name, "latest"), 0)
    if latest:
        before = tx.get((TOP, name, "run", latest))
        if before["board"] == run["board"] and before["table"] == run["table"]:
            return int(latest)
    number = latest + 1
    tx.put((TOP, name, "run", number), {**run, "number": number, "at_ns": tx.now(), "who": by})
    tx.put((TOP, name, "latest"), number)
    return int(number)


@transaction
def compare_forget(tx: Any, name: str) -> list[int]:
    """Forget a comparison with all its runs; the answer is their numbers."""
    keys = [tuple(key) for key, _ in tx.scan((TOP, name))]
    tx.require(bool(keys), f"there is no comparison {name!r}", name=name)
    for key in keys:
        tx.delete(key)
    return sorted(int(key[-1]) for key in keys if key[2] == "run")


@transaction
def compare_facts(tx: Any, name: str) -> list[tuple[tuple[Any, ...], Any]]:
    """All facts of one comparison, or of all: for a process that does not own them."""
    return [(tuple(key), value) for key, value in tx.scan((TOP, name) if name else (TOP,))]


TRANSACTIONS = (compare_record, compare_forget, compare_facts)


class Catalog:
    """The comparisons of a node, read from its facts; another process may own them."""

    def __init__(self, work: Any) -> None:
        self.work = work

    def facts(self, name: str = "") -> dict[tuple[Any, ...], Any]:
        try:
            with self.work.read() as snapshot:
                rows = snapshot.scan((TOP, name) if name else (TOP,))
        except errors.StateInUse:
            rows = self.work.commit(compare_facts, name=name)
        return {tuple(key)[1:]: value for key, value in rows}

    def latest(self) -> list[dict[str, Any]]:
        """The newest run of every comparison, the newest first."""
        facts = self.facts()
        found = [
            {**facts[(key[0], "run", number)], "name": key[0]} for key, number in facts.items() if key[1] == "latest"
        ]
        return sorted(found, key=lambda run: -int(run["at_ns"]))

    def runs(self, name: str) -> list[dict[str, Any]]:
        """All runs of a comparison, the newest first.  Raises `NotFound`."""
        found = [{**value, "name": name} for key, value in self.facts(name).items() if key[1] == "run"]
        if not found:
            known = ", ".join(sorted({key[0] for key in self.facts()})) or "none yet"
            raise errors.NotFound(f"there is no comparison {name[:80]!r}; there are: {known}", name=name)
        return sorted(found, key=lambda run: -int(run["number"]))

    def run(self, name: str, number: int = 0) -> dict[str, Any]:
        """One run; 0 is the newest.  Raises `NotFound`."""
        found = self.runs(name)
        for run in found:
            if number in (0, run["number"]):
                return run
        raise errors.NotFound(f"{name} has no run {number}; it has 1 to {found[0]['number']}", name=name)
