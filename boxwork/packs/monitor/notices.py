"""Telling people: a web hook or a command, once for the opening of an incident and once for its end.

What is to be told is a fact until it has arrived, so it survives the monitor; a receiver may hear it twice, and knows
it by the `Idempotency-Key`.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import msgspec

from boxwork import errors
from boxwork.packs.monitor import decisions, process, request
from boxwork.packs.monitor.book import Target
from boxwork.packs.monitor.incident import Incident, Notice
from boxwork.packs.monitor.outcome import WORDS

log = logging.getLogger("boxwork.monitor")

SECOND_NS = 1_000_000_000
# Between two tries: 1, 2, 4 … seconds, and at most so many.  Unit: seconds.
PAUSE_S_MAX = 300
# Members that a notice lists; the page has all.  Unit: checks.
MEMBERS_MAX = 100


class Notices:
    """Over one `Rounds`.  `begin` starts what is due."""

    def __init__(self, rounds: Any) -> None:
        self.rounds = rounds
        self.at_once = max(1, rounds.work.settings.integer("monitor.notices_at_once"))
        self._under_way: set[str] = set()
        # id → (tries, when the next one is due)
        self._tried: dict[str, tuple[int, int]] = {}

    def begin(self) -> None:
        now = self.rounds.clock.monotonic_ns()
        for notice in self.rounds.monitor.mirror.waiting():
            if len(self._under_way) >= self.at_once:
                return
            if notice.id not in self._under_way and self._tried.get(notice.id, (0, 0))[1] <= now:
                self._under_way.add(notice.id)
                self.rounds.keep_going(self._deliver(notice))

    async def _deliver(self, notice: Notice) -> None:
        try:
            await self._try(notice)
        except errors.BoxworkError as fault:
            log.warning("notice %s: %s", notice.id, fault.message)
        finally:
            self._under_way.discard(notice.id)

    async def _try(self, notice: Notice) -> None:
        rounds = self.rounds
        target: Target | None = rounds.book.notify.get(notice.target)
        incident = rounds.monitor.mirror.incidents.get(notice.incident)
        if target is None or incident is None:
            gone = "it is no longer in the book" if target is None else "its incident is gone"
            await self._finish(notice, f" was given up, {gone}", False)
            return
        tries = self._tried.get(notice.id, (0, 0))[0] + 1
        body = document(notice, incident, rounds.monitor.url, rounds.monitor.mirror.epoch)
        problem = await self._send(notice, target, body)
        if not problem:
            await self._finish(notice, f", try {tries}" if tries > 1 else "", True)
            return
        age_s = (rounds.clock.now_ns() - notice.at_ns) / SECOND_NS
        if age_s >= target.give_up_s:
            log.warning("notice %s was given up: %s", notice.id, problem)
            await self._finish(notice, f" was given up after {tries} tries: {problem}", False)
            return
        pause = min(PAUSE_S_MAX, 2 ** min(tries - 1, 20), max(0.1, target.give_up_s - age_s))
        self._tried[notice.id] = (tries, rounds.clock.monotonic_ns() + int(pause * SECOND_NS))
        log.info("notice %s, try %d: %s", notice.id, tries, problem)

    async def _finish(self, notice: Notice, text: str, delivered: bool) -> None:
        await asyncio.to_thread(self.rounds.work.commit, decisions.told, notice.id, text, delivered)
        self.rounds.monitor.mirror.catch_up()
        self._tried.pop(notice.id, None)

    async def _send(self, notice: Notice, target: Target, body: bytes) -> str:
        """Why it did not arrive; empty if it did."""
        if target.command:
            ended = await process.run(target.command, target.timeout_s, given=body)
            if ended.fault:
                return ended.fault
            if ended.timed_out:
                return f"the command did not end within {target.timeout_s:g} s"
            return f"the command ended with {ended.code}" if ended.code else ""
        headers = {"content-type": "application/json", "idempotency-key": notice.id}
        if target.secret_file:
            try:
                secret = await asyncio.to_thread(Path(target.secret_file).read_bytes)
            except OSError as fault:
                return f"the secret {target.secret_file} cannot be read: {fault.strerror}"
            headers["boxwork-signature"] = signature(secret.strip(), self.rounds.clock.now_ns() // SECOND_NS, body)
        try:
            reply = await request.exchange(target.url, target.timeout_s, method="POST", headers=headers, body=body)
        except request.Broken as fault:
            return str(fault)
        except TimeoutError:
            return f"no answer within {target.timeout_s:g} s"
        return "" if 200 <= reply.status < 300 else f"HTTP {reply.status}"


def document(notice: Notice, incident: Incident, url: str, epoch: str) -> bytes:
    """What is told: the same JSON for a hook and for a command."""
    bad = set(incident.bad)
    members = [
        {"check": name, "state": WORDS[member.state] if name in bad else "ok", "text": member.text}
        for name, member in list(incident.members.items())[:MEMBERS_MAX]
    ]
    return msgspec.json.encode(
        {
            "id": notice.id,
            "event": notice.what,
            "at_ns": notice.at_ns,
            "monitor": epoch,
            "incident": {
                "number": incident.number,
                "title": incident.title,
                "kind": incident.kind,
                "state": incident.state,
                "opened_ns": incident.opened_ns,
                "resolved_ns": incident.resolved_ns,
                "checks": len(incident.members),
                "members": members,
                "url": f"{url.rstrip('/')}/monitor/incident/{incident.number}" if url else "",
            },
        }
    )


def signature(secret: bytes, at_s: int, body: bytes) -> str:
    """`t=SECONDS,v1=HEX`: HMAC-SHA-256 over `SECONDS.BODY`, so that an old notice cannot be sent again as a new one."""
    from cryptography.hazmat.primitives import hashes, hmac

    seal = hmac.HMAC(secret, hashes.SHA256())
    seal.update(f"{at_s}.".encode() + body)
    return f"t={at_s},v1={seal.finalize().hex()}"
