"""Changing a root as a value: putting files over it, replacing some, without a disk.

Only the directories on the way to a change are spelled again, so the cost is that of the change.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from boxwork import Ref, Tree, TreeEntry, errors, tree

Owner = tuple[int, int]
# Links followed on the way to one path, as the kernel does (ELOOP).
LINKS_MAX = 40


def entry_at(root: Tree, path: str) -> TreeEntry | None:
    """What lies at a path of a root, links followed as a process inside would; None if nothing does."""
    found = locate(root, path)
    try:
        return root.find(found) if found else None
    except errors.NotFound:
        return None


def locate(root: Tree, path: str) -> str:
    """The path without links: where `path` really lies in the root, be there something or not; "" is the root."""
    steps = [step for step in path.split("/") if step not in ("", ".")][::-1]
    done: list[str] = []
    links = 0
    while steps:
        step = steps.pop()
        if step == "..":
            del done[-1:]
            continue
        here = "/".join([*done, step])
        try:
            entry = root.find(here)
        except errors.NotFound:
            done.append(step)
            continue
        if entry.kind != "symlink":
            done.append(step)
            continue
        links += 1
        if links > LINKS_MAX:
            raise errors.BadInput(f"{path!r} goes in a circle of links", path=path)
        if entry.target.startswith("/"):
            done = []
        steps += [one for one in entry.target.split("/") if one not in ("", ".")][::-1]
    return "/".join(done)


def replace_files(store: Any, root: Tree, changes: Mapping[str, TreeEntry | None]) -> Tree:
    """The root with these entries at these paths (None: nothing); missing directories are made, 0755 and root's.

    Links on the way are followed, the last step is not: a link can be replaced.
    """
    plan: dict[str, Any] = {}
    for path, entry in changes.items():
        above, _, name = path.strip("/").rpartition("/")
        here = plan
        for step in [step for step in locate(root, above).split("/") if step]:
            here = here.setdefault(step, {})
            if not isinstance(here, dict):
                raise errors.BadInput(f"{path!r} lies below something that is no directory", path=path)
        here[name] = entry
    return Tree(_spell(store, root, plan, ""), store)


def _spell(store: Any, folder: Tree | None, plan: Mapping[str, Any], path: str) -> Ref:
    entries = dict(folder.entries) if folder is not None else {}
    for name, change in plan.items():
        before = entries.get(name)
        if change is None:
            entries.pop(name, None)
        elif isinstance(change, TreeEntry):
            entries[name] = msgspec.structs.replace(change, name=name)
        else:
            if before is not None and before.kind != "directory":
                raise errors.BadInput(f"{path}{name} is a {before.kind}, so nothing can lie below it", path=path + name)
            below = folder.subtree(before) if folder is not None and before is not None else None
            inner = _spell(store, below, change, f"{path}{name}/")
            kept = before or TreeEntry(name, "directory", 0o755, uid=0, gid=0)
            entries[name] = msgspec.structs.replace(kept, ref=inner)
    ref: Ref = store.put(tree.encode(entries.values()), durable=False)
    return ref


def merge(store: Any, root: Tree, overlay: Tree, owners: Mapping[str, Owner]) -> Tree:
    """The root with everything in `overlay` over it.

    Directories that both have stay the root's.  `owners` are by path, and hold for all below; the rest is root's.
    """
    changes: dict[str, TreeEntry | None] = {}
    made: dict[str, TreeEntry] = {}
    groups: dict[str, str] = {}
    for path, entry in overlay.walk():
        uid, gid = _owner_of(path, owners)
        owned = msgspec.structs.replace(entry, uid=uid, gid=gid, group=_group_at(path, entry.group, groups))
        if entry.kind != "directory":
            changes[path] = owned
        elif entry_at(root, path) is None:
            made[path] = owned
            if not overlay.subtree(entry).entries:
                changes[path] = owned
    merged = replace_files(store, root, changes)
    for path in sorted(made, key=lambda path: -path.count("/")):
        now = merged.find(locate(merged, path))
        wanted = made[path]
        if (now.mode, now.uid, now.gid) != (wanted.mode, wanted.uid, wanted.gid):
            dressed = msgspec.structs.replace(now, mode=wanted.mode, uid=wanted.uid, gid=wanted.gid)
            merged = replace_files(store, merged, {path: dressed})
    return merged


def _group_at(path: str, group: str, groups: dict[str, str]) -> str:
    """The group of a file by its path in the root: a folder that was taken in calls it by its path in the folder.

    The first file of a group in the order of a walk has its name; `groups` remembers what lies above it.
    """
    if not group:
        return ""
    known = group in groups and path.startswith(groups[group])
    if not known and (path == group or path.endswith("/" + group)):
        groups[group] = path[: len(path) - len(group)]
    return groups.get(group, "") + group


def _owner_of(path: str, owners: Mapping[str, Owner]) -> Owner:
    """Whose a path is: as it, or the closest above it, is named."""
    while path:
        if path in owners:
            return owners[path]
        path = path.rpartition("/")[0]
    return 0, 0
