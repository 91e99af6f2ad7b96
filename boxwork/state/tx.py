"""`tx`: the only door between a transaction and the facts, time and chance.

Two bodies of one interface: `SerialTx` runs on the live facts, alone, so it records nothing; `SnapshotTx` runs on
a version beside others and records what it read and did, which is what its place in the order is found from.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NoReturn, Protocol, TypeVar

from boxwork.errors import Refused
from boxwork.keys import draw
from boxwork.state.order import Key, check_key
from boxwork.state.snapshot import Base, scan
from boxwork.state.values import ABSENT, DELETED, SMALL, Packed, freeze, unpack
from boxwork.state.writes import Guard, Kind, Merge, bound_check, check_amount, joined, members_of, merged, number

S = TypeVar("S", bound="SerialTx")


class Tx(Protocol):
    """What a transaction may do.  Keys are tuples of str, int and bytes."""

    def get(self, key: Key, default: Any = None) -> Any:
        """The value under `key`, with this transaction's own changes; `default` if there is none."""
        ...

    def put(self, key: Key, value: Any) -> None:
        """Set a fact."""
        ...

    def put_new(self, key: Key, value: Any) -> bool:
        """Set a fact unless there is one; was it set?"""
        ...

    def delete(self, key: Key) -> None:
        """Take a fact away; that there is none is not an error."""
        ...

    def scan(
        self,
        prefix: Key = (),
        *,
        start: Key | None = None,
        end: Key | None = None,
        limit: int | None = None,
        reverse: bool = False,
    ) -> list[tuple[Key, Any]]:
        """The facts whose keys begin with `prefix`, in key order, from `start` to before `end`."""
        ...

    def add(self, key: Key, delta: int, *, min: int | None = None, max: int | None = None) -> None:
        """Add to a number (an absent one is 0).  Out of the bounds: `BoundReached`, nothing happens."""
        ...

    def max(self, key: Key, value: Any) -> None:
        """Keep the greater of the fact and `value`."""
        ...

    def min(self, key: Key, value: Any) -> None:
        """Keep the lesser of the fact and `value`."""
        ...

    def union(self, key: Key, members: Iterable[Any]) -> None:
        """Add members to a set."""
        ...

    def append(self, key: Key, item: Any) -> None:
        """Append to a tuple.  It is rewritten each time: over about 1,000 items use one key an item, and scan."""
        ...

    def now(self) -> int:
        """The time of the batch, in ns since 1970 UTC: recorded, so that it can be replayed."""
        ...

    def uid(self) -> str:
        """A name that nobody else has: 32 hexadecimal digits, drawn from the batch's recorded seed."""
        ...

    def random(self) -> float:
        """A number in [0, 1), drawn from the batch's recorded seed."""
        ...

    def refuse(self, reason: str, **details: Any) -> NoReturn:
        """Stop with a typed answer: nothing is changed and the caller gets `Refused`."""
        ...

    def require(self, condition: object, reason: str, **details: Any) -> None:
        """`refuse` unless the condition holds."""
        ...


class _Common:
    """What both bodies share: time, chance, and saying no."""

    __slots__ = ("drawn", "now_ns", "place", "seed")

    now_ns: int
    seed: bytes
    place: int
    drawn: int

    def now(self) -> int:
        return self.now_ns

    def _draw(self) -> bytes:
        self.drawn += 1
        return draw(self.seed, self.place, self.drawn)

    def uid(self) -> str:
        return self._draw()[:16].hex()

    def random(self) -> float:
        return (int.from_bytes(self._draw()[:7], "big") >> 3) / (1 << 53)  # 53 bits: all a float holds

    def refuse(self, reason: str, **details: Any) -> NoReturn:
        raise Refused(reason, **details)

    def require(self, condition: object, reason: str, **details: Any) -> None:
        if not condition:
            raise Refused(reason, **details)


