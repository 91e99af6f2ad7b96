"""Measurements on a machine that is busy with other things."""

from __future__ import annotations

import contextlib
from collections.abc import Callable


def in_one_of_three(attempt: Callable[[], None]) -> None:
    """A machine that stops a prober for a while makes true reports of its own; a wrong report is wrong each time."""
    for _ in range(2):
        with contextlib.suppress(AssertionError):
            return attempt()
    return attempt()
