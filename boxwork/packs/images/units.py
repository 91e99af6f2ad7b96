"""Enabling units of systemd in a root: the links that `systemctl enable` would make, from each unit's [Install].

`systemctl --root` would need the root on disk and a systemd on the machine that builds; the links are all it makes.
"""

from __future__ import annotations

from typing import Any

from boxwork import Tree, TreeEntry, errors
from boxwork.packs.images.overlay import entry_at, replace_files

OWN = "etc/systemd/system"
FOLDERS = (OWN, "usr/local/lib/systemd/system", "usr/lib/systemd/system", "lib/systemd/system")
# Units that enabling one may bring along (Also=).
UNITS_MAX = 1000


def apply_services(
    store: Any, root: Tree, enable: tuple[str, ...], disable: tuple[str, ...], mask: tuple[str, ...]
) -> Tree:
    """The root with these units enabled, disabled and masked.  Raises `BadInput` for a unit that is not there."""
    changes: dict[str, TreeEntry | None] = {}
    for unit in disable:
        for path in _links_to(root, _named(unit)):
            changes[path] = None
    todo, seen = [_named(unit) for unit in enable], set[str]()
    while todo:
        unit = todo.pop(0)
        if unit in seen or len(seen) > UNITS_MAX:
            continue
        seen.add(unit)
        path, install = _unit(root, unit)
        for where in _wanted(unit, install):
            changes[f"{OWN}/{where}"] = TreeEntry("", "symlink", target=f"/{path}", uid=0, gid=0)
        todo += install.get("Also", [])
    for unit in mask:
        changes[f"{OWN}/{_named(unit)}"] = TreeEntry("", "symlink", target="/dev/null", uid=0, gid=0)
    return replace_files(store, root, changes) if changes else root


def _named(unit: str) -> str:
    return unit if "." in unit else f"{unit}.service"


def _template(unit: str) -> tuple[str, str]:
    """An instance of a template as (`getty@.service`, `tty1`); the unit itself and nothing of any other."""
    name, at, rest = unit.partition("@")
    instance, dot, kind = rest.rpartition(".")
    return (f"{name}@{dot}{kind}", instance) if at and instance else (unit, "")


def _unit(root: Tree, unit: str) -> tuple[str, dict[str, list[str]]]:
    """Where the unit lies, and its [Install]."""
    for name in dict.fromkeys((unit, _template(unit)[0])):
        for folder in FOLDERS:
            entry = entry_at(root, f"{folder}/{name}")
            if entry is not None and entry.kind == "file":
                install = _install(root.store.get(entry.content).decode("utf-8", "replace"))
                if not install:
                    raise errors.BadInput(f"the unit {unit} has no [Install], so it cannot be enabled: others start it")
                return f"{folder}/{name}", install
    raise errors.BadInput(f"there is no unit {unit!r} in the image: is its package in the recipe?")


def _install(text: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    section = ""
    for line in text.replace("\\\n", " ").splitlines():
        line = line.strip()
        if line.startswith("["):
            section = line
        elif section == "[Install]" and line and line[0] not in "#;" and "=" in line:
            key, _, value = line.partition("=")
            found.setdefault(key.strip(), []).extend(value.split())
    return found


def _wanted(unit: str, install: dict[str, list[str]]) -> list[str]:
    """The links, below etc/systemd/system."""
    name, instance = _template(unit)
    if name.partition(".")[0].endswith("@") and not instance:
        default = (install.get("DefaultInstance") or [""])[0]
        if not default:
            raise errors.BadInput(f"{unit} is a template: enable an instance of it, {unit.replace('@.', '@NAME.')}")
        unit, instance = unit.replace("@.", f"@{default}."), default
    links = [
        f"{target.replace('%i', instance)}.{kind}/{unit}"
        for key, kind in (("WantedBy", "wants"), ("RequiredBy", "requires"), ("UpheldBy", "upholds"))
        for target in install.get(key, [])
    ]
    return links + [alias.replace("%i", instance) for alias in install.get("Alias", [])]


def _links_to(root: Tree, unit: str) -> list[str]:
    """Links in etc/systemd/system that enable the unit."""
    folder = entry_at(root, OWN)
    if folder is None or folder.kind != "directory":
        return []
    found = root.subtree(folder).walk(OWN + "/")
    return [path for path, entry in found if entry.kind == "symlink" and entry.target.rpartition("/")[2] == unit]
