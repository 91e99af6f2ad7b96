"""The monitor of one node: its book, its checks, its incidents.  The command line and the edge both stand on this."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from boxwork.packs.monitor import decisions
from boxwork.packs.monitor.incident import Incident, Silence
from boxwork.packs.monitor.mirror import Mirror
from boxwork.packs.monitor.roster import Roster
from boxwork.packs.monitor.rounds import Rounds


class Monitor:
    """Safe from several threads.  The first call that needs the facts opens them; then this process owns them."""

    def __init__(self, work: Any) -> None:
        self.work = work
        self.path = Path(work.node.root) / Path(work.settings.text("monitor.book")).expanduser()
        self.poll_s = max(0.05, work.settings.number("monitor.book_poll_s"))
        self.url = work.settings.text("monitor.url")
        self.roster = Roster(work)
        self.rounds = Rounds(self)
        self._mirror: Mirror | None = None
        self._lock = threading.Lock()

    def start(self) -> None:
        """Make the rounds, as soon as there is a book and nobody else makes them."""
        self.rounds.start()

    def recall(self) -> None:
        """How everything stood when the last rounds were made; for who makes none."""
        self.rounds.recall()

    def close(self) -> None:
        self.rounds.stop()
        if self._mirror is not None:
            self._mirror.close()

    @property
    def mirror(self) -> Mirror:
        """The facts as they are now."""
        with self._lock:
            if self._mirror is None:
                self._mirror = Mirror(self.work)
        self._mirror.catch_up()
        return self._mirror

    # --- what people decide

    def acknowledge(self, number: int, *, who: str, note: str) -> Incident:
        found: Incident = self.work.commit(decisions.acknowledge, number, who, note)
        return found

    def resolve(self, number: int, *, who: str, note: str) -> Incident:
        found: Incident = self.work.commit(decisions.resolve, number, who, note)
        return found

    def silence(self, checks: str, *, minutes: float, who: str, why: str, in_minutes: float = 0) -> Silence:
        """A maintenance window from now (or in so many minutes) on."""
        begin = self.work.clock.now_ns() + int(in_minutes * 60e9)
        found: Silence = self.work.commit(decisions.silence, checks, begin, begin + int(minutes * 60e9), who, why)
        return found

    def unsilence(self, name: str, *, who: str) -> Silence:
        found: Silence = self.work.commit(decisions.unsilence, name, who)
        return found
