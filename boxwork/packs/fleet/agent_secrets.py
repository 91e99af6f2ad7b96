"""Secrets are looked up on the host, when a version is staged, and stand nowhere else.

A bundle says `secret:NAME` where a secret belongs.  The value comes from a file `<root>/secrets/NAME`, or from the
agent's environment as `BOXWORK_SECRET_NAME` (dots and dashes as `_`); the file wins.  A file in which one was put in
is readable by its owner only.  What leaves the agent (log lines, reports) goes through `redact`.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path

from boxwork import errors

PREFIX = "BOXWORK_SECRET_"
# A secret is a password, a token or a key.  Unit: bytes.
SECRET_BYTES_MAX = 64 * 1024
# Shorter ones would blot out half of every line.  Unit: characters.
REDACTED_LENGTH_MIN = 4

_REFERENCE = re.compile(rb"secret:([A-Za-z0-9_][A-Za-z0-9_.-]{0,99})")


class Secrets:
    """The secrets of this host by name; values are read when they are asked for and not kept."""

    def __init__(self, directory: Path, environment: Mapping[str, str] | None = None) -> None:
        self._directory = directory
        self._environment = os.environ if environment is None else environment

    def get(self, name: str) -> bytes:
        """The value.  Raises `NotFound` if this host has none of that name, `Forbidden` if others may read it."""
        path = self._directory / name
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            value = self._environment.get(variable(name))
            if value is None:
                raise errors.NotFound(
                    f"the secret {name!r} is not on this host: write it to {path} with mode 0600, or set"
                    f" {variable(name)} for the agent",
                    secret=name,
                ) from None
            return value.encode()
        except OSError as reason:
            raise errors.StorageError(f"the secret {name!r} cannot be read: {reason.strerror}", secret=name) from None
        with os.fdopen(fd, "rb") as file:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode) or status.st_mode & 0o077:
                raise errors.Forbidden(f"{path} can be read by others: `chmod 600` it", secret=name)
            value_bytes = file.read(SECRET_BYTES_MAX + 1)
        if len(value_bytes) > SECRET_BYTES_MAX:
            raise errors.TooLarge(f"{path} has more than {SECRET_BYTES_MAX} bytes: that is no secret", secret=name)
        return value_bytes.removesuffix(b"\n")

    def fill(self, data: bytes, names: tuple[str, ...]) -> bytes:
        """`data` with the values in the place of their references; a reference that is not in `names` stays."""

        def value(match: re.Match[bytes]) -> bytes:
            name = match[1].decode()
            return self.get(name) if name in names else match[0]

        return _REFERENCE.sub(value, data)

    def redact(self, text: str, names: tuple[str, ...]) -> str:
        """`text` without the values of these secrets."""
        for name in names:
            try:
                value = self.get(name).decode("utf-8", "replace")
            except errors.BoxworkError:
                continue
            if len(value) >= REDACTED_LENGTH_MIN:
                text = text.replace(value, f"secret:{name}")
        return text


def variable(name: str) -> str:
    """The environment variable in which a secret may stand."""
    return PREFIX + re.sub(r"[.-]", "_", name).upper()


def refers(data: bytes, names: tuple[str, ...]) -> bool:
    """Is one of these secrets asked for in `data`."""
    return any(match[1].decode() in names for match in _REFERENCE.finditer(data))
