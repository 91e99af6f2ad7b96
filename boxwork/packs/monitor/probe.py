"""One look at one check: over HTTP, at a port, or by a plugin.  What goes wrong is a result, never an exception."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import msgspec

from boxwork.packs.monitor import process, request
from boxwork.packs.monitor.book import Check, host_port
from boxwork.packs.monitor.outcome import CRITICAL, OK, UNKNOWN, WARNING, Figure, Outcome, read_plugin

DAY_S = 86_400


async def look(check: Check, clock: Any) -> Outcome:
    """The result, with when it began and how long it took."""
    began, at_ns = clock.monotonic_ns(), clock.now_ns()
    found = await {"http": _http, "tcp": _tcp, "plugin": _plugin}[check.kind](check, clock)
    took = clock.monotonic_ns() - began
    if check.slow_ms and found.state == OK and took > check.slow_ms * 1e6:
        found = msgspec.structs.replace(
            found, state=WARNING, text=f"slow: {took / 1e6:.0f} ms, and {check.slow_ms:g} are allowed; {found.text}"
        )
    return msgspec.structs.replace(found, at_ns=at_ns, took_ns=took)


async def _http(check: Check, clock: Any) -> Outcome:
    try:
        reply = await request.exchange(check.http, check.timeout_s, headers=check.headers, verify=check.verify)
    except request.Broken as fault:
        return Outcome(CRITICAL, str(fault))
    except TimeoutError:
        return Outcome(CRITICAL, f"no whole answer within {check.timeout_s:g} s")
    figures: tuple[Figure, ...] = (Figure("size", len(reply.body), "B"),)
    good = reply.status in check.status if check.status else 200 <= reply.status < 400
    if not good:
        wanted = ", ".join(map(str, check.status)) or "200 to 399"
        return Outcome(CRITICAL, f"HTTP {reply.status}, and {wanted} is good", figures=figures)
    if check.body and check.body not in reply.body.decode("utf-8", "replace"):
        return Outcome(CRITICAL, f"HTTP {reply.status}, and {check.body!r} is not in the answer", figures=figures)
    said = f"HTTP {reply.status}, {len(reply.body)} bytes"
    if reply.certificate_until is not None:
        left = reply.certificate_until.timestamp() - clock.now_ns() / 1e9
        figures = (*figures, Figure("certificate", left, "s"))
        if left < 0:
            return Outcome(CRITICAL, f"the certificate ended {-left / DAY_S:.0f} days ago", figures=figures)
        if left < check.certificate_days * DAY_S:
            text = f"the certificate ends in {left / DAY_S:.0f} days, and {check.certificate_days:g} are wanted"
            return Outcome(WARNING, text, figures=figures)
        said += f", certificate for {left / DAY_S:.0f} days"
    return Outcome(OK, said, figures=figures)


async def _tcp(check: Check, clock: Any) -> Outcome:
    host, port = host_port(check.tcp)
    try:
        async with asyncio.timeout(check.timeout_s):
            _, writer = await asyncio.open_connection(host, port)
    except TimeoutError:
        return Outcome(CRITICAL, f"no connection to {check.tcp} within {check.timeout_s:g} s")
    except OSError as fault:
        return Outcome(CRITICAL, f"{check.tcp}: {request.said(fault)}")
    writer.transport.abort()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return Outcome(OK, f"{check.tcp} takes connections")


async def _plugin(check: Check, clock: Any) -> Outcome:
    ended = await process.run(check.command, check.timeout_s)
    if ended.fault:
        return Outcome(UNKNOWN, ended.fault)
    text = ended.output.decode("utf-8", "replace").replace("\0", "")
    if ended.timed_out:
        first = text.strip().partition("\n")[0][:200]
        said = f"; until then it said: {first}" if first else ""
        return Outcome(UNKNOWN, f"the plugin did not end within {check.timeout_s:g} s{said}")
    return read_plugin(ended.code, text)
