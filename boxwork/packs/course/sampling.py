"""The five-day sample course, as a folder of one's own to begin with: its days are moved to a week that is to come."""

from __future__ import annotations

import datetime
import importlib.resources
from importlib.resources.abc import Traversable
from pathlib import Path

from boxwork import errors

# The dates that stand in the sample, which begins on a Monday.
FIRST = datetime.date(2030, 1, 7)
CLOSES = datetime.date(2030, 1, 4)
DAYS = 5
# So far ahead the sample begins at least.  Unit: days.  Reason: registration closes on the Friday before.
AHEAD_DAYS = 14


def write_sample(folder: Path, now_ns: int) -> int:
    """Write it into `folder`, which must be empty or not be there; answers how many files."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise errors.BadInput(f"{folder} is there and not empty: name a folder that is not")
    today = datetime.datetime.fromtimestamp(now_ns / 1e9, datetime.UTC).date()
    first = today + datetime.timedelta(days=AHEAD_DAYS + (-(today.weekday() + AHEAD_DAYS)) % 7)
    moved = first - FIRST
    count = 0
    for path, data in _files(importlib.resources.files("boxwork.packs.course") / "sample", ""):
        if path == "course.md":
            text = data.decode()
            for date in (CLOSES, *(FIRST + datetime.timedelta(days=day) for day in range(DAYS))):
                text = text.replace(f"{date}", f"{date + moved}")
            data = text.encode()
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
        count += 1
    return count


def _files(folder: Traversable, prefix: str) -> list[tuple[str, bytes]]:
    found = []
    for entry in sorted(folder.iterdir(), key=lambda one: one.name):
        if entry.is_dir():
            found += _files(entry, f"{prefix}{entry.name}/")
        elif entry.name.endswith((".md", ".svg")):
            found.append((prefix + entry.name, entry.read_bytes()))
    return found
