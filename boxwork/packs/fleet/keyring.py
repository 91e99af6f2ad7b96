"""The keys that documents are signed with: one, or two while hosts learn the next one.

    ("fleet", "keys")    Ring: the public keys in use, the oldest first; absent: the first key alone

A key is changed without touching a host: `new` adds one, and each host is told of it in a document that its old key
signed; `retire` takes the old one out of use, and a document that only it signed is taken by nobody any more.  Both
give every host a new position, for a host takes nothing that is not newer than what it has.  Tokens of hosts are by
these keys, too; those by a retired key are good until its grace is over.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import msgspec

from boxwork import clock, errors, transaction
from boxwork.packs.fleet import protocol
from boxwork.packs.fleet.decisions import Assigned, Event

FIRST = "fleet.ed25519"
# Hosts that a refusal names.  Unit: hosts.
HOSTS_TOLD = 5
# So long a token may outlive its key.  Unit: s; a year, for whoever does that outlives it by accident.
GRACE_S_MAX = 366 * 86_400.0


class Ring(msgspec.Struct, frozen=True):
    """Public keys in hexadecimal; every document is signed by each of `keys`."""

    keys: tuple[str, ...] = ()
    retired: tuple[str, ...] = ()
    # When the tokens by a retired key are no longer taken.
    tokens_until_ns: dict[str, int] = {}
    events: tuple[Event, ...] = ()


@transaction(name="fleet.rekey")
def rekey(
    tx: Any, keys: tuple[str, ...], retired: str, grace_ns: int, before: int, what: str, by: str, why: str
) -> Ring:
    """Other keys, told to every host; refused if somebody else changed them since (`before` events).

    `retired` is the key that goes, or that went before and whose grace is changed; "" is none.
    """
    old = tx.get(("fleet", "keys")) or Ring()
    tx.require(len(old.events) == before, "the keys were changed meanwhile: look at them again")
    gone = old.retired if not retired or retired in old.retired else (*old.retired, retired)
    until = {**old.tokens_until_ns, retired: tx.now() + grace_ns} if retired else old.tokens_until_ns
    ring = Ring(keys, gone, until, (*old.events, Event(tx.now(), what, by, why)))
    tx.put(("fleet", "keys"), ring)
    if keys == old.keys:
        return ring
    for key, one in tx.scan(("fleet", "assigned")):
        if one.release:
            tx.put(key, Assigned(one.release, one.position + 1, False, one.rollout, one.before))
    return ring


class Keyring:
    """The private halves, in the data directory's `keys`, beside what was decided about them."""

    def __init__(self, fleet: Any, folder: Path) -> None:
        self.fleet = fleet
        self.folder = folder
        self._known: dict[str, bytes] = {}
        self._first = b""
        self._of_tokens: tuple[Ring, dict[str, int | None]] | None = None

    @property
    def first(self) -> bytes:
        """The key that was made at the first need."""
        if not self._first:
            self._first = key_at(self.folder / FIRST)
        return self._first

    @property
    def ring(self) -> Ring:
        """As decided; before anything was, the first key alone."""
        ring: Ring = self.fleet.mirror.keys
        return ring if ring.keys else Ring((protocol.public_key(self.first).hex(),))

    @property
    def newest(self) -> bytes:
        """The private key of tokens that are made now."""
        return self.private(self.ring.keys[-1])

    @property
    def token_keys(self) -> dict[str, int | None]:
        """The public keys whose tokens are good, the newest first, each with its end; the same object until a change.

        As the conductor has seen it, if there is one: this is asked with every question of a host.
        """
        decided: Ring = self.fleet.followed.keys
        if self._of_tokens is None or self._of_tokens[0] is not decided:
            keys = decided.keys or (protocol.public_key(self.first).hex(),)
            found: dict[str, int | None] = dict.fromkeys(reversed(keys))
            found |= {key: decided.tokens_until_ns.get(key, 0) for key in reversed(decided.retired)}
            self._of_tokens = (decided, found)
        return self._of_tokens[1]

    def private(self, public: str) -> bytes:
        found = self._known.get(public)
        if found is None:
            first = self.first
            found = first if protocol.public_key(first).hex() == public else self._read(public)
            self._known[public] = found
        return found

    def _read(self, public: str) -> bytes:
        path = self.folder / _file(public)
        if not path.exists():
            raise errors.StorageError(f"{path} is missing: restore the key {public[:16]}… from a backup")
        return key_at(path)

    def signing(self, decided: Ring) -> tuple[bytes, ...]:
        """The private keys of a document, the oldest first."""
        return tuple(self.private(key) for key in decided.keys) or (self.first,)

    def new(self, *, who: str, why: str) -> str:
        """Add a key, and tell every host of it; its public half."""
        _check_reason(why)
        ring = self.ring
        if len(ring.keys) > 1:
            raise errors.Refused(f"there are {len(ring.keys)} keys already: retire {ring.keys[0][:16]}… first")
        made = protocol.new_key()
        public = protocol.public_key(made).hex()
        key_at(self.folder / _file(public), made)  # on the disk before anybody is told
        self._commit((*ring.keys, public), f"key {public[:16]}… new", who, why)
        return public

    def retire(self, begin: str, *, who: str, why: str, anyway: bool = False, grace_s: float | None = None) -> str:
        """Take a key out of use, by the begin of its public half, once every host has learnt the other one.

        Tokens by it are taken for `grace_s` more (None: `fleet.token_grace_s`); of a key that is retired already, this
        alone is changed.
        """
        _check_reason(why)
        if grace_s is None:
            grace_s = self.fleet.work.settings.number("fleet.token_grace_s")
        if not 0 <= grace_s <= GRACE_S_MAX:
            raise errors.BadInput(f"a grace of {grace_s:g} s: from 0 to {GRACE_S_MAX:,.0f} (a year), please")
        grace_ns, ring = int(grace_s * clock.SECOND_NS), self.ring
        found = [key for key in (*ring.keys, *ring.retired) if begin and key.startswith(begin.lower())]
        if len(found) != 1:
            raise errors.NotFound(f"{begin[:70]!r} is the begin of {len(found)} keys: see `boxwork fleet keys`")
        [key] = found
        if key in ring.retired:
            self._commit(ring.keys, f"key {key[:16]}… tokens", who, why, key, grace_ns)
            return key
        if len(ring.keys) == 1:
            raise errors.Refused("it is the only key: make the next one first, `boxwork fleet keys new`")
        late = [] if anyway else self.unaware()
        if late:
            named = ", ".join(late[:HOSTS_TOLD]) + (" …" if len(late) > HOSTS_TOLD else "")
            raise errors.Refused(
                f"{len(late)} hosts have not said that they know the other key ({named}): wait, or say --anyway; such"
                " a host takes nothing more until its agent is given the new key"
            )
        kept = tuple(one for one in ring.keys if one != key)
        self._commit(kept, f"key {key[:16]}… retired", who, why, key, grace_ns)
        return key

    def unaware(self) -> list[str]:
        """Hosts that have not judged the newest document that is meant for them."""
        mirror = self.fleet.mirror
        return sorted(
            host
            for host, one in mirror.assigned.items()
            if one.release
            and (
                (status := mirror.status.get(host)) is None or max(status.report.position, status.failed) < one.position
            )
        )

    def about(self) -> list[dict[str, Any]]:
        """Every key with its state and what was decided about it."""
        ring = self.ring
        rows = [(key, "in use") for key in ring.keys] + [(key, "retired") for key in ring.retired]
        return [
            {
                "key": key,
                "state": state,
                "tokens_until_ns": ring.tokens_until_ns.get(key),
                "events": [event for event in ring.events if key[:16] in event.what],
            }
            for key, state in rows
        ]

    def _commit(
        self, keys: tuple[str, ...], what: str, who: str, why: str, retired: str = "", grace_ns: int = 0
    ) -> None:
        before = len(self.fleet.mirror.keys.events)
        self.fleet.work.commit(
            rekey, keys=keys, retired=retired, grace_ns=grace_ns, before=before, what=what, by=who, why=why
        )
        self.fleet.mirror.catch_up()


def _check_reason(why: str) -> None:
    if not why.strip():
        raise errors.BadInput("a change of keys has a reason: say why (--reason)")


def _file(public: str) -> str:
    return f"fleet.{public[:16]}.ed25519"


def key_at(path: Path, new: bytes = b"") -> bytes:
    """The key in this file; `new`, or one made now, on disk before it is used, if there is no file."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        data = new or protocol.new_key()
        half = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}")  # two threads may come here first
        descriptor = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(half, path)  # whoever comes first wins, and both read the same key
        except FileExistsError:
            data = path.read_bytes()
        finally:
            half.unlink()
    if len(data) != protocol.KEY_BYTES:
        raise errors.StorageError(f"{path} has {len(data)} bytes, a key has {protocol.KEY_BYTES}: restore it")
    return data


REKEYING = (rekey,)
