"""The fingerprint of a box: the hash of everything in the code that could change its output.

    shout = derivation(lambda text: text.upper())
    Fingerprinter().of(shout).digest

It is found at the first use, because helpers may be defined after the box, and kept.  Every later call only asks
whether each name still stands for the same object and each mutable value still has the same content; if not, it
is found again.  What is outside the code (declared files and variables) is not in it: `declared` digests that at
every call.  docs/honest-keys.md says what is followed, what is hashed, and what is refused.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from boxwork import keys
from boxwork.box import Derivation, Terms
from boxwork.database import Database
from boxwork.derive.ambient import Ambient, Declared
from boxwork.derive.distributions import Distributions, Index
from boxwork.derive.effects import Identities
from boxwork.derive.source import Sources
from boxwork.derive.walk import Walk
from boxwork.errors import Undeclared

# The table of a `Database` in which facts about code objects are kept from process to process.
TABLE = "code"

# What changes while a box is being read (a helper patched by another thread) is read again.  Unit: attempts;
# arbitrary, it only has to end.
ATTEMPTS_MAX = 5

# Classes of inputs whose digests are kept: their guards hold them, so those of a notebook would never go.
# Unit: classes; far more than a program has, and one that was dropped is only looked at again.
CLASSES_MAX = 1000


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """`parts` are sorted by their human names; two fingerprints with different digests differ in a part.

    The name of the box is shown in `function NAME` and is not in the digest, so that a box may be renamed.
    `ambient` names what `declared` adds by itself; `files` and `env` include those of boxes that it calls.
    """

    digest: bytes
    parts: tuple[tuple[str, bytes], ...]
    notes: tuple[str, ...]
    files: tuple[str, ...]
    env: tuple[str, ...]
    ambient: tuple[str, ...]


class DatabaseIndex:
    """Keeps facts in a table of a database."""

    def __init__(self, database: Database, table: str = TABLE) -> None:
        self._database = database
        self._table = table
        self._get = database.getter(table)

    def get(self, key: bytes) -> bytes | None:
        return self._get(key)

    def put(self, key: bytes, value: bytes) -> None:
        table = self._table
        self._database.update(lambda edit: edit.put(table, key, value))


class Fingerprinter:
    """Fingerprints of boxes and digests of classes.  Safe from many threads."""

    def __init__(
        self,
        project_roots: Iterable[str | os.PathLike[str]] = (),
        persist: Database | Index | None = None,
        ambient: Ambient | None = None,
    ) -> None:
        index = DatabaseIndex(persist) if isinstance(persist, Database) else persist
        self._sources = Sources(index)
        self._distributions = Distributions(project_roots, index)
        self._identities = Identities()
        self._ambient = ambient or Ambient()
        # By id, which is the cheapest key there is; the weak reference takes the row along when its box goes.
        self._boxes: dict[int, tuple[Callable[[], bool], Fingerprint, weakref.ref[Any]]] = {}
        self._classes: dict[type, tuple[Callable[[], bool], bytes]] = {}
        self._lock = threading.RLock()

    def of(self, box: Derivation[..., Any]) -> Fingerprint:
        """The fingerprint of `box` as its code is now.

        Raises `Undeclared` when it reads something its key would not see, with what to write.
        """
        known = self._boxes.get(id(box))
        if known is not None and known[0]():
            return known[1]
        return self._again(box)

    def declared(self, box: Derivation[..., Any]) -> Declared:
        """The digests of the files and variables of `box`, and of time zone and locale if it shows them."""
        found = self.of(box)
        if not (found.files or found.env or found.ambient):
            return ()
        return self._ambient.digests(found.files, found.env, found.ambient)

    def describe_class(self, kind: type) -> bytes:
        """The digest of a class's code, for the canonical form of its instances."""
        known = self._classes.get(kind)
        if known is not None and known[0]():
            return known[1]
        with self._lock:
            walk = self._walk(kind.__qualname__, kind.__module__, Terms(), lenient=True)
            walk.references.describe_instance(kind)
            walk.finish()
            digest = keys.fingerprint_digest(walk.parts.items())
            self._classes[kind] = (walk.guards.check(), digest)
            while len(self._classes) > CLASSES_MAX:
                self._classes.pop(next(iter(self._classes)), None)
            return digest

    def forget(self) -> None:
        """Compute every fingerprint again at its next use."""
        with self._lock:
            self._boxes.clear()
            self._classes.clear()

    def _again(self, box: Derivation[..., Any]) -> Fingerprint:
        with self._lock:
            before = b""
            for _ in range(ATTEMPTS_MAX):
                walk, found = self._compute(box)
                holds = walk.guards.check()
                # Two looks that see the same are as good as guards that hold: another thread imports a library, whose
                # modules appear one after the other without changing what they are.  The next call looks again.
                if holds() or found.digest == before:
                    self._boxes[id(box)] = (holds, found, weakref.ref(box, self._forgetter(id(box))))
                    return found
                before = found.digest
        raise Undeclared(
            f"box {box.name} reads something that changes while it is looked at (tried {ATTEMPTS_MAX} times):"
            " patch helpers before the box is used, or leave them alone while it runs",
            box=box.name,
        )

    def _forgetter(self, number: int) -> Callable[[object], None]:
        boxes = self._boxes
        return lambda _: boxes.pop(number, None) and None

    def _walk(self, name: str, module: str, terms: Terms, *, lenient: bool = False) -> Walk:
        return Walk(self._sources, self._distributions, self._identities, name, module, terms, lenient=lenient)

    def _compute(self, box: Derivation[..., Any]) -> tuple[Walk, Fingerprint]:
        function = box.function
        walk = self._walk(box.name, getattr(function, "__module__", None) or "", box.terms)
        shown = f"function {box.name}"
        walk.box(function, shown)
        notes = walk.finish()
        if box.terms.version:
            walk.part(f"version {box.terms.version}", box.terms.version.encode())
        # The box's own name stays out of the digest; in `parts` people see it.
        digest = keys.fingerprint_digest(
            ("function" if label == shown else label, part) for label, part in walk.parts.items()
        )
        terms = [box.terms, *(inner.terms for inner in walk.boxes)]
        return walk, Fingerprint(
            digest=digest,
            parts=tuple(sorted(walk.parts.items())),
            notes=(*walk.notes, *notes),
            files=tuple(dict.fromkeys(path for one in terms for path in one.files)),
            env=tuple(dict.fromkeys(name for one in terms for name in one.env)),
            ambient=tuple(sorted(walk.ambient)),
        )
