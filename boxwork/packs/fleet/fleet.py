"""The fleet of one node: what is published, what each host shall be, and moving it.  The command line and the edge
both stand on this; what decides is in `decisions` and `plan`.
"""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from boxwork import Ref, errors
from boxwork import tree as trees
from boxwork.packs.fleet import decisions, protocol, roots
from boxwork.packs.fleet.bundle import Bundles, Content
from boxwork.packs.fleet.decisions import Assigned, Rollout, State, Version
from boxwork.packs.fleet.facade import Facade, difference
from boxwork.packs.fleet.keyring import Keyring
from boxwork.packs.fleet.mirror import Mirror
from boxwork.packs.fleet.overrides import is_for, read_scope
from boxwork.packs.fleet.plan import Plan, order
from boxwork.packs.fleet.protocol import Desired, Signed
from boxwork.packs.fleet.release import Kind, kinds_of
from boxwork.packs.fleet.systems import Systems, pack
from boxwork.packs.fleet.table import Raw, Table, check

# Tables and templates of so many versions stay in memory: the present one, the one before, and one somebody looks at.
TABLES_KEPT = 8
# Contents in memory, of all hosts and releases.  Unit: contents; about 1 KiB each, so 50 MiB at most.
CONTENTS_KEPT = 50_000
# What is in small trees, in memory: of each host the present and the next.  Unit: trees, of 64 names at most, 6 KiB.
REFS_KEPT = 10_000
REFS_EACH_MAX = 64
NO_BLOBS = msgspec.Raw(msgspec.msgpack.encode([]))
# Packs in memory: hosts with equal trees ask for the same one within seconds.  Unit: packs, of 1 MiB at most.
PACKS_KEPT = 32


class Told(NamedTuple):
    """What a host is told, and the names of that: they are asked for with every question."""

    assigned: Assigned
    signed: Signed
    digest: str
    tree: str