class SerialTx(_Common):
    """Runs on the live facts under the changes of its batch, alone.

    One value serves a whole batch.  `own` holds the changes of the transaction that runs; whoever runs it moves
    them to the batch's, or forgets them, and clears `own`.
    """

    __slots__ = ("_base", "_batch", "_data", "own")

    def __init__(self, base: Base, data: dict[Key, Any], batch: dict[Key, Any], now_ns: int, seed: bytes) -> None:
        self._base = base
        self._data = data  # the dict behind `base`: read directly, a call costs as much as the lookup
        self._batch = batch
        self.own: dict[Key, Any] = {}
        self.now_ns = now_ns
        self.seed = seed
        self.place = 0
        self.drawn = 0

    def another(self, kind: type[S]) -> S:
        """Another one, of this kind, on the same facts."""
        return kind(self._base, self._data, self._batch, self.now_ns, self.seed)

    def _stored(self, key: Key) -> Any:
        own = self.own
        if own and key in own:
            return own[key]
        value = self._batch.get(key, ABSENT)
        return self._data.get(key, ABSENT) if value is ABSENT else value

    def get(self, key: Key, default: Any = None) -> Any:
        own = self.own
        if own and key in own:
            value = own[key]
        else:
            value = self._batch.get(key, ABSENT)
            if value is ABSENT:
                value = self._data.get(key, ABSENT)
        if value is ABSENT or value is DELETED:
            if value is ABSENT:
                check_key(key)
            return default
        return unpack(value.payload) if value.__class__ is Packed else value

    def put(self, key: Key, value: Any) -> None:
        own = self.own
        if key not in self._data and key not in own and key not in self._batch:
            check_key(key)
        own[key] = value if value.__class__ in SMALL else freeze(value)

    def put_new(self, key: Key, value: Any) -> bool:
        before = self._stored(key)
        if before is not ABSENT and before is not DELETED:
            return False
        self.put(key, value)
        return True

    def delete(self, key: Key) -> None:
        check_key(key)
        below = self._batch.get(key, ABSENT)
        if below is ABSENT:
            below = self._data.get(key, ABSENT)
        if below is ABSENT or below is DELETED:
            self.own.pop(key, None)  # nothing was there before this transaction: then it has done nothing
        else:
            self.own[key] = DELETED

    def scan(
        self,
        prefix: Key = (),
        *,
        start: Key | None = None,
        end: Key | None = None,
        limit: int | None = None,
        reverse: bool = False,
    ) -> list[tuple[Key, Any]]:
        changed = {**self._batch, **self.own} if self.own else self._batch
        return scan(self._base, prefix, start, end, limit, reverse, changed, self._stored)

    # Here, and only here, the bounds could be given by place: Python 3.11 calls a function without a `*` inline.
    def add(self, key: Key, delta: int, min: int | None = None, max: int | None = None) -> None:
        own = self.own
        if own and key in own:
            before = own[key]
        else:
            before = self._batch.get(key, ABSENT)
            if before is ABSENT:
                before = self._data.get(key, ABSENT)
                if before is ABSENT:
                    check_key(key)
        if delta.__class__ is not int:
            check_amount(key, delta)
        if before.__class__ is not int:
            before = number(key, before)
        after = before + delta
        if min is not None or max is not None:
            bound_check(key, before, after, min, max)
        own[key] = after

    def max(self, key: Key, value: Any) -> None:
        self._merge(key, "max", value)

    def min(self, key: Key, value: Any) -> None:
        self._merge(key, "min", value)

    def union(self, key: Key, members: Iterable[Any]) -> None:
        self._merge(key, "union", members_of(members))

    def append(self, key: Key, item: Any) -> None:
        self._merge(key, "append", (item,))

    def _merge(self, key: Key, kind: Kind, amount: Any) -> None:
        check_key(key)
        self.own[key] = merged(key, self._stored(key), kind, amount)


