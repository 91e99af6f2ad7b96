"""What was decided about images: which versions there are, which one counts, and who said so.

Facts, each below ("images", NAME):
    ("source",)        where its recipe lies on the node that builds it
    ("latest",)        the number of the newest version; numbers begin at 1
    ("current",)       the number of the version that counts: the latest, or the one somebody rolled back to
    ("version", N)     what version N is: the refs of its dependency set and its tree, its steps, why, when, by whom
    ("log",)           what happened: released, rolled back, pruned
"""

from __future__ import annotations

from typing import Any

from boxwork import errors, transaction

TOP = "images"
# Entries of the log that are shown; all are kept.
LOG_SHOWN = 1000


@transaction
def image_release(tx: Any, name: str, version: dict[str, Any], by: str) -> int:
    """Make a version of an image, unless the latest one is of the same dependency set; the answer is its number."""
    latest = tx.get((TOP, name, "latest"), 0)
    if latest and tx.get((TOP, name, "version", latest))["set"] == version["set"]:
        return int(latest)
    number = latest + 1
    tx.put((TOP, name, "version", number), {**version, "number": number, "at_ns": tx.now(), "who": by})
    tx.put((TOP, name, "latest"), number)
    tx.put((TOP, name, "current"), number)
    tx.append((TOP, name, "log"), (tx.now(), "released", number, by, version["reason"]))
    return int(number)


@transaction
def image_rollback(tx: Any, name: str, number: int, by: str, reason: str) -> int:
    """Let another version count; the answer is the one that counted before."""
    before = tx.get((TOP, name, "current"))
    tx.require(before is not None, f"there is no image {name!r}", name=name)
    tx.require(
        tx.get((TOP, name, "version", number)) is not None, f"{name} has no version {number}", name=name, number=number
    )
    if before != number:
        tx.put((TOP, name, "current"), number)
        tx.append((TOP, name, "log"), (tx.now(), "rolled back", number, by, reason))
    return int(before)


@transaction
def image_prune(tx: Any, name: str, keep: int, by: str) -> list[int]:
    """Forget all versions but the newest `keep` and the one that counts; the answer is the numbers that went."""
    tx.require(keep >= 1, "at least one version is kept", keep=keep)
    numbers = sorted(key[-1] for key, _ in tx.scan((TOP, name, "version")))
    current = tx.get((TOP, name, "current"))
    gone = [number for number in numbers[:-keep] if number != current]
    for number in gone:
        tx.delete((TOP, name, "version", number))
        tx.append((TOP, name, "log"), (tx.now(), "pruned", number, by, f"{keep} are kept"))
    return [int(number) for number in gone]


@transaction
def image_source(tx: Any, name: str, path: str) -> None:
    """Remember where the recipe of an image lies."""
    if tx.get((TOP, name, "source")) != path:
        tx.put((TOP, name, "source"), path)


@transaction
def image_facts(tx: Any, name: str) -> list[tuple[tuple[Any, ...], Any]]:
    """All facts of one image, or of all: for a process that does not own them."""
    return [(tuple(key), value) for key, value in tx.scan((TOP, name) if name else (TOP,))]


TRANSACTIONS = (image_release, image_rollback, image_prune, image_source, image_facts)


class Catalog:
    """The images of a node, read from its facts; another process may own them."""

    def __init__(self, work: Any) -> None:
        self.work = work

    def facts(self, name: str = "") -> dict[tuple[Any, ...], Any]:
        """All facts of one image (or of all) by the rest of their keys behind TOP."""
        try:
            with self.work.read() as snapshot:
                rows = snapshot.scan((TOP, name) if name else (TOP,))
        except errors.StateInUse:
            rows = self.work.commit(image_facts, name=name)
        return {tuple(key)[1:]: value for key, value in rows}

    def names(self) -> list[str]:
        return sorted({key[0] for key in self.facts() if key[1] == "latest"})

    def sources(self) -> dict[str, str]:
        """Where the recipes lie, by the names of the images."""
        return {key[0]: value for key, value in self.facts().items() if key[1] == "source"}

    def versions(self, name: str) -> list[dict[str, Any]]:
        """All versions of an image, the newest first; `current` is set in the one that counts.  Raises `NotFound`."""
        facts = self.facts(name)
        current = facts.get((name, "current"))
        found = [
            {**value, "current": value["number"] == current} for key, value in facts.items() if key[1] == "version"
        ]
        if not found:
            known = ", ".join(self.names()) or "none yet"
            raise errors.NotFound(f"there is no version of an image {name!r}; images: {known}", name=name)
        return sorted(found, key=lambda version: -int(version["number"]))

    def version(self, name: str, number: int = 0) -> dict[str, Any]:
        """One version; 0 is the one that counts.  Raises `NotFound`."""
        found = self.versions(name)
        for version in found:
            if version["number"] == number or (not number and version["current"]):
                return version
        raise errors.NotFound(f"{name} has no version {number}; it has 1 to {found[0]['number']}", name=name)

    def latest(self, name: str) -> dict[str, Any] | None:
        facts = self.facts(name)
        number = facts.get((name, "latest"))
        found: dict[str, Any] | None = facts.get((name, "version", number))
        return found

    def log(self, name: str) -> list[tuple[int, str, int, str, str]]:
        """What happened, the newest first: (time in ns, what, number, who, why)."""
        rows = self.facts(name).get((name, "log"), ())
        return [tuple(row) for row in list(rows)[-LOG_SHOWN:][::-1]]
