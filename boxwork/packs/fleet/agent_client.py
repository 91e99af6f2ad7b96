"""The host's end of the line: asks one of its servers, and the next one when that does not answer.

One connection at a time, kept open between questions.  Every wait has a limit and every body a size; what comes back
is bytes of a stranger until `protocol.verify` and the hashes have said otherwise.
"""

from __future__ import annotations

import contextlib
import http.client
import ssl
from collections.abc import Iterator, Sequence
from urllib.parse import quote, urlsplit

import msgspec

from boxwork import Ref, errors, ref_of
from boxwork.packs.fleet.protocol import (
    DOCUMENT_BYTES_MAX,
    LOT_BYTES_MAX,
    PACK_BYTES_MAX,
    PARCEL_BYTES_MAX,
    Report,
    Signed,
    read_parcel,
)

# To connect, and for the server to begin its answer after the wait that was asked for.  Unit: s.
CONNECT_S = 5.0
ANSWER_S = 15.0
# A piece of a blob as it is written on.  Unit: bytes.
PIECE_BYTES = 256 * 1024
# An answer with a token of 128 digits.  Unit: bytes.
TOKEN_BYTES_MAX = 1_000
# The part of an error's body that is quoted.  Unit: bytes.
ERROR_BYTES_MAX = 300


class Unreachable(errors.StorageError):
    """No answer, or not one of a fleet's server: the host stays as it is and asks again."""

    code = "fleet.unreachable"