class SnapshotTx(_Common):
    """Runs on a version beside others, and records.

    reads    keys whose values (or absence) it saw
    scans    prefixes it scanned: every key under them counts as read
    puts     its last value by key, DELETED included
    merges   by key; a key is never in both `puts` and `merges`
    guards   bounds to be checked at its place
    """

    __slots__ = ("_base", "_known", "guards", "merges", "puts", "reads", "scans", "version")

    def __init__(self, base: Base, version: int, now_ns: int, seed: bytes, place: int) -> None:
        self._base = base
        self.version = version
        self.now_ns = now_ns
        self.seed = seed
        self.place = place
        self.drawn = 0
        # What was read, by key: read once, so that one attempt never sees two values of a key.
        self._known: dict[Key, Any] = {}
        self.reads = self._known.keys()
        self.scans: dict[Key, None] = {}
        self.puts: dict[Key, Any] = {}
        self.merges: dict[Key, Merge] = {}
        self.guards: list[Guard] = []

    @property
    def writes(self) -> bool:
        return bool(self.puts or self.merges)

    @property
    def reads_anything(self) -> bool:
        return bool(self._known or self.scans)

    def touched(self) -> list[Key]:
        """Every key it writes."""
        return [*self.puts, *self.merges]

    def read_at(self, key: Key) -> int:
        """The version at which `key` was read."""
        return self.version

    def scanned_at(self, prefix: Key) -> int:
        return self.version

    def _read(self, key: Key) -> Any:
        value = self._known.get(key)
        if value is None:  # stored None is a value too, so ask again whether it is known
            if key in self._known:
                return None
            value = self._base.stored(key)
            if value is ABSENT:
                check_key(key)
            self._known[key] = value
        return value

    def _stored(self, key: Key) -> Any:
        if key in self.puts:
            return self.puts[key]
        merge = self.merges.get(key)
        if merge is None:
            return self._read(key)
        return merged(key, self._read(key), *merge)

    def get(self, key: Key, default: Any = None) -> Any:
        value = self._stored(key) if self.puts or self.merges else self._read(key)
        if value is ABSENT or value is DELETED:
            return default
        return unpack(value.payload) if value.__class__ is Packed else value

    def put(self, key: Key, value: Any) -> None:
        check_key(key)
        self.puts[key] = value if value.__class__ in SMALL else freeze(value)
        self.merges.pop(key, None)

    def put_new(self, key: Key, value: Any) -> bool:
        before = self._stored(key)
        if before is not ABSENT and before is not DELETED:
            return False
        self.put(key, value)
        return True

    def delete(self, key: Key) -> None:
        check_key(key)
        self.puts[key] = DELETED
        self.merges.pop(key, None)

    def scan(
        self,
        prefix: Key = (),
        *,
        start: Key | None = None,
        end: Key | None = None,
        limit: int | None = None,
        reverse: bool = False,
    ) -> list[tuple[Key, Any]]:
        self.scans[prefix] = None
        own = {**self.puts, **dict.fromkeys(self.merges)}
        return scan(self._base, prefix, start, end, limit, reverse, own, self._stored)

    def add(self, key: Key, delta: int, *, min: int | None = None, max: int | None = None) -> None:
        if delta.__class__ is not int:
            check_amount(key, delta)
        guarded = min is not None or max is not None
        if key in self.puts:
            before = number(key, self.puts[key])
            if guarded:
                bound_check(key, before, before + delta, min, max)
            self.puts[key] = before + delta
            return
        if not guarded:
            self._merge(key, "add", delta)
            return
        earlier = self.merges.get(key)
        if earlier is not None and earlier[0] != "add":
            before = number(key, self._stored(key))
            bound_check(key, before, before + delta, min, max)
            self.put(key, before + delta)
            return
        check_key(key)
        so_far = (0 if earlier is None else earlier[1]) + delta
        # The look is not a read: the guard is checked again at this transaction's place.  Only if it already fails
        # here does the answer depend on what was seen, and then the key counts as read.
        stored = self._known[key] if key in self._known else self._base.stored(key)
        before = number(key, stored) + so_far - delta
        if (min is not None and before + delta < min) or (max is not None and before + delta > max):
            self._read(key)
            bound_check(key, before, before + delta, min, max)
        self.guards.append(Guard(key, so_far, min, max))
        self.merges[key] = ("add", so_far)

    def max(self, key: Key, value: Any) -> None:
        self._merge(key, "max", value)

    def min(self, key: Key, value: Any) -> None:
        self._merge(key, "min", value)

    def union(self, key: Key, members: Iterable[Any]) -> None:
        self._merge(key, "union", members_of(members))

    def append(self, key: Key, item: Any) -> None:
        self._merge(key, "append", (item,))

    def _merge(self, key: Key, kind: Kind, amount: Any) -> None:
        if key in self.puts:
            self.puts[key] = merged(key, self.puts[key], kind, amount)
            return
        check_key(key)
        if kind != "add":
            freeze(amount)  # refuses what cannot be stored, here and not when the batch is applied
        earlier = self.merges.get(key)
        if earlier is None:
            self.merges[key] = (kind, amount)
            return
        both = joined(earlier, (kind, amount))
        if both is not None:
            self.merges[key] = both
        else:  # of two kinds: then the value matters, and the key counts as read
            self.put(key, merged(key, self._stored(key), kind, amount))
