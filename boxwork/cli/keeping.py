"""Commands that keep bytes: put, get, pin, trees, gc, doctor, backup, restore."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from boxwork.app.work import Work, chunks_of, open
from boxwork.cli.output import Bar, Output, human_bytes
from boxwork.cli.program import Context
from boxwork.clock import SECOND_NS
from boxwork.content.backup import backup as make_backup
from boxwork.content.backup import restore as restore_backup
from boxwork.content.doctor import Doctor
from boxwork.content.evict import Eviction
from boxwork.content.sweep import Sweep, Verdict
from boxwork.content.tree_value import HEADER, is_tree
from boxwork.errors import BadInput
from boxwork.keys import Ref

# A sweep takes a core for as long as it runs; whoever serves from this directory meanwhile goes first.
GC_NICENESS = 10


def register(app: App, context: Context) -> None:
    """Add the commands of this file."""
    output = context.output

    @app.command
    def put(*paths: Path, pin: str | None = None) -> None:
        """Keep files or directories; without a path, keep standard input. Prints their refs.

        Parameters
        ----------
        paths: files, or directories (kept as trees)
        pin: keep it under this name until `unpin`
        """
        if pin is not None and len(paths) > 1:
            raise BadInput(f"--pin {pin}: one name stands for one thing; give one path")
        with context.work() as work:
            if not paths:
                output.answer({"ref": (ref := work.put(sys.stdin.buffer, pin=pin))}, ref)
            for path in paths:
                if path.is_dir():
                    ref = _put_tree(work, path)
                    if pin is not None:
                        work.pin(ref, pin)
                else:
                    ref = work.put(path, pin=pin)
                output.answer({"ref": ref, "path": str(path)}, f"{ref}  {path}" if len(paths) > 1 else ref)

    def _put_tree(work: Work, path: Path) -> Ref:
        with output.progress(f"taking in {path}") as bar:

            def tell(seen: int, read: int, size: int) -> None:
                bar.at(seen, note=f"{read} read, {human_bytes(size)}")

            return work.put_tree(path, progress=tell).ref

    @app.command
    def get(ref: str, *, to: Annotated[Path | None, Parameter(alias="-o")] = None) -> None:
        """Write a blob to standard output, or to a file; a tree is checked out as a directory.

        Parameters
        ----------
        ref: sha256:…, or the name of a pin
        to: the file or directory to make
        """
        with context.work(must_exist=True) as work:
            found = _named(work.content.pinned(ref), ref)
            if to is not None and _is_tree(work, found):
                work.checkout(found, to)
            elif to is not None:
                with work.open(found) as source, to.open("wb") as target:
                    for chunk in chunks_of(source):
                        target.write(chunk)
            else:
                with work.open(found) as source:
                    for chunk in chunks_of(source):
                        sys.stdout.buffer.write(chunk)
                sys.stdout.buffer.flush()

    @app.command
    def pin(ref: str, name: str) -> None:
        """Keep a blob, or a tree with all in it, under a name."""
        with context.work(must_exist=True) as work:
            work.pin(ref, name)

    @app.command
    def unpin(name: str) -> int:
        """Forget a pin; the bytes go with a later `gc`."""
        with context.work(must_exist=True) as work:
            known = work.unpin(name)
        if not known:
            output.say(f"there is no pin {name!r}")
        return 0 if known else 1

    @app.command
    def pins(prefix: str = "") -> None:
        """List pins."""
        with context.work(must_exist=True) as work:
            output.table(["name", "ref"], ({"name": name, "ref": ref} for name, ref in work.pins(prefix)), "no pins")

    @app.command
    def gc(
        *,
        dry_run: Annotated[bool, Parameter(negative="")] = False,
        all: Annotated[bool, Parameter(negative="")] = False,
        grace_s: float | None = None,
    ) -> None:
        """Delete what nothing refers to any more, while readers and writers go on.

        Parameters
        ----------
        dry_run: only say what would go, and why; with --json also what stays
        all: in a dry run, list what stays too, with its reason
        grace_s: how long something unreferenced stays, in seconds (default: the setting content.gc_grace_s)
        """
        with context.work(must_exist=True) as work:
            grace_ns = None if grace_s is None else int(grace_s * SECOND_NS)
            if dry_run:
                _tell_plan(output, Sweep(work.content, grace_ns=grace_ns).plan(), everything=all or output.as_json)
                return
            os.nice(GC_NICENESS)
            with output.progress("looking for what nothing refers to") as bar:
                sweep = Sweep(work.content, grace_ns=grace_ns, progress=lambda step, blobs: bar.at(blobs, note=step))
                report = sweep.run()
        output.answer(
            dataclasses.asdict(report),
            f"{report.deleted} of {report.seen} blobs deleted, {human_bytes(report.deleted_bytes)} free;"
            f" {report.young} stay because they are young",
        )

    @app.command
    def evict(bytes_max: int | None = None) -> None:
        """Bring the cache under its quota: cheapest to recompute per byte, and longest unused, goes first.

        Parameters
        ----------
        bytes_max: the quota in bytes (default: the setting content.cache_bytes_max)
        """
        with context.work(must_exist=True) as work:
            gone = list(Eviction(work.content, work.node.deriver.cost, bytes_max=bytes_max).run())
        size = sum(evicted.size for evicted in gone)
        output.answer({"evicted": len(gone), "bytes": size}, f"{len(gone)} blobs evicted, {human_bytes(size)} free")

    @app.command(name="doctor")
    def check(*, repair: bool = True, from_: Annotated[Path | None, Parameter(name="--from")] = None) -> int:
        """Read and check every byte; mend what a second place still has.

        Parameters
        ----------
        repair: mend, quarantine and clean up; --no-repair only looks
        from_: another data directory (a restored backup) that may still have what is damaged here
        """
        with context.work(must_exist=True) as work, contextlib.ExitStack() as stack:
            others = [stack.enter_context(open(from_)).content] if from_ is not None else []
            with output.progress("checking") as bar:
                doctor = Doctor(
                    work.content,
                    others=others,
                    repair=repair,
                    progress=lambda so_far: bar.at(so_far.blobs, note=human_bytes(so_far.bytes)),
                )
                findings = list(doctor.run())
        output.table(
            ["trouble", "action", "place", "what", "detail"],
            (dataclasses.asdict(f) for f in findings),
            "every byte is what its name promises",
        )
        return 1 if any(finding.action in ("kept", "quarantined", "forgotten") for finding in findings) else 0

    @app.command
    def backup(target: Path) -> None:
        """Copy everything durable to a new directory while the node runs; the cache is not in it."""
        with context.work(must_exist=True) as work, output.progress("backing up") as bar:
            told = make_backup(work.content, target, clock=work.clock, progress=_teller(bar))
        output.answer(dataclasses.asdict(told), f"{told.files} files, {human_bytes(told.bytes)}, in {told.path}")

    @app.command
    def restore(source: Path) -> None:
        """Make the data directory anew from a backup; it must not exist yet, or be empty."""
        with output.progress("restoring") as bar:
            told = restore_backup(source, context.directory, progress=_teller(bar))
        output.answer(dataclasses.asdict(told), f"{told.files} files, {human_bytes(told.bytes)}, in {told.path}")


def _named(pinned: Ref | None, text: str) -> Ref:
    return pinned if pinned is not None else Ref.parse(text)


def _is_tree(work: Work, ref: Ref) -> bool:
    with work.open(ref) as file:
        return is_tree(file.read(len(HEADER)))


def _teller(bar: Bar) -> Callable[[int, int], None]:
    return lambda files, size: bar.at(files, note=human_bytes(size))


def _tell_plan(output: Output, plan: Iterable[Verdict], *, everything: bool) -> None:
    """What would go, and with `everything` what stays, a row a blob; then the sums of both."""
    count, size = {True: 0, False: 0}, {True: 0, False: 0}

    def rows() -> Iterator[dict[str, Any]]:
        for verdict in plan:
            count[verdict.goes] += 1
            size[verdict.goes] += verdict.size
            if verdict.goes or everything:
                word = "goes" if verdict.goes else "stays"
                yield {"goes": word, "size": verdict.size, "ref": verdict.ref, "reason": verdict.reason}

    output.table(["goes", "size", "ref", "reason"], rows(), "nothing would go")
    output.say(
        f"{count[True]} of {sum(count.values())} blobs would go ({human_bytes(size[True])}),"
        f" {human_bytes(size[False])} stay" + ("" if everything or not count[False] else "; --all says why")
    )
