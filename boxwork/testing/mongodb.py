"""A real server that speaks MongoDB's wire protocol, on the loopback, for tests of what reads collections.

It is `nx-27017` (a wheel: the protocol over SQLite, with GridFS and change streams); the client is pymongo, as in
production, and what goes over the socket is the protocol of MongoDB.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from boxwork.clock import SECOND_NS, monotonic_ns

# A Python program has to start; on a loaded machine that takes a while.  Unit: seconds.
START_S_MAX = 40


@contextlib.contextmanager
def mongodb(directory: Path) -> Iterator[str]:
    """Start the server with its data in `directory`: yields its address, `mongodb://127.0.0.1:PORT`."""
    program = shutil.which(
        "nx-27017", path=os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", "")])
    )
    if program is None:
        pytest.fail("there is no `nx-27017` here: pip install nx-27017")
    directory.mkdir(parents=True, exist_ok=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with open(directory / "log", "wb") as log:
        server = subprocess.Popen(
            [
                program,
                "--data-dir",
                str(directory),
                "--pid-file",
                str(directory / "pid"),
                "--host",
                "127.0.0.1",
                "-p",
                str(port),
            ],
            stdout=log,
            stderr=log,
        )
        try:
            _wait_for(port, server, directory / "log")
            yield f"mongodb://127.0.0.1:{port}"
        finally:
            server.kill()  # its data goes too, so there is nothing to end in order
            server.wait()


def _wait_for(port: int, server: subprocess.Popen[bytes], log: Path) -> None:
    import pymongo
    from pymongo.errors import PyMongoError

    deadline_ns = monotonic_ns() + START_S_MAX * SECOND_NS
    while True:
        client: pymongo.MongoClient[dict[str, object]] = pymongo.MongoClient(
            "127.0.0.1", port, directConnection=True, serverSelectionTimeoutMS=500
        )
        try:
            client.admin.command("ping")
            return
        except PyMongoError as reason:
            if server.poll() is not None or monotonic_ns() > deadline_ns:
                pytest.fail(f"nx-27017 did not start ({reason}): {log.read_text()[-500:]}")
        finally:
            client.close()