class Client:
    """Asks `servers` in turn; `at` is the one that answered last."""

    def __init__(self, servers: Sequence[str], host: str, token: str = "", authority: str | None = None) -> None:
        if not servers:
            raise errors.BadInput("an agent needs a server: --server URL")
        self.servers = [_checked(server) for server in servers]
        self.at = 0
        self._host = quote(host)
        self.show(token)
        self._authority = authority or "the system's certificates"
        self._context = _believing(authority) if any(one.startswith("https:") for one in self.servers) else None
        self._connection: http.client.HTTPConnection | None = None

    @property
    def server(self) -> str:
        return self.servers[self.at]

    def next_server(self) -> None:
        """Turn to another server, if there is one."""
        self.close()
        self.at = (self.at + 1) % len(self.servers)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def ask(
        self, digest: str, wait_s: float, reports: Sequence[Report] = (), tree: str = ""
    ) -> tuple[Signed | None, dict[Ref, bytes]]:
        """What this host should be, with the small blobs that are not in `tree`; None if it has that already.

        When this returns, the server has the reports on disk.  Raises `Unreachable`, `BadInput`.
        """
        path = f"/fleet/hosts/{self._host}?digest={digest}&wait_s={wait_s:.3f}&tree={tree}"
        with self._answer("POST", path, msgspec.json.encode(reports), wait_s) as answer:
            if answer.status == 304:
                answer.read()
                return None, {}
            self._expect(answer, path)
            signed, blobs = read_parcel(self._body(answer, DOCUMENT_BYTES_MAX + 2 * PARCEL_BYTES_MAX))
            return signed, {ref_of(blob): blob for blob in blobs}

    def blob(self, ref: Ref, bytes_max: int) -> Iterator[bytes]:
        """The bytes of a blob, at most so many; whoever takes them checks their hash."""
        path = f"/fleet/hosts/{self._host}/blobs/{ref}"
        with self._answer("GET", path) as answer:
            self._expect(answer, path)
            total = 0
            while piece := answer.read(PIECE_BYTES):
                total += len(piece)
                if total > bytes_max:
                    raise errors.BlobCorrupt(f"{ref} is longer than the {bytes_max} bytes its tree says", ref=ref)
                yield piece

    def pack(self, have: str) -> dict[Ref, bytes]:
        """The small blobs of this host's tree that are not in the tree `have`, each under the name of its bytes.

        A shorter way and nothing more: whatever is wrong with the answer, it is empty, and blobs come one by one.
        """
        path = f"/fleet/hosts/{self._host}/blobs?not={have}"
        try:
            with self._answer("GET", path) as answer:
                self._expect(answer, path)
                data = self._body(answer, 2 * PACK_BYTES_MAX)
            return {ref_of(blob): blob for blob in msgspec.msgpack.decode(data, type=list[bytes])}
        except (errors.BoxworkError, msgspec.DecodeError):
            return {}

    def lot(self, refs: Sequence[Ref]) -> dict[Ref, bytes]:
        """As many of these blobs as one answer takes, each under the name of its bytes; a shorter way as well."""
        path = f"/fleet/hosts/{self._host}/blobs"
        try:
            with self._answer("POST", path, msgspec.json.encode([str(ref) for ref in refs])) as answer:
                self._expect(answer, path)
                data = self._body(answer, 2 * LOT_BYTES_MAX)
            return {ref_of(blob): blob for blob in msgspec.msgpack.decode(data, type=list[bytes])}
        except (errors.BoxworkError, msgspec.DecodeError):
            return {}

    def show(self, token: str) -> None:
        """Show this token from the next question on."""
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def token(self) -> str:
        """This host's token by the server's newest key, for the one that is shown."""
        path = f"/fleet/hosts/{self._host}/token"
        with self._answer("GET", path) as answer:
            self._expect(answer, path)
            body = self._body(answer, TOKEN_BYTES_MAX)
        try:
            return msgspec.json.decode(body, type=dict[str, str])["token"]
        except (msgspec.DecodeError, KeyError):
            raise errors.BadInput(f"{self.server} answered no token: {body[:60]!r}") from None

    def report(self, report: Report) -> None:
        """Hand a report over; the server has it on disk when this returns.  Raises `BadInput` if it never takes it."""
        path = f"/fleet/hosts/{self._host}/reports"
        with self._answer("POST", path, msgspec.json.encode(report)) as answer:
            self._expect(answer, path)
            self._body(answer, DOCUMENT_BYTES_MAX)

    # --- one question

    @contextlib.contextmanager
    def _answer(
        self, method: str, path: str, body: bytes | None = None, wait_s: float = 0.0
    ) -> Iterator[http.client.HTTPResponse]:
        try:
            yield self._ask(method, path, body, wait_s)
        except ssl.SSLCertVerificationError as reason:
            self.close()
            raise Unreachable(
                f"{self.server} shows a certificate that is not believed here: {reason.verify_message}; believed are"
                f" {self._authority}: give --authority the file of the one who signed it"
            ) from reason
        except (OSError, http.client.HTTPException) as reason:
            self.close()
            raise Unreachable(f"{self.server} does not answer: {reason or type(reason).__name__}") from reason
        except BaseException:
            self.close()  # half an answer is left in it
            raise

    def _ask(self, method: str, path: str, body: bytes | None, wait_s: float) -> http.client.HTTPResponse:
        headers = {**self._headers, **({"Content-Type": "application/json"} if body is not None else {})}
        kept = self._connection is not None
        for attempt in (0, 1):
            connection = self._connection or self._connect()
            if connection.sock is not None:
                connection.sock.settimeout(wait_s + ANSWER_S)
            try:
                connection.request(method, self._prefix + path, body, headers)
                return connection.getresponse()
            except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
                # A kept connection may have been closed while it lay idle; a new one is not tried twice.
                self.close()
                if attempt or not kept:
                    raise
        raise errors.InvariantBroken("a question was neither answered nor refused")

    def _connect(self) -> http.client.HTTPConnection:
        parts = urlsplit(self.server)
        self._prefix = parts.path.rstrip("/")
        connection: http.client.HTTPConnection
        if parts.scheme == "https":
            connection = http.client.HTTPSConnection(
                parts.hostname or "", parts.port, timeout=CONNECT_S, context=self._context
            )
        else:
            connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=CONNECT_S)
        connection.connect()
        self._connection = connection
        return connection

    _prefix = ""

    def _expect(self, answer: http.client.HTTPResponse, path: str) -> None:
        if answer.status == 200:
            return
        said = answer.read(ERROR_BYTES_MAX).decode("utf-8", "replace")
        message = f"{self.server} answered {answer.status} to {path.partition('?')[0]}: {said}"
        if answer.status in (401, 403):
            raise errors.Forbidden(f"{message}; give the agent the right --token-file", status=answer.status)
        if answer.status == 404:
            raise errors.NotFound(message, status=404)
        if answer.status in (400, 413, 422):
            raise errors.BadInput(message, status=answer.status)
        raise Unreachable(message, status=answer.status)

    def _body(self, answer: http.client.HTTPResponse, bytes_max: int) -> bytes:
        data = answer.read(bytes_max + 1)
        if len(data) > bytes_max:
            raise errors.TooLarge(f"{self.server} answered with more than {bytes_max} bytes")
        return data


def _believing(authority: str | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=authority)
    except OSError as reason:  # a file that is not there, or has no certificate in it
        raise errors.BadInput(f"--authority {authority!r} is no file of certificates in PEM: {reason}") from None


def _checked(server: str) -> str:
    parts = urlsplit(server)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise errors.BadInput(f"--server {server!r} is not an address: write http://name:port or https://name")
    return server.rstrip("/")
