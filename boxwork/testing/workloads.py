"""Workloads of `state`, shared by tests, the simulation and the benchmarks.

Each has boxes, a setup, a stream of calls drawn from a seeded source, and a check of what must hold whatever
happened; so correctness and speed are measured on the same thing.  Mixes as in the papers: SmallBank (Alomari,
Cahill, Fekete, Röhm, ICDE 2008), TPC-C (NewOrder and Payment only), the ring is FoundationDB's Cycle.

This file is long because it is one table: workload after workload, each of them short.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from itertools import accumulate
from typing import Any, Protocol

from boxwork.state.tx import Tx
from boxwork.transactions import Transaction, transaction

Call = tuple[Transaction[..., Any], tuple[Any, ...]]
Boxes = Mapping[str, Transaction[..., Any]]


class Chance(Protocol):
    """What a workload needs of `random.Random(seed)`."""

    def random(self) -> float: ...
    def randrange(self, start: int, stop: int = ...) -> int: ...


class Reader(Protocol):
    """What a check needs of a snapshot."""

    def get(self, key: Any, default: Any = None) -> Any: ...
    def scan(self, prefix: Any = ()) -> list[tuple[Any, Any]]: ...


class Workload(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def boxes(self) -> Mapping[str, Transaction[..., Any]]:
        """Its transactions by name, for whoever runs a log again."""
        ...

    def setup(self) -> list[Call]: ...
    def calls(self, chance: Chance) -> Iterator[Call]:
        """Calls without end."""
        ...

    def check(self, facts: Reader, committed: int) -> list[str]:
        """What does not hold, after `committed` calls of `calls` were committed (or -1, if that is not known)."""
        ...


def zipf(count: int, theta: float) -> Callable[[Chance], int]:
    """Draws 0…count-1; how often falls with rank to the power of theta.  theta 0 is uniform."""
    totals = list(accumulate((rank + 1) ** -theta for rank in range(count)))
    whole = totals[-1]
    return lambda chance: min(bisect_left(totals, chance.random() * whole), count - 1)


# --- likes --------------------------------------------------------------------------------------------------


@transaction
def like(tx: Tx, post: int) -> None:
    tx.add(("likes", post), 1)


@transaction
def like_by_reading(tx: Tx, post: int) -> int:
    likes: int = tx.get(("likes", post), 0) + 1
    tx.put(("likes", post), likes)
    return likes


class Likes:
    """Counters that a thousand people press."""

    name = "likes"

    def __init__(self, posts: int = 10_000, theta: float = 0.99, *, reading: bool = False) -> None:
        self._draw = zipf(posts, theta)
        self._box = like_by_reading if reading else like
        self.boxes: Boxes = {like.name: like, like_by_reading.name: like_by_reading}

    def setup(self) -> list[Call]:
        return []

    def calls(self, chance: Chance) -> Iterator[Call]:
        box: Any = self._box
        while True:
            yield box, (self._draw(chance),)

    def check(self, facts: Reader, committed: int) -> list[str]:
        total = sum(value for _, value in facts.scan(("likes",)))
        return [] if committed < 0 or total == committed else [f"{committed} likes were committed, {total} counted"]


# --- SmallBank ----------------------------------------------------------------------------------------------


@transaction
def balance(tx: Tx, customer: int) -> int:
    return tx.get(("checking", customer)) + tx.get(("savings", customer))  # type: ignore[no-any-return]


@transaction
def deposit_checking(tx: Tx, customer: int, amount: int) -> None:
    tx.put(("checking", customer), tx.get(("checking", customer)) + amount)


@transaction
def transact_savings(tx: Tx, customer: int, amount: int) -> None:
    saved = tx.get(("savings", customer)) + amount
    if saved < 0:
        tx.refuse("not enough savings", customer=customer)
    tx.put(("savings", customer), saved)


@transaction
def amalgamate(tx: Tx, source: int, target: int) -> None:
    total = tx.get(("checking", source)) + tx.get(("savings", source))
    tx.put(("checking", source), 0)
    tx.put(("savings", source), 0)
    tx.put(("checking", target), tx.get(("checking", target)) + total)


@transaction
def write_check(tx: Tx, customer: int, amount: int) -> None:
    checking = tx.get(("checking", customer))
    if checking + tx.get(("savings", customer)) < amount:
        amount += 100  # the penalty for an overdraft, in cents
    tx.put(("checking", customer), checking - amount)


@transaction
def send_payment(tx: Tx, source: int, target: int, amount: int) -> None:
    left = tx.get(("checking", source)) - amount
    if left < 0:
        tx.refuse("not enough money", customer=source)
    tx.put(("checking", source), left)
    tx.put(("checking", target), tx.get(("checking", target)) + amount)


@transaction
def open_account(tx: Tx, customer: int, cents: int) -> None:
    tx.put(("checking", customer), cents)
    tx.put(("savings", customer), cents)


@transaction
def deposit_by_adding(tx: Tx, customer: int, amount: int) -> None:
    tx.add(("checking", customer), amount)


@transaction
def pay_by_adding(tx: Tx, source: int, target: int, amount: int) -> None:
    tx.add(("checking", source), -amount, min=0)
    tx.add(("checking", target), amount)


class SmallBank:
    """Six short transactions on two accounts a customer.

    In its closed form (deposits, checks and savings come in pairs that cancel out) money is neither made nor lost:
    only SendPayment and Amalgamate are drawn then, and the total must stay.
    """

    name = "smallbank"

    def __init__(
        self,
        customers: int = 10_000,
        theta: float = 0.99,
        *,
        closed: bool = False,
        adding: bool = False,
        cents: int = 10_000,
    ) -> None:
        self._customers = customers
        self._draw = zipf(customers, theta)
        self._closed = closed
        self._adding = adding
        self._cents = cents
        boxes: list[Transaction[..., Any]] = [
            balance,
            deposit_checking,
            transact_savings,
            amalgamate,
            write_check,
            send_payment,
            open_account,
            deposit_by_adding,
            pay_by_adding,
        ]
        self.boxes: Boxes = {box.name: box for box in boxes}

    def setup(self) -> list[Call]:
        return [(open_account, (customer, self._cents)) for customer in range(self._customers)]

    def calls(self, chance: Chance) -> Iterator[Call]:
        draw, customers = self._draw, self._customers
        deposit: Any = deposit_by_adding if self._adding else deposit_checking
        pay: Any = pay_by_adding if self._adding else send_payment
        while True:
            kind = chance.random()
            first = draw(chance)
            second = (first + 1 + chance.randrange(0, customers - 1)) % customers
            amount = chance.randrange(1, 100)
            if self._closed:
                kind = 0.15 * kind if kind < 0.2 else 0.45 + 0.15 * kind if kind < 0.4 else 0.8
            if kind < 0.15:
                yield balance, (first,)
            elif kind < 0.30:
                yield deposit, (first, amount)
            elif kind < 0.45:
                yield transact_savings, (first, amount - 50)
            elif kind < 0.60:
                yield amalgamate, (first, second)
            elif kind < 0.75:
                yield write_check, (first, amount)
            else:
                yield pay, (first, second, amount)

    def check(self, facts: Reader, committed: int) -> list[str]:
        wrong = [f"the savings of {key[1]} are {value}" for key, value in facts.scan(("savings",)) if value < 0]
        if self._closed:
            total = sum(value for table in ("checking", "savings") for _, value in facts.scan((table,)))
            expected = 2 * self._cents * self._customers
            if total != expected:
                wrong.append(f"the bank holds {total} instead of {expected}")
            wrong += [f"the account of {key[1]} is {value}" for key, value in facts.scan(("checking",)) if value < 0]
        return wrong


# --- TPC-C, lite --------------------------------------------------------------------------------------------


@transaction
def new_order(tx: Tx, warehouse: int, district: int, customer: int, lines: tuple[tuple[int, int, int], ...]) -> int:
    """`lines`: (item, warehouse that supplies it, quantity).  Returns the number of the order.

    An order is one fact, its lines and what each of them costs included: they are made together and read together.
    """
    tax = tx.get(("warehouse_tax", warehouse))
    order: int = tx.get(("next_order", warehouse, district))
    tx.put(("next_order", warehouse, district), order + 1)
    total = 0
    bought: list[tuple[int, int, int, int]] = []
    for item, supplier, quantity in lines:
        price = tx.get(("item", item))
        if price is None:
            tx.refuse("no such item", item=item)
        left = tx.get(("stock", supplier, item))
        left -= quantity
        if left < 10:
            left += 91
        tx.put(("stock", supplier, item), left)
        bought.append((item, supplier, quantity, price * quantity))
        total += price * quantity
    tx.put(("order", warehouse, district, order), (customer, total * (100 + tax) // 100, tuple(bought)))
    return order


@transaction
def payment(tx: Tx, warehouse: int, district: int, customer: int, cents: int) -> None:
    tx.put(("warehouse_paid", warehouse), tx.get(("warehouse_paid", warehouse)) + cents)
    tx.put(("district_paid", warehouse, district), tx.get(("district_paid", warehouse, district)) + cents)
    tx.put(
        ("customer_owes", warehouse, district, customer),
        tx.get(("customer_owes", warehouse, district, customer)) - cents,
    )
    tx.put(("history", tx.uid()), (warehouse, district, customer, cents))


@transaction
def payment_by_adding(tx: Tx, warehouse: int, district: int, customer: int, cents: int) -> None:
    tx.add(("warehouse_paid", warehouse), cents)
    tx.add(("district_paid", warehouse, district), cents)
    tx.add(("customer_owes", warehouse, district, customer), -cents)
    tx.put(("history", tx.uid()), (warehouse, district, customer, cents))


@transaction
def open_warehouse(tx: Tx, warehouse: int, districts: int, customers: int) -> None:
    tx.put(("warehouse_tax", warehouse), 7)
    tx.put(("warehouse_paid", warehouse), 0)
    for district in range(districts):
        tx.put(("next_order", warehouse, district), 1)
        tx.put(("district_paid", warehouse, district), 0)
        for customer in range(customers):
            tx.put(("customer_owes", warehouse, district, customer), 0)


@transaction
def stock_up(tx: Tx, warehouse: int, first: int, last: int) -> None:
    for item in range(first, last):
        if warehouse == 0:
            tx.put(("item", item), 100 + item % 900)
        tx.put(("stock", warehouse, item), 10 + item % 91)


class TpccLite:
    """NewOrder and Payment, half and half."""

    name = "tpcc-lite"

    def __init__(
        self,
        warehouses: int = 1,
        districts: int = 10,
        customers: int = 300,
        items: int = 10_000,
        *,
        adding: bool = False,
    ) -> None:
        self._warehouses, self._districts, self._customers, self._items = warehouses, districts, customers, items
        self._pay: Any = payment_by_adding if adding else payment
        boxes: list[Transaction[..., Any]] = [new_order, payment, payment_by_adding, open_warehouse, stock_up]
        self.boxes: Boxes = {box.name: box for box in boxes}

    def setup(self) -> list[Call]:
        calls: list[Call] = []
        for warehouse in range(self._warehouses):
            calls.append((open_warehouse, (warehouse, self._districts, self._customers)))
            calls += [
                (stock_up, (warehouse, first, min(first + 1000, self._items))) for first in range(0, self._items, 1000)
            ]
        return calls

    def calls(self, chance: Chance) -> Iterator[Call]:
        pick = chance.randrange
        while True:
            warehouse, district = pick(0, self._warehouses), pick(0, self._districts)
            customer = pick(0, self._customers)
            if chance.random() < 0.5:
                lines = tuple(
                    (
                        pick(0, self._items),
                        warehouse if chance.random() > 0.01 else pick(0, self._warehouses),
                        pick(1, 11),
                    )
                    for _ in range(pick(5, 16))
                )
                yield new_order, (warehouse, district, customer, lines)
            else:
                yield self._pay, (warehouse, district, customer, pick(100, 500_000))

    def check(self, facts: Reader, committed: int) -> list[str]:
        wrong = []
        for key, paid in facts.scan(("warehouse_paid",)):
            of_districts = sum(value for _, value in facts.scan(("district_paid", key[1])))
            if paid != of_districts:
                wrong.append(f"warehouse {key[1]} was paid {paid}, its districts {of_districts}")
        for key, following in facts.scan(("next_order",)):
            orders = [row[0][3] for row in facts.scan(("order", *key[1:]))]
            if orders != list(range(1, following)):
                wrong.append(f"district {key[1:]} has {len(orders)} orders, the next one is {following}")
            tax = facts.get(("warehouse_tax", key[1]))
            for order, (_, total, bought) in facts.scan(("order", *key[1:])):
                costs = sum(cost for *_, cost in bought)
                if not bought or total != costs * (100 + tax) // 100:
                    wrong.append(f"order {order[1:]} is of {total}, its {len(bought)} lines of {costs}")
        paid = sum(row[1][3] for row in facts.scan(("history",)))
        booked = sum(value for _, value in facts.scan(("warehouse_paid",)))
        if paid != booked:
            wrong.append(f"the history says {paid}, the warehouses {booked}")
        return wrong


# --- the ring -----------------------------------------------------------------------------------------------


@transaction
def swap_in_ring(tx: Tx, start: int) -> None:
    """a → b → c → d becomes a → c → b → d."""
    first = tx.get(("ring", start))
    second = tx.get(("ring", first))
    third = tx.get(("ring", second))
    tx.put(("ring", start), second)
    tx.put(("ring", second), first)
    tx.put(("ring", first), third)


@transaction
def close_ring(tx: Tx, size: int) -> None:
    for at in range(size):
        tx.put(("ring", at), (at + 1) % size)


class Ring:
    """Pointers in a circle: one lost or doubled write breaks it."""

    name = "ring"

    def __init__(self, size: int = 20) -> None:
        self._size = size
        self.boxes: Boxes = {box.name: box for box in (swap_in_ring, close_ring)}

    def setup(self) -> list[Call]:
        return [(close_ring, (self._size,))]

    def calls(self, chance: Chance) -> Iterator[Call]:
        while True:
            yield swap_in_ring, (chance.randrange(0, self._size),)

    def check(self, facts: Reader, committed: int) -> list[str]:
        at, seen = 0, set()
        while at not in seen:
            seen.add(at)
            at = facts.get(("ring", at))
        return [] if at == 0 and len(seen) == self._size else [f"the ring of {self._size} closes after {len(seen)}"]


# --- lists, for the black-box check ---------------------------------------------------------------------------


@transaction
def append_and_read(tx: Tx, appends: tuple[tuple[int, int], ...], reads: tuple[int, ...]) -> tuple[Any, ...]:
    """Append (list, item) pairs, and return the whole of other lists, read before."""
    seen = tuple((name, tx.get(("list", name), ())) for name in reads)
    for name, item in appends:
        tx.append(("list", name), item)
    return seen


class Lists:
    """Reads of whole lists tell which appends they saw, and in which order: see `checkers.check_lists`."""

    name = "lists"

    def __init__(self, lists: int = 6, theta: float = 0.5) -> None:
        self._lists = lists
        self._draw = zipf(lists, theta)
        self._item = 0
        self.boxes: Boxes = {append_and_read.name: append_and_read}

    def setup(self) -> list[Call]:
        return []

    def calls(self, chance: Chance) -> Iterator[Call]:
        while True:
            appends = []
            for _ in range(chance.randrange(0, 3)):
                self._item += 1
                appends.append((self._draw(chance), self._item))
            reads = tuple(sorted({self._draw(chance) for _ in range(chance.randrange(0, 3))}))
            if appends or reads:
                yield append_and_read, (tuple(appends), reads)

    def check(self, facts: Reader, committed: int) -> list[str]:
        items = [item for _, value in facts.scan(("list",)) for item in value]
        return [] if len(items) == len(set(items)) else ["an item was appended twice"]


# --- a budget -----------------------------------------------------------------------------------------------


@transaction
def spend(tx: Tx, budget: int, cents: int) -> None:
    tx.add(("spent", budget), cents)  # first, so that a refusal has something to take back
    tx.add(("budget", budget), -cents, min=0)


@transaction
def fund(tx: Tx, budget: int, cents: int) -> None:
    tx.add(("budget", budget), cents, max=1_000_000)
    tx.add(("spent", budget), -cents)


class Budgets:
    """Guarded counters: never below zero, and nothing is lost between the two columns."""

    name = "budgets"

    def __init__(self, budgets: int = 4) -> None:
        self._budgets = budgets
        self.boxes: Boxes = {box.name: box for box in (spend, fund)}

    def setup(self) -> list[Call]:
        return [(fund, (budget, 500)) for budget in range(self._budgets)]

    def calls(self, chance: Chance) -> Iterator[Call]:
        while True:
            budget = chance.randrange(0, self._budgets)
            if chance.random() < 0.8:
                yield spend, (budget, chance.randrange(1, 200))
            else:
                yield fund, (budget, chance.randrange(1, 300))

    def check(self, facts: Reader, committed: int) -> list[str]:
        wrong = []
        for budget in range(self._budgets):
            left, spent = facts.get(("budget", budget), 0), facts.get(("spent", budget), 0)
            if left < 0:
                wrong.append(f"budget {budget} is {left}")
            if left + spent != 0:
                wrong.append(f"budget {budget}: {left} left and {spent} spent do not cancel out")
        return wrong


# --- things with time, chance, deletion and scans ---------------------------------------------------------------


@transaction
def claim(tx: Tx, task: int, worker: int) -> str:
    """Exactly one worker gets a task; its ticket is drawn from the batch's chance."""
    ticket = tx.uid()
    if not tx.put_new(("claimed", task), (worker, ticket)):
        tx.refuse("claimed by somebody else", task=task)
    tx.delete(("open", task))
    return ticket


