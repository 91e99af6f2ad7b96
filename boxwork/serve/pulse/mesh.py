"""The matrix of paths, made once for all who look at the same time.

Thirty points of a sparkline are thirty questions; three people before the page must not make them ninety.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any

from boxwork.clock import SECOND_NS
from boxwork.pulse import page
from boxwork.pulse.recorder import Pulse
from boxwork.serve.pulse.asking import Range

# An answer serves this long, or a thirtieth of the range if that is longer: one point of its sparkline.
FRESH_NS = 2 * SECOND_NS
SPARKS = 30
# Name and range of what is looked at.  Unit: answers, some 10 KB each.
KEPT_MAX = 16


class MeshView:
    """Ask `look()`, from any thread."""

    def __init__(self, pulse: Pulse) -> None:
        self._pulse = pulse
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, int, int], tuple[int, dict[str, Any]]] = OrderedDict()

    def look(self, name: str, span: Range) -> dict[str, Any]:
        """Cells as `boxwork.pulse.page.mesh` has them, and `offsets` of clocks."""
        key = (name, span.length_ns, 0 if span.live else span.end_ns)
        with self._lock:
            now = self._pulse.clock.monotonic_ns()
            made_ns, found = self._kept.get(key, (-(2**62), {}))
            if now - made_ns >= max(FRESH_NS * 0.9, span.length_ns / SPARKS if span.length_ns > 120 * SECOND_NS else 0):
                found = page.mesh(self._pulse, span.start_ns, span.end_ns, name=name, sparks=SPARKS)
                found["offsets"] = page.clock_offsets(self._pulse, span.start_ns, span.end_ns)
                self._kept[key] = (now, found)
                self._kept.move_to_end(key)
                while len(self._kept) > KEPT_MAX:
                    self._kept.popitem(last=False)
            return found
