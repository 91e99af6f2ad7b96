"""Checkers of transactional histories.

`check_certificates` trusts the order that receipts publish and checks everything else in linear time: deciding
strict serializability is only hard when the order is unknown.  `check_lists` does not trust it: from what reads of
lists saw it infers who must come before whom and looks for a cycle, after Elle (Kingsbury, Alvaro, VLDB 2020).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from boxwork.errors import Refused
from boxwork.state.batch import Entry, Record
from boxwork.state.receipts import Receipt
from boxwork.state.snapshot import Facts
from boxwork.state.verify import verify
from boxwork.transactions import Transaction


@dataclass(slots=True)
class Operation:
    """One commit as its caller saw it.  Times are of one clock; `finished_ns` 0: no answer ever came."""

    box: str
    row: tuple[Any, ...]
    started_ns: int
    finished_ns: int = 0
    answer: Any = None
    error: BaseException | None = None
    receipt: Receipt | None = None
    client: int = 0
    once: str = ""

    @property
    def is_committed(self) -> bool:
        return self.finished_ns > 0 and self.error is None


def check_certificates(
    operations: Iterable[Operation], records: Sequence[Record], boxes: Mapping[str, Transaction[..., Any]]
) -> list[str]:
    """What is wrong with a history of operations, given the log.

    Every answer has a receipt that names an entry of the chain and an input equal to the operation's; running all
    inputs serially in the order of the log writes what the log says and answers what was answered; and who was
    answered before another was submitted stands before him.
    """
    wrong: list[str] = []
    report = verify(records, boxes=boxes)
    wrong += [f"entry {row.version}: {row.name}: {row.what}" for row in report.differences]
    by_version = {record.version: record for record in records}
    inputs = {record.version: Entry.decode(record.payload).inputs or [] for record in records}
    done: list[Operation] = []
    taken: dict[tuple[int, int], Operation] = {}
    for operation in operations:
        receipt = operation.receipt
        if not operation.is_committed:
            continue
        if receipt is None:
            wrong.append(f"{operation.box}{operation.row} was answered without a receipt")
            continue
        done.append(operation)
        record = by_version.get(receipt.version)
        if receipt.version and (record is None or record.digest != receipt.digest):
            wrong.append(
                f"{operation.box}{operation.row}: its receipt {receipt.version} names no entry of the log:"
                " an acknowledged commit is lost"
            )
            continue
        if receipt.index < 0:
            continue
        rows = inputs[receipt.version]
        if (
            receipt.index >= len(rows)
            or rows[receipt.index].name != operation.box
            or (tuple(rows[receipt.index].row) != operation.row)
        ):
            wrong.append(
                f"{operation.box}{operation.row}: entry {receipt.version} has something else at {receipt.index}"
            )
            continue
        other = taken.setdefault((receipt.version, receipt.index), operation)
        if other is not operation and (not operation.once or other.once != operation.once):
            wrong.append(f"{operation.box}{operation.row} and {other.box}{other.row} have one receipt")
    wrong += _check_answers(taken, records, boxes)
    wrong += _check_real_time(done)
    wrong += _check_once(inputs, by_version)
    return wrong


def _check_answers(
    taken: Mapping[tuple[int, int], Operation], records: Sequence[Record], boxes: Mapping[str, Transaction[..., Any]]
) -> list[str]:
    """Run everything serially and compare each answer with the one that was given."""
    from boxwork.state.tx import SerialTx
    from boxwork.state.values import thaw

    wrong: list[str] = []
    facts = Facts()
    for record in records:
        entry = Entry.decode(record.payload)
        changed: dict[Any, Any] = {}
        tx = SerialTx(facts, facts.data, changed, entry.now_ns, entry.seed)
        for index, each in enumerate(entry.inputs or []):
            operation = taken.get((record.version, index))
            tx.place, tx.drawn = each.drawn, 0
            tx.seed, tx.now_ns = (each.seed, each.now_ns) if each.seed else (entry.seed, entry.now_ns)
            try:
                answer = boxes[each.name].function(tx, *map(thaw, each.row))
            except Refused as error:
                answer = error
            changed.update(tx.own)
            tx.own.clear()
            if operation is not None and operation.answer != answer:
                wrong.append(f"{operation.box}{operation.row} answered {operation.answer!r}; serially it is {answer!r}")
        facts.apply(record.version, entry.writes, record.digest)
    return wrong


def _check_real_time(done: list[Operation]) -> list[str]:
    """Who was answered before another was submitted must not stand behind him: one scan from the end."""
    wrong = []
    ordered = sorted(done, key=_place)
    earliest: Operation | None = None  # of those that stand further behind, who was answered first
    for operation in reversed(ordered):
        overtaken = earliest is not None and earliest.finished_ns < operation.started_ns
        if overtaken and earliest is not None and _place(earliest) != _place(operation):
            wrong.append(
                f"{operation.box}{operation.row} was submitted after {earliest.box}{earliest.row} was"
                " answered, and stands before it"
            )
        if earliest is None or operation.finished_ns < earliest.finished_ns:
            earliest = operation
    return wrong


def _place(operation: Operation) -> tuple[int, float]:
    receipt = operation.receipt
    assert receipt is not None
    # Who only read stands right behind the entry whose state he saw.
    return receipt.version, receipt.index if receipt.index >= 0 else float("inf")


def _check_once(inputs: Mapping[int, Any], records: Mapping[int, Record]) -> list[str]:
    seen: dict[str, int] = {}
    wrong = []
    for version, record in records.items():
        for answer in Entry.decode(record.payload).answers:
            if answer.once in seen:
                wrong.append(
                    f"the idempotency id {answer.once!r} was committed in entries {seen[answer.once]} and {version}"
                )
            seen[answer.once] = version
    return wrong


# --- the black box ------------------------------------------------------------------------------------------


def check_lists(operations: Sequence[Operation], *, final: Mapping[int, tuple[int, ...]] | None = None) -> list[str]:
    """What is wrong with a history of `append_and_read`, knowing nothing of receipts or the log.

    Every list has one order of items, given by its longest read, of which all other reads are prefixes.  From it
    follow edges: write before write, write before the read that saw it, read before the write it did not see, and
    answered before submitted.  A cycle of them is an anomaly.
    """
    wrong: list[str] = []
    committed = [operation for operation in operations if operation.is_committed]
    longest: dict[int, tuple[int, ...]] = dict(final or {})
    for operation in committed:
        for name, items in operation.answer:
            if len(items) > len(longest.get(name, ())):
                longest[name] = tuple(items)
    writer: dict[int, int] = {}
    for number, operation in enumerate(operations):
        for _, item in operation.row[0]:
            writer[item] = number
    edges: dict[int, set[int]] = {}

    def before(first: int, second: int) -> None:
        if first != second:
            edges.setdefault(first, set()).add(second)

    for name, items in longest.items():
        if len(set(items)) != len(items):
            wrong.append(f"list {name} has an item twice: {items}")
        strange = [item for item in items if item not in writer]
        if strange:
            wrong.append(f"list {name} has items that nobody appended: {strange}")
        for one, two in pairwise(items):
            if one in writer and two in writer:
                before(writer[one], writer[two])
    for number, operation in enumerate(operations):
        if not operation.is_committed:
            continue
        for name, items in operation.answer:
            whole = longest.get(name, ())
            if tuple(items) != whole[: len(items)]:
                wrong.append(f"list {name} was read as {tuple(items)}, which is no prefix of {whole}")
                continue
            if items and items[-1] in writer:
                before(writer[items[-1]], number)
            if len(items) < len(whole) and whole[len(items)] in writer:
                before(number, writer[whole[len(items)]])
        if final is not None:
            for name, item in operation.row[0]:
                if item not in longest.get(name, ()):
                    wrong.append(f"the committed append of {item} to list {name} is lost")
    _real_time_edges(operations, before)
    cycle = _cycle(edges, len(operations))
    if cycle:
        wrong.append("a cycle: " + " → ".join(f"#{at} {operations[at].row}" for at in cycle))
    return wrong


def _real_time_edges(operations: Sequence[Operation], before: Any) -> None:
    """Edges from the answered to the submitted; through the last answered only, the rest follows by transitivity."""
    starts = sorted((operation.started_ns, number) for number, operation in enumerate(operations))
    ends = sorted(
        (operation.finished_ns, number) for number, operation in enumerate(operations) if operation.is_committed
    )
    at = 0
    frontier: list[int] = []  # answered, and not yet known to be before another answered one
    for started, number in starts:
        while at < len(ends) and ends[at][0] < started:
            finished = ends[at][1]
            frontier = [old for old in frontier if operations[old].finished_ns >= operations[finished].started_ns]
            frontier.append(finished)
            at += 1
        for old in frontier:
            before(old, number)


def _cycle(edges: Mapping[int, set[int]], count: int) -> list[int]:
    state = [0] * count  # 0 new, 1 on the path, 2 done
    for root in range(count):
        if state[root]:
            continue
        path = [(root, iter(edges.get(root, ())))]
        state[root] = 1
        while path:
            node, following = path[-1]
            for other in following:
                if state[other] == 1:
                    nodes = [step for step, _ in path]
                    return [*nodes[nodes.index(other) :], other]
                if state[other] == 0:
                    state[other] = 1
                    path.append((other, iter(edges.get(other, ()))))
                    break
            else:
                state[node] = 2
                path.pop()
    return []
