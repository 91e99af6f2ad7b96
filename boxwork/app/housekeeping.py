"""What a node does now and then: keep the cache under its quota, let observations expire, drop what is not used.

Nothing here is urgent: a process that lives shorter than the interval leaves it to the next one, or to
`boxwork evict` and `boxwork gc`.
"""

from __future__ import annotations

import logging
import threading

from boxwork.content.content import Content
from boxwork.content.evict import Eviction
from boxwork.content.observations import Observations
from boxwork.content.repositories import Repositories
from boxwork.content.tree_checkout import drop_unused_links
from boxwork.derive.deriver import Deriver
from boxwork.errors import BoxworkError

log = logging.getLogger("boxwork.housekeeping")

# How long closing waits for a round that runs: it stops after the batch it is in.  Unit: seconds.
STOP_S_MAX = 10.0


class Housekeeping:
    """A round every `every_s` seconds until it is closed; the thread starts with the object."""

    def __init__(
        self, content: Content, deriver: Deriver, observations: Observations, repositories: Repositories, every_s: float
    ) -> None:
        self._content = content
        self._deriver = deriver
        self._observations = observations
        self._repositories = repositories
        self._every_s = every_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="boxwork-housekeeping", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(self._every_s):
            try:
                self.round()
            except (BoxworkError, OSError) as error:
                log.warning("housekeeping was cut short: %s", error)

    def round(self) -> dict[str, int]:
        """One round; the answer counts what went."""
        told = {"evicted": 0, "expired": self._observations.expire()}
        told["links"], _ = drop_unused_links(self._content.root)
        told["rows"] = self._deriver.trim()
        told["manifests"] = self._repositories.trim()
        for _ in Eviction(self._content, self._deriver.cost).run():
            told["evicted"] += 1
            if self._stop.is_set():
                break
        if any(told.values()):
            log.info("housekeeping", extra=told)
        return told

    def close(self) -> None:
        self._stop.set()
        self._thread.join(STOP_S_MAX)
