"""A content store by itself: for a small process that keeps trees and needs no node around them.

It imports neither numpy nor a web server: a process that only fetches, verifies and checks out stays near 35 MB.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from boxwork import database
from boxwork.clock import SECOND_NS, Clock, SystemClock
from boxwork.content import content as contents
from boxwork.content.content import Content
from boxwork.content.sweep import Report, Sweep
from boxwork.content.tree import TABLES, follower
from boxwork.settings import merge


def open_content(
    directory: str | os.PathLike[str], *, settings: Mapping[str, object] | None = None, clock: Clock | None = None
) -> Content:
    """Open (or make) `directory` as a store of blobs and trees; `close()` it.

    `settings` are overrides by name ("content.*", "database.*").  Raises `StorageError` if it cannot be used.
    """
    merged = merge((*contents.SETTINGS, *database.SETTINGS), flags=settings, environment={})
    content = Content(Path(directory), merged, clock or SystemClock(), cache_tables=TABLES)
    content.add_follower(follower(content))
    return content


def sweep(content: Content, *, grace_s: float) -> Report:
    """Delete what no pin reaches and nobody has touched for `grace_s`.  Raises `Busy` while another sweep runs."""
    return Sweep(content, grace_ns=int(grace_s * SECOND_NS)).run()