class Fleet:
    """Safe from several threads.  The first call that needs the facts opens them; then this process owns them."""

    def __init__(self, work: Any) -> None:
        self.work = work
        self.facade = Facade(work, work.settings.text("fleet.source"))
        self._lock = threading.RLock()
        self._mirror: Mirror | None = None
        self._tables: OrderedDict[Ref, Table] = OrderedDict()
        self._kinds: OrderedDict[Ref, Mapping[str, Kind]] = OrderedDict()
        self._bundles: OrderedDict[tuple[Any, ...], Bundles] = OrderedDict()
        self._systems = Systems(work)
        self._contents: OrderedDict[tuple[str, int], Content] = OrderedDict()
        self._packs: OrderedDict[tuple[Ref, str], msgspec.Raw] = OrderedDict()
        self._refs: OrderedDict[Ref, dict[Ref, int]] = OrderedDict()
        self._told: dict[str, Told] = {}
        self.keyring = Keyring(self, Path(work.node.root) / "keys")
        self.conductor: Any = None
        self.pins = roots.Pins(work)

    def close(self) -> None:
        if self.conductor is not None:
            self.conductor.stop()
        if self._mirror is not None:
            self._mirror.close()

    # --- looking

    @property
    def mirror(self) -> Mirror:
        """The facts as they are now."""
        with self._lock:
            if self._mirror is None:
                self._mirror = Mirror(self.work)
            self._mirror.catch_up()
            return self._mirror

    @property
    def followed(self) -> Mirror:
        """The facts as the conductor has seen them, at most some tenths of a second ago: no look at the log."""
        found = self._mirror
        return found if found is not None and self.conductor is not None else self.mirror

    @property
    def private_key(self) -> bytes:
        """The first key: made at the first need, mode 0600, beside the other keys."""
        with self._lock:
            return self.keyring.first

    def version(self, number: int) -> Version:
        """Raises `NotFound`."""
        mirror = self.mirror
        found = mirror.versions.get(number)
        if found is None:
            known = f"there are 1 to {mirror.latest}" if mirror.latest else "nothing is published yet"
            raise errors.NotFound(f"there is no version {number}: {known}", version=number)
        return found

    def table(self, version: Version) -> Table:
        with self._lock:
            table = self._tables.get(version.table)
            if table is None:
                table = self._tables[version.table] = Table.from_bytes(self.work.get(version.table))
                _trim(self._tables, TABLES_KEPT)
            return table

    def kinds(self, template: Ref) -> Mapping[str, Kind]:
        with self._lock:
            found = self._kinds.get(template)
            if found is None:
                found = self._kinds[template] = kinds_of(self.work.tree(template))
                _trim(self._kinds, TABLES_KEPT)
            return found

    def bundles(self, template: Ref, under: Mapping[str, Ref]) -> Bundles:
        """What makes the contents of a release that stands on these roots, by the names of its kinds."""
        key = (template, *under.items())
        with self._lock:
            found = self._bundles.get(key)
            if found is None:
                found = self._bundles[key] = Bundles(self.work, self.kinds(template), under)
                _trim(self._bundles, TABLES_KEPT)
            return found

    def content(self, host: str, number: int) -> Content | None:
        """What a host is in a version; None if it is not in it."""
        if number == 0:
            return None
        key = (host, number)
        known = self._contents.get(key)
        if known is not None:
            return known
        with self._lock:
            version = self.version(number)
            row = self.table(version).rows.get(host)
            if row is None:
                return None
            made = self.bundles(version.template, version.roots).content(host, row)
            self._contents[key] = made
            _trim(self._contents, CONTENTS_KEPT)
            return made

    def desired(self, host: str) -> Signed | None:
        """What a host shall be, signed; None if it is in no release."""
        told = self.told(host)
        return told.signed if told is not None else None

    def told(self, host: str, *, followed: bool = False) -> Told | None:
        """The same with its names, which are computed once.

        It is a function of the host's assignment alone, so it is made once for each.  With `followed`, the facts are
        those the conductor has seen: right for who is woken by it, and a third of the cost.
        """
        mirror = self._mirror if followed and self._mirror is not None else self.mirror
        assigned = mirror.assigned.get(host)
        if assigned is None or assigned.release == 0:
            return None
        known = self._told.get(host)
        if known is not None and (known.assigned is assigned or known.assigned == assigned):
            return known
        content = self.content(host, assigned.release)
        if content is None:  # the version is there, so its row is
            raise errors.NotFound(f"{host} is not in version {assigned.release}", host=host)
        document = Desired(
            host=host,
            epoch=mirror.epoch,
            position=assigned.position,
            release=assigned.release,
            rollback=assigned.rollback,
            tree=content.tree,
            effects=content.effects,
            packages=content.packages,
            hooks=content.hooks,
            secrets=content.secrets,
            root=content.root or msgspec.UNSET,
            keys=mirror.keys.keys or msgspec.UNSET,
        )
        signed = protocol.sign(self.keyring.signing(mirror.keys), document)
        told = self._told[host] = Told(assigned, signed, signed.digest, str(content.tree))
        return told

    def blob(self, host: str, ref: Ref) -> bytes:
        """A blob that is in what this host is or was told to be.

        What a quota took meanwhile is made again: it is derived.  Raises `NotFound` for anything else.
        """
        assigned = self.mirror.assigned.get(host)
        for number in () if assigned is None else (assigned.release, assigned.before):
            content = self.content(host, number)
            if content is None:
                continue
            try:
                held = self._holds(content, ref)
            except errors.BlobMissing:
                self._make_again(host, number)
                held = self._holds(content, ref)
            if held:
                try:
                    data: bytes = self.work.get(ref)
                except errors.BlobMissing:
                    self._make_again(host, number)
                    data = self.work.get(ref)
                return data
        raise errors.NotFound(f"there is no {ref} for {host}", ref=str(ref), host=host)

    def _holds(self, content: Content, ref: Ref) -> bool:
        return ref in self._refs_of(content.tree) if content.root is None else self._systems.holds(content, ref)

    def blobs_of(self, host: str, has: str) -> msgspec.Raw:
        """The same as `pack` if it is small enough to travel with the document, else an empty list."""
        blobs = self.pack(host, has)
        return blobs if len(bytes(blobs)) <= protocol.PARCEL_BYTES_MAX else NO_BLOBS

    def pack(self, host: str, has: str) -> msgspec.Raw:
        """The small blobs of what a host shall be that are not in the tree `has`, as many as one answer takes.

        The receiver names each by its hash.  What is larger, or too much, is asked for by name.
        """
        assigned = self._assigned(host)
        content = self.content(host, assigned.release) if assigned is not None else None
        if content is None:
            raise errors.NotFound(f"{host} is in no release", host=host)
        key = (content.tree, has)
        with self._lock:
            known = self._packs.get(key)
        if known is None:
            try:
                known = self._packed(content, has)
            except errors.BlobMissing:
                self._make_again(host, assigned.release if assigned is not None else 0)
                known = self._packed(content, has)
            with self._lock:
                self._packs[key] = known
                _trim(self._packs, PACKS_KEPT)
        return known

    def _assigned(self, host: str) -> Assigned | None:
        """Of what was told to the host, which is what it asks about."""
        mirror = self._mirror or self.mirror
        return mirror.assigned.get(host)

    def _packed(self, content: Content, has: str) -> msgspec.Raw:
        return self._pack(content.tree, has) if content.root is None else self._systems.pack(content, has)

    def _pack(self, tree: Ref, has: str) -> msgspec.Raw:
        old: dict[Ref, int] = {}
        if has:
            with contextlib.suppress(errors.BlobMissing):  # from another server: then everything is sent
                old = self._refs_of(Ref.parse(has))
        read: dict[Ref, bytes] = {}  # lists of names that had to be read just now
        held = self._refs_of(tree, read)
        lacking = {ref: held[ref] for ref in held.keys() - old.keys()}
        return pack(lacking, lambda ref: read.get(ref) or self.work.content.get(ref))

    def _make_again(self, host: str, number: int) -> None:
        with self._lock:
            version = self.version(number)
            bundles = Bundles(self.work, self.kinds(version.template), version.roots)
            bundles.content(host, self.table(version).rows[host])

    def _refs_of(self, tree: Ref, read: dict[Ref, bytes] | None = None) -> dict[Ref, int]:
        """Every blob of a tree with the size of a file; a list of names has none before it is read.

        `read` is given the lists of names, if they had to be read.
        """
        known = self._refs.get(tree)
        if known is None:
            known, todo = {tree: 0}, [tree]
            while todo:
                here = todo.pop()
                data = self.work.content.get(here)
                if read is not None:
                    read[here] = data
                for ref, size in trees.held_in(data, here):
                    if size is None and ref not in known:
                        todo.append(ref)
                    known[ref] = size or 0
            if len(known) <= REFS_EACH_MAX:  # what a host gets now is what it has at the next change
                with self._lock:
                    self._refs[tree] = known
                    _trim(self._refs, REFS_KEPT)
        return known

    # --- publishing

    def publish(
        self, template: Path | Ref, *, author: str, reason: str, follow: bool = False, after: int | None = None
    ) -> Version:
        """A new version of templates with the rows that the source has now.

        Everything is checked before anybody is told: the release's manifest, every row, and that every template can
        be filled in for every host.  Raises what says which of it is wrong.
        """
        ref = template if isinstance(template, Ref) else self.work.put_tree(template).ref
        kinds = self.kinds(ref)
        if self.facade.source is None:
            raise errors.BadInput("no source of hosts is set: set fleet.source, for example csv:/etc/fleet/hosts.csv")
        latest = self.mirror.latest
        try:
            table = self.facade.table(kinds, self.mirror.overrides)
        except errors.BoxworkError as fault:
            if latest == 0 or fault.code != "fleet.source":
                raise
            table = self._good_rows(kinds)
        return self.put_version(ref, table, author, reason, "", follow, after, roots.roots_of(self.work, kinds))

    def _good_rows(self, kinds: Mapping[str, Kind]) -> Table:
        """The store is away: the rows that were good last, overrides included, are the rows."""
        good = self.table(self.version(self.mirror.latest)).rows
        return check([Raw("the last good row", {"host": host, **row}) for host, row in good.items()], kinds)

    def follow_source(self) -> Version | None:
        """Look at the source and the roots; a new version if they are not those of the newest one.

        Raises `SourceFailed` or `BadTable`: then nothing changes.
        """
        mirror = self.mirror
        if mirror.latest == 0:
            return None
        last = self.version(mirror.latest)
        kinds = self.kinds(last.template)
        under = self.pins.now(kinds, last.roots)
        moved = under != last.roots
        try:
            table = self.facade.table(kinds, mirror.overrides)
        except errors.BoxworkError as fault:
            if not moved or fault.code != "fleet.source":
                raise
            table = self._good_rows(kinds)  # a system that must be renewed does not wait for a sheet
        why = [difference(self.table(last), table)] if table.ref != last.table else []
        if moved:
            why.insert(0, roots.reason(self.work, kinds, last.roots, under))
        if not why:
            return None
        who, source = ("the source", self.facade.name) if table.ref != last.table else ("the root", "")
        return self.put_version(last.template, table, who, "; ".join(why), source, self.follows, mirror.latest, under)

    @property
    def follows(self) -> bool:
        return bool(self.work.settings.text("fleet.on_source_change") == "rollout")

    def put_version(
        self,
        template: Ref,
        table: Table,
        author: str,
        reason: str,
        source: str,
        follow: bool,
        after: int | None,
        under: dict[str, Ref],
    ) -> Version:
        if not reason.strip():
            raise errors.BadInput("a version has a reason: say why (--reason), whoever looks at it at night thanks you")
        self.pins.keep(under)
        bundles = self.bundles(template, under)
        made = list(bundles.contents(table))  # every template is filled in for every host, before there is a version
        # The pins come first: a version that is committed has what it names.
        self.work.pin(template, f"fleet.template.{template}")
        data = table.to_bytes()
        self.work.put(data, pin=f"fleet.table.{table.ref}")
        if not self.mirror.epoch:
            self.work.commit(decisions.begin, epoch=self.work.clock.token(16))
        version: Version = self.work.commit(
            decisions.publish,
            template=template,
            table=table.ref,
            author=author,
            reason=reason,
            source=source,
            follow=follow,
            after=after,
            roots=under,
        )
        with self._lock:
            self._contents.update({(host, version.number): content for host, content in made})
            _trim(self._contents, CONTENTS_KEPT)
        return version

    # --- moving

    def cohort(self, number: int, only: str = "") -> list[str]:
        """The hosts that a rollout of this version would change, by name; `only`: a host or a label (`site=berlin`)."""
        version, mirror = self.version(number), self.mirror
        rows = self.table(version).rows
        changed = [host for host in rows if self._differs(host, number, mirror.assigned.get(host))]
        if only:
            return sorted(host for host in changed if is_for(only, {"host": host, **rows[host]}))
        gone = [host for host, assigned in mirror.assigned.items() if assigned.release and host not in rows]
        return sorted(changed + gone)

    def _differs(self, host: str, number: int, assigned: Assigned | None) -> bool:
        if assigned is None or assigned.release == 0:
            return True
        return assigned.release != number and self.content(host, assigned.release) != self.content(host, number)

    def start(self, number: int, plan: Plan, *, who: str, why: str, only: str = "") -> Rollout:
        """Begin to move the fleet, or a part of it; the conductor of the serving process takes the steps."""
        only = read_scope(only) if only else ""
        cohort = self.cohort(number, only)
        if not cohort:
            part = f" of {only}" if only else ""
            raise errors.Refused(f"every host{part} is what version {number} says already", version=number)
        rollout: Rollout = self.work.commit(
            decisions.start,
            to=number,
            hosts=cohort,
            plan=plan,
            by=who,
            why=why or self.version(number).reason,
            only=only,
        )
        return rollout

    def take_step(self, rollout: Rollout, why: str) -> Rollout:
        """The next hosts of the cohort get their release."""
        mirror = self.mirror
        cohort = mirror.cohorts.get(rollout.number, ())
        left = [host for host in cohort if _not_moved(mirror.assigned.get(host), rollout.number)]
        count = rollout.plan.reach(rollout.step + 1, rollout.cohort) - rollout.moved
        rows = self.table(self.version(rollout.to)).rows
        chosen = order(rollout.number, left)[: max(0, count)]
        moves = [(host, rollout.to if host in rows else 0) for host in chosen]
        moved: Rollout = self.work.commit(
            decisions.advance, number=rollout.number, step=rollout.step, hosts=moves, why=why
        )
        self.mirror.catch_up()
        return moved

    def steer(self, number: int, state: State, *, who: str, why: str) -> Rollout:
        """pause (`paused`), resume (`running`), abort (`aborted`: what was moved goes back)."""
        if state in ("aborted", "reverted"):
            rollout: Rollout = self.work.commit(decisions.revert, number=number, state=state, by=who, why=why)
        else:
            rollout = self.work.commit(decisions.steer, number=number, state=state, by=who, why=why)
        self.mirror.catch_up()
        return rollout

    def present(self) -> int:
        """The version that the fleet is at or is moving to: of the newest rollout of all that was not taken back."""
        mirror = self.mirror
        for number in range(mirror.last_rollout, 0, -1):
            rollout = mirror.rollouts.get(number)
            if rollout is not None and rollout.state in ("running", "paused", "done") and not rollout.only:
                return rollout.to
        return 0

    def history(self) -> Iterator[dict[str, Any]]:
        """Versions and what happened in rollouts, newest first: who, when, why."""
        mirror = self.mirror
        told: list[dict[str, Any]] = [
            {"at_ns": v.at_ns, "what": f"version {v.number}", "who": v.author, "why": v.reason}
            for v in mirror.versions.values()
        ]
        for rollout in mirror.rollouts.values():
            told += [
                {
                    "at_ns": event.at_ns,
                    "what": f"rollout {rollout.number} {event.what}",
                    "who": event.who,
                    "why": event.why,
                }
                for event in rollout.events
            ]
        told += [{"at_ns": one.at_ns, "what": one.what, "who": one.who, "why": one.why} for one in mirror.keys.events]
        # What happened in the same moment stays in the order in which it did.
        told.sort(key=lambda row: row["at_ns"])
        yield from reversed(told)


def _not_moved(assigned: Assigned | None, rollout: int) -> bool:
    return assigned is None or assigned.rollout != rollout


def _trim(held: OrderedDict[Any, Any], most: int) -> None:
    while len(held) > most:
        held.popitem(last=False)
