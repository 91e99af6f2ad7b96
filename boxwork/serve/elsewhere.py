"""A server that owns the facts, asked by a command line of the same machine, or of one that was named."""

from __future__ import annotations

import json
import ssl
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import HTTPSHandler, ProxyHandler, Request, build_opener

import msgspec

from boxwork.errors import BoxworkError, Busy

# What a server says is wrong.  Unit: bytes.  Reason: a message and its details; more is no answer of ours.
FAULT_BYTES_MAX = 64 * 1024


class Elsewhere:
    """The addresses of a node's server, by `ask`.

    url          of the server; empty: the one that the settings of `work` name
    patience_s   for one answer
    refused      what is raised where the server says no, with the message that it says
    """

    def __init__(self, work: Any, url: str, patience_s: float, refused: type[BoxworkError]) -> None:
        self.url = (url or _url_of(work.settings)).rstrip("/")
        self._patience_s = patience_s
        self._refused = refused
        # It is this machine, or one that was named: no proxy of the environment stands in between.
        self._opener = build_opener(ProxyHandler({}), HTTPSHandler(context=_believing(work.settings)))

    def ask(self, path: str, order: Any = None) -> Any:
        """The JSON at `path`; an `order` is posted.  Raises `Busy` where no server answers."""
        data = None if order is None else msgspec.json.encode(order, enc_hook=str)
        request = Request(self.url + path, data, {"content-type": "application/json"})
        try:
            with self._opener.open(request, timeout=self._patience_s) as reply:
                return json.load(reply)
        except HTTPError as fault:
            raise self._no(fault) from None
        except (URLError, OSError) as fault:
            reason = getattr(fault, "reason", fault)
            raise Busy(
                f"another process owns the facts, and there is no server at {self.url} ({reason}): give --server URL"
            ) from None

    def _no(self, fault: HTTPError) -> BoxworkError:
        try:
            told = json.loads(fault.read(FAULT_BYTES_MAX))
            return self._refused(str(told["message"]), **dict(told.get("details") or {}))
        except (ValueError, KeyError, TypeError):
            return self._refused(f"the server answered {fault.code} {fault.reason}")


def _url_of(settings: Any) -> str:
    scheme = "https" if settings.text("serve.certificate") else "http"
    return f"{scheme}://{settings.text('serve.host')}:{settings.integer('serve.port')}"


def _believing(settings: Any) -> ssl.SSLContext:
    """This node's own certificate, by whatever name it is called here, or one of the system's authorities."""
    certificate = settings.text("serve.certificate")
    if not certificate:
        return ssl.create_default_context()
    context = ssl.create_default_context(cafile=certificate)
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.check_hostname = False
    return context
