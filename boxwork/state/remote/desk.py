"""The owner's side: whoever owns the facts takes in the commits of other processes, and answers with receipts.

The socket lies in the data directory, for its user alone.  Only transactions that this process has loaded are run,
and only if their code is the same: no code is loaded because somebody asks for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import select
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from boxwork.errors import BadInput, BoxworkError, Busy, FormatError, NotFound, StateInUse
from boxwork.state.engine import Engine
from boxwork.state.face import AsyncEngine
from boxwork.state.remote import wire
from boxwork.transactions import Transaction

log = logging.getLogger("boxwork.state")

# Connections at once, each with a thread that mostly waits.  Unit: connections.  Reason: other processes of one
# machine, each with a few threads; who comes later is told to come again.
CONNECTIONS_MAX = 128
# Waiting in the kernel to be taken.  Unit: connections.
BACKLOG = 128
# How long the end waits for an answer that is under way.  Unit: s.  Reason: a batch takes milliseconds, a slow
# transaction may think; whoever is cut off then does not know, and asks again with its id.
STOP_S_MAX = 5.0

Fingerprint = Callable[[Transaction[..., Any]], str]


class Desk:
    """Listens from the start until `close`."""

    def __init__(
        self, path: Path, engine: Engine, named: Mapping[str, Transaction[..., Any]], fingerprint: Fingerprint
    ) -> None:
        self._path = path
        self._engine = engine
        self._named = named
        self._fingerprint = fingerprint
        self._closing = False
        self._lock = threading.Lock()
        self._connections: set[socket.socket] = set()
        self._left = threading.Condition(self._lock)
        self._listener = _listen(path)
        self._woken, self._waker = socket.socketpair()
        self._thread = threading.Thread(target=self._take_in, name="state-desk", daemon=True)
        self._thread.start()

    # --- connections

    def _take_in(self) -> None:
        waiting = select.poll()
        waiting.register(self._listener, select.POLLIN)
        waiting.register(self._woken, select.POLLIN)
        while not self._closing:
            waiting.poll()
            # At the end too: who is in the kernel's queue by then is told that the owner goes.
            with contextlib.suppress(BlockingIOError):
                while True:
                    self._welcome(self._listener.accept()[0])

    def _welcome(self, connection: socket.socket) -> None:
        with self._lock:
            room = len(self._connections) < CONNECTIONS_MAX
            if room:
                self._connections.add(connection)
        if room:
            threading.Thread(target=self._serve, args=(connection,), name="state-guest", daemon=True).start()
            return
        with contextlib.suppress(OSError):
            wire.send(connection, {"error": wire.error_out(Busy(f"{CONNECTIONS_MAX} connections are being served"))})
        connection.close()

    def _serve(self, connection: socket.socket) -> None:
        try:
            while True:
                question = wire.receive(connection)
                # A question that is not begun may be asked of the next owner, and is told so.
                wire.send(connection, {"gone": True} if self._closing else self._answer(question))
        except (OSError, FormatError) as reason:
            if not isinstance(reason, wire.Left):
                log.warning("a connection of another process broke off: %s", reason)
        finally:
            connection.close()
            with self._lock:
                self._connections.discard(connection)
                self._left.notify_all()

    # --- questions

    def _answer(self, question: dict[str, Any]) -> dict[str, Any]:
        try:
            if question.get("protocol") != wire.PROTOCOL:
                raise StateInUse(
                    f"process {os.getpid()} owns the facts and speaks version {wire.PROTOCOL} of the socket's messages,"
                    f" not {question.get('protocol')!r}: run the same Boxwork in both"
                )
            ask = {"commit": self._commit, "commit_many": self._commit_many, "numbers": self._numbers}
            kind = question.get("ask")
            if kind not in ask:
                raise BadInput(f"the owner of the facts cannot be asked for {kind!r}")
            return ask[kind](question)
        except BaseException as error:
            return {"error": wire.error_out(error)}

    def _commit(self, question: dict[str, Any]) -> dict[str, Any]:
        box = self._box(question)
        row = [wire.unpacked(raw) for raw in question["row"]]
        options: Any = {name: str(question.get(name, "")) for name in ("once", "lane", "who")}
        if box.awaits:
            answer, receipt = asyncio.run(self._awaited(box, row, options))
        else:
            answer, receipt = self._engine.commit(_by_row(box, row), *row, receipt=True, **options)
        return {"answer": _answer_out(answer, receipt), "receipt": str(receipt)}

    async def _awaited(self, box: Transaction[..., Any], row: list[Any], options: Any) -> Any:
        return await AsyncEngine(self._engine).commit(_by_row(box, row), *row, receipt=True, **options)

    def _commit_many(self, question: dict[str, Any]) -> dict[str, Any]:
        box = self._box(question)
        rows = [tuple(row) for row in wire.unpacked(question["rows"])]
        answers = self._engine.commit_many(box, rows, lane=question.get("lane", ""), who=str(question.get("who", "")))
        return {
            "answers": [
                {"error": wire.error_out(one)} if isinstance(one, BaseException) else {"answer": _answer_out(one, None)}
                for one in answers
            ]
        }

    def _numbers(self, question: dict[str, Any]) -> dict[str, Any]:
        told = {"numbers": self._engine.numbers(), "recent": self._engine.recent()}
        return {"owner": os.getpid(), "told": wire.packed(told)}

    def _box(self, question: dict[str, Any]) -> Transaction[..., Any]:
        name, place = str(question["name"]), str(question.get("place", ""))
        box = self._named.get(name)
        loaded = _loaded(place)
        if loaded is not None and loaded.name == name and (box is None or box.function is not loaded.function):
            box = loaded
        if box is None:
            raise StateInUse(
                f"process {os.getpid()} owns the facts and has not loaded the transaction {name!r}"
                f" ({place or 'of no module'}): start it with that module (`boxwork up --boxes MODULE`), put the"
                " transaction into a pack, or stop it",
                owner=str(os.getpid()),
                transaction=name,
            )
        try:
            mine = self._fingerprint(box)
        except BoxworkError as reason:
            raise StateInUse(
                f"process {os.getpid()} owns the facts, and nobody can say whether its {name!r} is the same code:"
                f" {reason}",
                owner=str(os.getpid()),
                transaction=name,
            ) from reason
        if mine != question.get("fingerprint"):
            raise StateInUse(
                f"process {os.getpid()} owns the facts, and its transaction {name!r} is other code than yours: restart"
                " it, so that both run the same",
                owner=str(os.getpid()),
                transaction=name,
            )
        return box

    # --- the end

    def close(self) -> None:
        """Take nothing in any more, finish what is under way, and go; twice is once."""
        if self._closing:
            return
        self._closing = True
        with contextlib.suppress(OSError):
            self._path.unlink()  # ours: who owns the facts alone may make one
        self._waker.send(b"x")
        self._thread.join(STOP_S_MAX)
        self._listener.close()
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RD)  # what has come is still answered, and then its thread ends
        with self._lock:
            self._left.wait_for(lambda: not self._connections, STOP_S_MAX)
        self._waker.close()
        self._woken.close()

    def close_in_child(self) -> None:
        """After a fork, in the child: its copies of the sockets go, or nobody would notice that the owner died."""
        self._lock = threading.Lock()
        self._closing = True
        for one in (self._listener, self._woken, self._waker, *self._connections):
            with contextlib.suppress(OSError):
                socket.close(one.detach())


def _listen(path: Path) -> socket.socket:
    """A listening socket at `path`, never open to others; one that a killed owner left is replaced."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}.new")
    fresh.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with wire.address_of(fresh) as address:
            listener.bind(address)
        fresh.chmod(0o600)  # before anybody can connect: it does not listen yet, and has another name
        listener.listen(BACKLOG)
        listener.setblocking(False)
        fresh.replace(path)
    except BaseException:
        listener.close()
        raise
    return listener


def _loaded(place: str) -> Transaction[..., Any] | None:
    """What stands at `module:name` in this process, if the module is loaded; nothing is imported."""
    module, _, path = place.partition(":")
    value: Any = sys.modules.get(module)
    for part in path.split("."):
        value = getattr(value, part, None)
    return value if isinstance(value, Transaction) else None


def _by_row(box: Transaction[..., Any], row: list[Any]) -> Transaction[..., Any]:
    if len(row) != len(box.inputs.names):
        raise NotFound(f"{box.name} takes {len(box.inputs.names)} inputs, {len(row)} came over the socket")
    return box


def _answer_out(answer: Any, receipt: Any) -> bytes | None:
    """The answer in its stored form; None if it has none: the commit stands all the same."""
    try:
        return wire.packed(answer)
    except BoxworkError:
        log.warning("the answer of %s is %s, which cannot be sent", receipt or "a commit", type(answer).__name__)
        return None
