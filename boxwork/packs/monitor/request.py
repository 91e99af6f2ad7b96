"""One HTTP exchange within one limit for all of it: name, connection, TLS, head and body.

The answer is read by httptools; redirects are not followed, because they are what a check is told about.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

# What is read of an answer; the rest is not looked at.  Unit: bytes.
BODY_BYTES_MAX = 1 << 20
HEAD_BYTES_MAX = 64 * 1024


class Broken(Exception):
    """The exchange did not come about; the message says why."""


@dataclass(slots=True)
class Reply:
    status: int = 0
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    certificate_until: datetime | None = None


async def exchange(
    url: str,
    limit_s: float,
    *,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
    verify: bool = True,
) -> Reply:
    """Ask, and read the answer.  Raises `Broken`, and `TimeoutError` at the limit."""
    parts = urlsplit(url)
    secure = parts.scheme == "https"
    host, port = parts.hostname or "", parts.port or (443 if secure else 80)
    context = _context(verify) if secure else None
    async with asyncio.timeout(limit_s):
        try:
            reader, writer = await asyncio.open_connection(host, port, ssl=context, limit=HEAD_BYTES_MAX)
        except ssl.SSLCertVerificationError as fault:
            raise Broken(f"the certificate is not good: {fault.verify_message}") from None
        except ssl.SSLError as fault:
            raise Broken(f"TLS with {host}:{port} failed: {fault.reason}") from None
        except OSError as fault:
            raise Broken(f"{host}:{port}: {said(fault)}") from None
        try:
            reply = Reply(certificate_until=_until(writer) if secure else None)
            writer.write(_request(method, parts, host, headers or {}, body))
            await writer.drain()
            await _read(reader, reply, method)
            return reply
        except (OSError, ssl.SSLError) as fault:
            raise Broken(f"{host}:{port} broke off: {said(fault)}") from None
        finally:
            writer.transport.abort()
            with contextlib.suppress(OSError, ssl.SSLError):
                await writer.wait_closed()


def said(fault: BaseException) -> str:
    """What an error of a connection says, in few words."""
    if isinstance(fault, ConnectionRefusedError):
        return "connection refused"
    text = getattr(fault, "strerror", None) or str(fault) or type(fault).__name__
    return str(text).lower() if str(text)[:1].isupper() and " " in str(text) else str(text)


def _context(verify: bool) -> ssl.SSLContext:
    context = _contexts.get(verify)
    if context is None:
        context = ssl.create_default_context()
        if not verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        _contexts[verify] = context
    return context


_contexts: dict[bool, ssl.SSLContext] = {}


def _until(writer: asyncio.StreamWriter) -> datetime | None:
    from cryptography import x509

    held = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    return x509.load_der_x509_certificate(held).not_valid_after_utc if held else None


def _request(method: str, parts: Any, host: str, headers: Mapping[str, str], body: bytes) -> bytes:
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    named = f"[{host}]" if ":" in host else host
    lines = {"host": named if parts.port is None else f"{named}:{parts.port}", "user-agent": "boxwork-monitor",
             "accept": "*/*", "accept-encoding": "identity", "connection": "close"}  # fmt: skip
    if body or method == "POST":
        lines["content-length"] = str(len(body))
    lines.update({name.lower(): value for name, value in headers.items()})
    head = f"{method} {target} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return head.encode("latin-1", "replace") + b"\r\n" + body


class _Heard:
    """What the parser calls."""

    def __init__(self, reply: Reply) -> None:
        self.reply = reply
        self.done = False
        self.pieces = bytearray()

    def on_header(self, name: bytes, value: bytes) -> None:
        self.reply.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, piece: bytes) -> None:
        self.pieces += piece[: BODY_BYTES_MAX - len(self.pieces)]

    def on_message_complete(self) -> None:
        self.done = True


async def _read(reader: asyncio.StreamReader, reply: Reply, method: str) -> None:
    import httptools

    heard = _Heard(reply)
    parser = httptools.HttpResponseParser(heard)
    came = 0
    while not heard.done and len(heard.pieces) < BODY_BYTES_MAX:
        piece = await reader.read(65536)
        if not piece:
            break
        came += len(piece)
        try:
            parser.feed_data(piece)
        except httptools.HttpParserError as fault:
            raise Broken(f"what came is no HTTP: {fault}") from None
        if came - len(heard.pieces) > BODY_BYTES_MAX:
            raise Broken("the head of the answer does not end")
    try:
        reply.status = parser.get_status_code()
    except AttributeError:
        reply.status = 0
    if not reply.status:
        raise Broken("the connection was closed before an answer came" if not came else "the answer has no status")
    wants = reply.headers.get("content-length", "")
    if not heard.done and wants.isdigit() and len(heard.pieces) < min(int(wants), BODY_BYTES_MAX):
        raise Broken(f"the answer broke off after {len(heard.pieces)} of {wants} bytes")
    reply.body = bytes(heard.pieces)