@transaction
def offer(tx: Tx, task: int) -> int:
    """Open a task again; returns how many are open."""
    tx.delete(("claimed", task))
    tx.put(("open", task), tx.now())
    return len(tx.scan(("open",)))


class Tasks:
    """Each task is either open or claimed, never both and never none."""

    name = "tasks"

    def __init__(self, tasks: int = 8) -> None:
        self._tasks = tasks
        self.boxes: Boxes = {box.name: box for box in (claim, offer)}

    def setup(self) -> list[Call]:
        return [(offer, (task,)) for task in range(self._tasks)]

    def calls(self, chance: Chance) -> Iterator[Call]:
        while True:
            task = chance.randrange(0, self._tasks)
            if chance.random() < 0.6:
                yield claim, (task, chance.randrange(0, 100))
            else:
                yield offer, (task,)

    def check(self, facts: Reader, committed: int) -> list[str]:
        states = [
            (facts.get(("open", task)) is not None, facts.get(("claimed", task)) is not None)
            for task in range(self._tasks)
        ]
        return [
            f"task {task} is {'both' if opened else 'neither'} open and claimed"
            for task, (opened, claimed) in enumerate(states)
            if opened == claimed
        ]


def all_workloads() -> list[Workload]:
    """Small ones of every kind, for tests and simulations."""
    return [
        Likes(20, 0.99),
        Likes(20, 0.99, reading=True),
        SmallBank(12, 0.99, closed=True, cents=300),
        SmallBank(12, 0.99, closed=True, adding=True, cents=300),
        TpccLite(1, 2, 5, 20),
        TpccLite(2, 2, 5, 20, adding=True),
        Ring(10),
        Lists(),
        Budgets(),
        Tasks(),
    ]
