"""What differs between two versions of an image: package by package, file by file."""

from __future__ import annotations

import json
from typing import Any

from boxwork import Tree, tree

# Packages named in one line.
NAMED_MAX = 6

Row = tuple[str, str, str]


def packages_of(dependency_set: bytes) -> dict[str, str]:
    """The packages of a dependency set: name (with its architecture, if a name has two) → version."""
    found: dict[str, str] = {}
    for step in json.loads(dependency_set)["steps"]:
        for name, version, architecture, _ in step.get("packages", ()):
            found[name if name not in found else f"{name}:{architecture}"] = version
    return found


def packages_between(before: bytes, after: bytes) -> list[Row]:
    """(package, version before, version after) of what differs; an empty version is none."""
    old, new = packages_of(before), packages_of(after)
    names = sorted(old.keys() | new.keys())
    return [(name, old.get(name, ""), new.get(name, "")) for name in names if old.get(name) != new.get(name)]


def said(rows: list[Row]) -> str:
    """The difference in one line."""
    words = [
        f"{name} {before} → {after}" if before and after else f"{'+' if after else '−'}{name} {after or before}"
        for name, before, after in rows
    ]
    more = f" and {len(words) - NAMED_MAX} more" if len(words) > NAMED_MAX else ""
    return ", ".join(words[:NAMED_MAX]) + more


def reason(before: bytes, after: bytes) -> str:
    """Why there is a new version, in one line: the packages that differ, else the files, else the steps."""
    if rows := packages_between(before, after):
        return said(rows)
    old, new = (json.loads(one)["steps"] for one in (before, after))
    was, now = ({path: ref for step in steps for path, ref in step.get("files", {}).items()} for steps in (old, new))
    paths = sorted(path for path in was.keys() | now.keys() if was.get(path) != now.get(path))
    if paths:
        more = f" and {len(paths) - NAMED_MAX} more" if len(paths) > NAMED_MAX else ""
        return f"changed: {', '.join('/' + path for path in paths[:NAMED_MAX])}{more}"
    kinds = [step["kind"] for step in new if step not in old] or [step["kind"] for step in old if step not in new]
    return f"changed: {', '.join(dict.fromkeys(kinds)) or 'the order of steps'}"


def files_between(before: Tree, after: Tree) -> list[dict[str, Any]]:
    """Rows of path, kind (added, removed, changed), and what an entry was and is, in words."""
    return [
        {"path": change.path, "kind": change.kind, "before": described(change.before), "after": described(change.after)}
        for change in tree.diff(before, after)
    ]


def described(entry: Any) -> str:
    """An entry in words: -rw-r--r-- 0:0 1,234."""
    if entry is None:
        return ""
    letter = {"file": "-", "directory": "d", "symlink": "l", "character": "c", "block": "b", "pipe": "p"}[entry.kind]
    mode = 0o777 if entry.kind == "symlink" else entry.mode  # a link has no mode of its own
    text = f"{letter}{mode_text(mode)} {entry.uid}:{entry.gid}"
    if entry.kind == "symlink":
        return f"{text} → {entry.target}"
    more = f" {len(entry.attributes)} attributes" if entry.attributes else ""
    return f"{text} {entry.size:,}{more}" if entry.kind == "file" else text + more


def mode_text(mode: int) -> str:
    """0o4755 as rwsr-xr-x."""
    text = ["rwxrwxrwx"[at] if mode & (1 << (8 - at)) else "-" for at in range(9)]
    for bit, at, letter in ((0o4000, 2, "s"), (0o2000, 5, "s"), (0o1000, 8, "t")):
        if mode & bit:
            text[at] = letter if text[at] == "x" else letter.upper()
    return "".join(text)
