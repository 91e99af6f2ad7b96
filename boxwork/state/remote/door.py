"""The door: a listening socket in the data directory, for its user alone."""

from __future__ import annotations

import socket
from pathlib import Path

from boxwork.state.remote import wire

# Waiting in the kernel to be taken.  Unit: connections.
BACKLOG = 128


def listen(path: Path) -> socket.socket:
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
