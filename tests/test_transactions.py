"""What a transaction is."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from boxwork.errors import BadInput
from boxwork.transactions import Transaction, transaction


@transaction
def move(tx: Any, source: str, target: str, *, cents: int = 5) -> tuple[Any, ...]:
    """Moves."""
    return (tx, source, target, cents)


def test_calling_it_is_calling_the_function() -> None:
    assert ("tx", "a", "b", 7) == move("tx", "a", "b", cents=7)
    assert ("move", "Moves.", "<transaction move>") == (move.name, move.__doc__, repr(move))


def test_inputs_are_laid_out_in_the_order_of_the_parameters() -> None:
    row = move.inputs.row("move", ("a",), {"cents": 1, "target": "b"})
    assert ("a", "b", 1) == row
    assert ("a", "b", 5) == move.inputs.row("move", ("a", "b"), {})
    assert ("tx", "a", "b", 1) == move.inputs.caller(move.function)("tx", *row)


def test_what_is_declared_is_kept() -> None:
    made = transaction(name="m", lane="snapshot", slow=True, ignores=["time"], version="2")(lambda tx: None)
    assert ("m", "snapshot", True, ("time",), "2") == (
        made.name,
        made.rules.lane,
        made.rules.slow,
        made.rules.ignores,
        made.rules.version,
    )

    @transaction
    async def think(tx: Any) -> None:
        await asyncio.sleep(0)

    assert (True, False) == (think.awaits, move.awaits)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: transaction(lane="quick")(lambda tx: None), "there are serial, snapshot, locking, occ"),
        (lambda: transaction(ignores="time")(lambda tx: None), "give a list"),
        (lambda: transaction(move), "already"),
        (lambda: transaction(3), "wants a function"),
        (lambda: transaction(lambda: None).inputs, "must be `tx`"),
        (lambda: transaction(lambda tx, lane: None).inputs, "cannot be called 'lane'"),
        (lambda: transaction(lambda tx, *a: None).inputs, "name of its own"),
    ],
)
def test_wrong_declarations_are_named(make: Any, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        make()


def test_a_transaction_is_a_value_and_registers_nothing() -> None:
    assert isinstance(transaction(lambda tx: None), Transaction)
