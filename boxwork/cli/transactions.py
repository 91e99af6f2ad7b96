"""Commands that decide: commit, watch, transactions, and the group `state`."""

from __future__ import annotations

import json
from typing import Any

from cyclopts import App

from boxwork.app.work import Work
from boxwork.cli.boxes import imported, input_of, signature
from boxwork.cli.program import Context
from boxwork.errors import BadInput
from boxwork.pack import find_packs
from boxwork.state.commands import commands
from boxwork.state.engine import FOLDER
from boxwork.state.follow import follow
from boxwork.transactions import Lane, Transaction


def register(app: App, context: Context) -> None:
    """Add the commands of this file."""
    output = context.output

    @app.command
    def commit(transaction: str, *inputs: str, once: str = "", lane: Lane = "", who: str = "") -> None:
        """Run a transaction; when its answer is printed, its effect is on disk. Prints the answer and the receipt.

        Parameters
        ----------
        transaction: its name in a pack (see `boxwork transactions`), or module:function of your own
        inputs: name=value. A value is JSON (cents=150, tags='["a"]'), a word (user=ada), sha256:… for a ref, or @path
            for the bytes of a file
        once: an idempotency id; the same commit again with it changes nothing and answers the same
        lane: serial, snapshot, locking or occ, if not where the transaction says itself
        who: named to others whom this gets in the way of
        """
        with context.work() as work:
            target = find_transaction(work, transaction)
            given = dict(input_of(target, pair) for pair in inputs)
            # On a thread of the node, where an `async def` may have a loop of its own.
            answer, receipt = work.commit_soon(target, once=once, lane=lane, who=who, **given).result()
        output.answer({"answer": answer, "receipt": str(receipt)}, f"{answer!r}")
        output.say(f"receipt {receipt}")

    @app.command
    def watch(*prefix: str, after: int | None = None, count: int | None = None) -> None:
        """Show every change of the facts as it becomes durable, also of another process; until interrupted.

        Parameters
        ----------
        prefix: how the keys begin: `likes` or `likes p1`; a number is a number, "1" in quotes is a text
        after: begin after this version (0: everything that the log still has), not now
        count: end after so many changes
        """
        context.must_exist()
        changes = follow(context.directory / FOLDER, tuple(map(_part, prefix)), after=after)
        for number, change in enumerate(changes, 1):
            output.answer(
                {
                    "version": change.version,
                    "key": list(change.key),
                    "value": change.value,
                    "deleted": change.deleted,
                    "by": change.by,
                },
                f"{change.version}  {change.key!r} {'deleted' if change.deleted else f'= {change.value!r}'}"
                f"  by {change.by}",
            )
            output.flush()
            if number == count:
                return

    @app.command
    def transactions() -> None:
        """List the transactions of all packs with their inputs."""
        with context.work() as work:
            output.table(
                ["transaction", "inputs", "about"],
                (
                    {"transaction": name, "inputs": signature(box), "about": (box.__doc__ or "").strip().split("\n")[0]}
                    for name, box in sorted(work.transactions.items())
                ),
                "no pack has transactions",
            )

    at_hand = {
        box.name: box
        for pack in find_packs()
        for box in (*pack.transactions, *pack.inner)
        if isinstance(box, Transaction)
    }
    app.command(commands(output.answer, lambda: context.directory, at_hand))


def find_transaction(work: Work, name: str) -> Transaction[..., Any]:
    """A transaction by its name in a pack, or by `module:function`; the working directory is looked in."""
    if ":" not in name:
        found: Transaction[..., Any] = work._transaction(name)
        return found
    value = imported(name)
    if not isinstance(value, Transaction):
        raise BadInput(f"{name!r} is {type(value).__name__}, not a transaction: put @transaction above it")
    value.inputs  # noqa: B018  wrong parameters are named now
    return value


def _part(text: str) -> str | int:
    """One part of a key: a number if it is written as one, else a text."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        return text
    return value if type(value) in (int, str) else text
