"""Users of an image, written into its account files: the same root and the same users give the same bytes.

`useradd` of the machine that builds would bring its own defaults and today's date; four text files need neither.
"""

from __future__ import annotations

from typing import Any, cast

from boxwork import Tree, TreeEntry, errors
from boxwork.packs.images.overlay import entry_at, locate

# Ids for users without one are taken from here upwards: those of people, as Debian has them.
UID_FIRST, UID_LAST = 1000, 59_999
DAY_S = 86_400

Row = tuple[str, int, str, str, tuple[str, ...], str]


def add_users(root: Tree, users: tuple[Row, ...], epoch_s: int) -> dict[str, TreeEntry | None]:
    """The account files, and the homes, of a root with these users.  Raises `BadInput` for one that is there."""
    store = cast(Any, root.store)
    books = {name: _lines(root, f"etc/{name}") for name in ("passwd", "group", "shadow", "gshadow")}
    changes: dict[str, TreeEntry | None] = {}
    for name, wanted, home, shell, groups, comment in users:
        taken = {int(row[2]) for row in (*books["passwd"], *books["group"]) if len(row) > 2 and row[2].isdecimal()}
        if any(row[0] == name for row in books["passwd"]):
            raise errors.BadInput(f"the user {name!r} is in the image already: leave it out of the recipe")
        uid = wanted or next((number for number in range(UID_FIRST, UID_LAST) if number not in taken), 0)
        if not uid or uid in taken:
            raise errors.BadInput(f"user {name}: the id {uid} is taken; give another uid, or none")
        books["passwd"].append([name, "x", str(uid), str(uid), comment, home or "/nonexistent", shell])
        books["group"].append([name, "x", str(uid), ""])
        books["shadow"].append([name, "!", str(epoch_s // DAY_S), "0", "99999", "7", "", "", ""])
        books["gshadow"].append([name, "!", "", ""])
        for group in groups:
            for book in ("group", "gshadow"):
                _join(books[book], group, name, must=book == "group")
        if home and entry_at(root, home) is None:
            changes[locate(root, home)] = TreeEntry("", "directory", 0o750, 0, _empty(store), "", uid, uid)
    for name, rows in books.items():
        data = "".join(":".join(row) + "\n" for row in rows).encode()
        before = entry_at(root, f"etc/{name}")
        mode = before.mode if before is not None else (0o640 if name.endswith("shadow") else 0o644)
        gid = (before.gid or 0) if before is not None else (42 if name.endswith("shadow") else 0)
        changes[f"etc/{name}"] = TreeEntry(name, "file", mode, len(data), store.put(data, durable=False), "", 0, gid)
    return changes


def owner_ids(root: Tree, owner: str) -> tuple[int, int]:
    """`user` or `user:group`, by name or number, as (uid, gid) of this root."""
    user, _, group = owner.partition(":")
    uid, own = (int(user), int(user)) if user.isdecimal() else _find(root, "passwd", user)
    if not group:
        return uid, own
    return uid, int(group) if group.isdecimal() else _find(root, "group", group)[0]


def _find(root: Tree, book: str, name: str) -> tuple[int, int]:
    for row in _lines(root, f"etc/{book}"):
        if row[0] == name:
            return int(row[2]), int(row[3]) if book == "passwd" else 0
    raise errors.BadInput(f"there is no {name!r} in /etc/{book} of the image: add a user, or give a number")


def _lines(root: Tree, path: str) -> list[list[str]]:
    entry = entry_at(root, path)
    text = root.store.get(entry.content).decode() if entry is not None else ""
    return [line.split(":") for line in text.splitlines() if line]


def _join(rows: list[list[str]], group: str, name: str, must: bool) -> None:
    for row in rows:
        if row[0] == group:
            row[3] = ",".join([*filter(None, row[3].split(",")), name])
            return
    if must:
        raise errors.BadInput(f"user {name}: there is no group {group!r} in the image")


def _empty(store: Any) -> Any:
    from boxwork import tree

    return store.put(tree.encode([]), durable=False)
