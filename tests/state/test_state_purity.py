"""What looks at the world behind `tx` is caught and named."""

from __future__ import annotations

import datetime
import hashlib
import json
import math
import os
import pathlib
import random
import socket
import time
import urllib.parse
import urllib.request
import uuid
from datetime import datetime as moment
from typing import Any

import pytest

from boxwork.errors import Impure
from boxwork.state.purity import check
from boxwork.state.tx import Tx
from boxwork.transactions import transaction

counter = 0
stamp = time.time_ns


def helper() -> float:
    return random.random()


def assigns(tx: Tx) -> None:
    global counter
    counter += 1


def of_closure() -> Any:
    count = 0

    def inside(tx: Tx) -> None:
        nonlocal count
        count += 1

    return inside


def imports(tx: Tx) -> None:
    import secrets

    secrets.token_hex()


@pytest.mark.parametrize(
    ("function", "names"),
    [
        (lambda tx: time.time(), "time.time"),
        (lambda tx: time.monotonic(), "time.monotonic"),
        (lambda tx: stamp(), "stamp"),
        (lambda tx: [time.time() for _ in "ab"], "time.time"),
        (lambda tx: random.randint(1, 2), "random.randint"),
        (lambda tx: helper(), "random.random"),
        (lambda tx: uuid.uuid4(), "uuid.uuid4"),
        (lambda tx: datetime.datetime.now(), "datetime.datetime.now"),
        (lambda tx: moment.utcnow(), "moment.utcnow"),
        (lambda tx: datetime.date.today(), "datetime.date.today"),
        (lambda tx: open("x"), "open"),  # noqa: SIM115
        (lambda tx: pathlib.Path.cwd(), "pathlib.Path.cwd"),
        (lambda tx: os.getpid(), "os.getpid"),
        (lambda tx: socket.create_connection(("a", 1)), "socket.create_connection"),
        (lambda tx: urllib.request.urlopen("x"), "urllib.request.urlopen"),
        (lambda tx: print("x"), "print"),
        (lambda tx: hash("x"), "hash"),
        (assigns, "counter"),
        (of_closure(), "count"),
        (imports, "secrets"),
    ],
)
def test_clocks_chance_files_and_network_are_named(function: Any, names: str) -> None:
    with pytest.raises(Impure, match=names.replace(".", r"\.")):
        check(transaction(function))


@pytest.mark.parametrize(
    "function",
    [
        lambda tx: math.sqrt(2),
        lambda tx: json.dumps({}),
        lambda tx: hashlib.sha256(b"").hexdigest(),
        lambda tx: datetime.datetime.fromtimestamp(tx.now() / 1e9),
        lambda tx: datetime.timedelta(days=1),
        lambda tx: os.path.join("a", "b"),
        lambda tx: urllib.parse.quote("a"),
        lambda tx: uuid.UUID(tx.uid()),
        lambda tx: sorted(tx.scan()),
        lambda tx: pathlib.PurePath("a"),
    ],
)
def test_pure_code_passes(function: Any) -> None:
    check(transaction(function))


def test_what_cannot_matter_can_be_declared() -> None:
    @transaction(ignores=["time"])
    def timed(tx: Tx) -> None:
        time.perf_counter()

    check(timed)


def test_what_was_done_step_by_step_is_not_taken_for_impure(open_engine: Any) -> None:
    engine = open_engine(audit_every=1)
    with engine.session(who="desk") as session:
        session.tx.put(("board",), session.tx.get(("board",), 0) + 1)
        session.commit()
    engine.commit(lambda tx: tx.put(("a",), 1))
    assert {} == engine.audit.findings()
    assert 1 == engine.get(("board",))
