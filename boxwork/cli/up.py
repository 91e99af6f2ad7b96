"""`boxwork up`: serve, take sources in where they lie, derive what people will ask for first."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated

from cyclopts import App, Parameter

from boxwork.app.work import Work
from boxwork.cli.boxes import own_pack
from boxwork.cli.intake import AWAY_S, Tally, counted, take_in, watch
from boxwork.cli.program import Context
from boxwork.content.sources.source import address_of, is_address
from boxwork.errors import BadInput, StorageError
from boxwork.pulse.machine import Machine


def register(app: App, context: Context) -> None:
    """Add the command of this file."""
    output = context.output

    @app.command
    def up(
        *sources: str,
        host: str | None = None,
        port: int | None = None,
        sample: bool = True,
        boxes: list[str] | None = None,
        once: Annotated[bool, Parameter(negative="")] = False,
    ) -> int:
        """Serve; folders, buckets and collections are taken in first, where they lie.

        Parameters
        ----------
        sources: folders, s3://bucket/prefix, mongodb://host/database.collection?field=photo; what is in them is
            referenced in place and prepared (a thumbnail of each photo); credentials come from the environment
        host: the address to listen on; the default is this machine only
        port: the port to listen on; when it is taken, the next free one is
        sample: with no folder, and nothing taken in before, make a sample inventory of 300 pictures
        boxes: modules whose derivations and transactions are served beside those of the packs: --boxes shop.orders
        once: take in and prepare, then stop instead of serving
        """
        named = [_source(given) for given in sources]
        stop = threading.Event()
        packs = [own_pack(boxes)] if boxes else []
        with context.work(packs=packs) as work, _until_signal(stop), _served(work, context, host, port, serve=not once):
            if not named and not work.inventory.count() and sample:
                made = _make_sample(work, context, stop)
                if made is None:
                    return 0
                named = [str(made)]
            named = named or work.inventory.sources()
            taken = [source for source in named if _show_intake(work, source, context, stop, once=once)]
            if not once:
                watch(work, stop, _show, os.cpu_count() or 1, taken, lambda source: _showing(work, source))
        return 0

    @contextmanager
    def _showing(work: Work, source: str) -> Iterator[Callable[[Tally], None]]:
        """A bar for the taking in of one source."""
        with output.progress(f"taking in {_label(source)}") as bar, counted(work, source) as whole:

            def tell(tally: Tally) -> None:
                note = f"{tally.computed} computed, {tally.remembered} remembered"
                bar.at(tally.seen, whole(), note=note + (f", {tally.failed} failed" if tally.failed else ""))

            yield tell

    def _show_intake(work: Work, source: str, context: Context, stop: threading.Event, *, once: bool) -> bool:
        """True if it was taken in; a source that is away is said, and looked for again while the server runs."""
        try:
            with _showing(work, source) as tell:
                tally = take_in(work, source, stop, tell, workers=os.cpu_count() or 1)
        except StorageError as error:
            if once or source not in work.inventory.sources():
                raise
            output.say(f"{_label(source)}: {error.message}; asking again every {AWAY_S:g} s")
            return False
        _show(tally)
        return True

    def _show(tally: Tally) -> None:
        output.answer(tally.as_json(), tally.text())
        if tally.note:
            return
        for path, reason in tally.faults:
            output.say(f"  {path}: {reason}")
        unshown = tally.unreadable + tally.failed - len(tally.faults)
        if unshown > 0:
            output.say(f"  … and {unshown} more")


def _label(source: str) -> str:
    return source.partition("?")[0] if is_address(source) else Path(source).name or source


def _source(given: str) -> str:
    """The address of what was named on the command line.  Raises `BadInput` if a folder is not there."""
    if is_address(given):
        return address_of(given)
    folder = Path(given).expanduser().resolve()
    if not folder.is_dir():
        raise BadInput(
            f"{folder} is no folder: check the path; with spaces or ~ it goes in quotes, PHOTOS='~/My Photos'",
            path=str(folder),
        )
    return str(folder)


@contextmanager
def _served(work: Work, context: Context, host: str | None, port: int | None, *, serve: bool) -> Iterator[None]:
    """The server beside the block, if one is wanted; it is stopped when the block ends, whatever happens."""
    if not serve:
        yield
        return
    # The server is an extra of the wheel, so it is imported only by the command that serves.
    from boxwork.serve.http import asgi
    from boxwork.serve.server import Server, bind

    settings, output = work.settings, context.output
    wanted = settings.integer("serve.port") if port is None else port
    listener = bind(host or settings.text("serve.host"), wanted, settings.integer("serve.ports_tried_max"))
    server = Server(asgi(work), listener, settings)
    url = server.start()
    sampling_ends = Machine(work.pulse).start()
    if wanted and listener.getsockname()[1] != wanted:
        output.say(f"port {wanted} is taken, so this is the next free one")
    output.answer(
        {"event": "ready", "url": url, "data": str(context.directory)},
        f"ready: {url}   (data in {context.directory}, Ctrl-C stops)",
    )
    try:
        yield
    finally:
        output.say("stopping: no new requests, finishing those that run")
        server.stop()
        sampling_ends()


@contextmanager
def _until_signal(stop: threading.Event) -> Iterator[None]:
    """SIGTERM and SIGINT set `stop`; a second SIGINT interrupts at once."""

    def ask(number: int, frame: FrameType | None) -> None:
        if stop.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.set()

    before = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Stopped(Exception):
    """Somebody wants to leave before the sample is whole."""


def _make_sample(work: Work, context: Context, stop: threading.Event) -> Path | None:
    """A folder of generated pictures in the data directory, and a word that it is only that; None if stopped."""
    target = context.directory / "sample"
    pack = next((pack for pack in work.packs if pack.sample is not None), None)
    if pack is None or pack.sample is None:
        raise BadInput("there is nothing to serve yet: name a folder, as in `boxwork up ~/Pictures`")
    with context.output.progress("making a sample inventory") as bar:

        def tell(done: int, total: int) -> None:
            if stop.is_set():
                raise _Stopped
            bar.at(done, total)

        try:
            count = pack.sample(target, tell)
        except _Stopped:
            return None
    context.output.say(
        f"this is a sample: {count} generated pictures in {target}; for your own, `make up PHOTOS=~/Pictures`"
    )
    return target
