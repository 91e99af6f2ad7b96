"""What a host shows of itself, and how it gets the next one: no person walks from host to host when a key is changed.

A token is a signature over the host's name, so a host can see for itself which key made it.  As soon as it believes a
newer key than that of its token, it asks for another one, showing the old: with every question until it has one.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from boxwork import errors
from boxwork.packs.fleet.admission import is_by


class Giver(Protocol):
    """The line to a server."""

    def show(self, token: str) -> None:
        """Show this one from now on."""

    def token(self) -> str:
        """Another one, from the server.  Raises `Unreachable` or what the server said."""


class Token:
    """The token that a person gave, and the one that was fetched since, in `<root>/token`."""

    def __init__(self, root: Path, host: str, given: str) -> None:
        self._path = root / "token"
        self._host = host
        self._given = given
        self._newest_of: tuple[bytes, ...] = ()

    def keep(self, keys: Sequence[bytes], line: Giver) -> bool:
        """Show the newest, and see that it is by the newest of these keys; True if it was fetched now.

        A host without a token, on the server's own machine, needs none.  Raises what the line raises.
        """
        if not self._given or self._newest_of == tuple(keys):
            return False
        token, newest = self._best(keys)
        line.show(token)
        fetched = False
        if not newest:
            token = line.token()
            if not is_by(keys[-1], self._host, token):
                raise errors.Forbidden(f"the token that came for {self._host} is not by the key {keys[-1].hex()[:16]}…")
            self._write(token)
            line.show(token)
            fetched = True
        self._newest_of = tuple(keys)
        return fetched

    def _best(self, keys: Sequence[bytes]) -> tuple[str, bool]:
        """The one by the newest key; is that the newest there is."""
        kept = self._read()
        for key in reversed(keys):
            for token in (self._given, kept):
                if token and is_by(key, self._host, token):
                    return token, key == keys[-1]
        return kept or self._given, False

    def _read(self) -> str:
        try:
            return self._path.read_text("ascii").strip()
        except (OSError, UnicodeDecodeError):
            return ""  # it is fetched again

    def _write(self, token: str) -> None:
        half = self._path.with_name("token.new")
        try:
            descriptor = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(token + "\n")
                file.flush()
                os.fsync(file.fileno())
            half.replace(self._path)
        except OSError as reason:
            raise errors.StorageError(f"{self._path} cannot be written: {reason}", path=str(self._path)) from reason
