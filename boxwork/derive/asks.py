"""One call as `derive` sees it: which box, which canonical inputs, which key; and what is worked out once per box."""

from __future__ import annotations

import threading
import weakref
from typing import Any, Protocol

from boxwork.box import BoundDerivation, Derivation
from boxwork.content.content import Content
from boxwork.derive.explain import Fingerprinted, Whole
from boxwork.derive.indexes import Index
from boxwork.derive.inputs import PLAIN, Binder, Inputs
from boxwork.derive.outputs import OUTPUTS, OutputCodec
from boxwork.errors import BadInput
from boxwork.keys import Describe, derivation_key, fingerprint_digest, text_form

_PUBLIC = text_form("public")


class Fingerprints(Protocol):
    """What is needed of a `Fingerprinter`."""

    def of(self, box: Any) -> Any: ...
    def declared(self, box: Any) -> Any: ...
    def describe_class(self, kind: type) -> bytes: ...


class Recorders(Protocol):
    """What is needed of a `Pulse`."""

    def series(self, name: str, /, **labels: Any) -> Any: ...


class Plan:
    """What is worked out once per box."""

    __slots__ = (
        "_content",
        "_describe",
        "binder",
        "code",
        "codec",
        "durable",
        "get_row",
        "hit",
        "hits",
        "identity",
        "index",
        "last_miss",
        "miss",
        "name",
        "place",
        "run",
        "worker",
    )

    def __init__(
        self, box: Derivation[..., Any], content: Content, index: Index, describe: Describe, pulse: Recorders
    ) -> None:
        self._content, self._describe = content, describe
        self.name = box.name
        self.worker = box.terms.worker
        self.durable = box.terms.durable
        self.identity = identity_of(box)
        self.place = content.durable if self.durable else content.cache
        self.get_row = self.place.database.getter(OUTPUTS)
        self.index = index
        self.hit = pulse.series("derive.hit", box=box.name).record
        self.miss = pulse.series("derive.miss", box=box.name).record
        self.run = pulse.series("derive.run", box=box.name).record
        self.hits = 0
        self.last_miss = b""  # the key of the last call that ran
        self.code: object = None
        self.read(box, None)

    def read(self, box: Derivation[..., Any], code: object) -> None:
        """Look at the signature (again): a fingerprint made anew may mean that an annotation names a new class."""
        self.binder = Binder(box, describe=self._describe)
        self.codec = OutputCodec(self.binder.annotations.get("return"), self._content)
        self.code = code


class Ask:
    """One call.  `fingerprint` includes what the box declares; `value` says that the caller wants no ref."""

    __slots__ = ("binder", "bound", "box", "fingerprint", "forms", "key", "plan", "value")

    def __init__(
        self, plan: Plan, box: Derivation[..., Any], binder: Binder, bound: Inputs, fingerprint: Any, value: bool
    ) -> None:
        self.plan = plan
        self.box = box
        self.binder = binder  # the one that made `forms`: another thread may give the plan a new one
        self.bound = bound
        self.fingerprint = fingerprint
        self.forms = forms = binder.forms(bound)
        self.key = derivation_key(fingerprint.digest, _PUBLIC, forms)
        self.value = value

    @property
    def plain(self) -> bool:
        """No handle and no container among the inputs: nothing that could change or name a blob within."""
        return PLAIN.issuperset(map(type, self.bound.values()))


class Asks:
    """Makes asks; keeps a plan for every box it has seen, as long as the box lives."""

    def __init__(
        self, content: Content, fingerprinter: Fingerprints, pulse: Recorders, cache_index: Index, durable_index: Index
    ) -> None:
        self._content = content
        self._fingerprinter = fingerprinter
        self._fingerprint = fingerprinter.of
        self._pulse = pulse
        self._cache_index, self._durable_index = cache_index, durable_index
        self._plans: dict[int, Plan] = {}
        self._boxes: dict[int, weakref.ref[Any]] = {}
        self._lock = threading.Lock()

    def ask(
        self, box: Derivation[..., Any] | BoundDerivation, inputs: Inputs, args: tuple[Any, ...], value: bool
    ) -> Ask:
        """The hot path of every call."""
        if isinstance(box, BoundDerivation):
            args = (box.instance, *args)
            box = box.box
        plan = self._plans.get(id(box)) or self.plan(box)
        fingerprint = self._fingerprint(box)
        if fingerprint is not plan.code:
            plan.read(box, fingerprint)
        binder = plan.binder
        bound = binder.bind(args, inputs)
        if fingerprint.files or fingerprint.env or fingerprint.ambient:
            fingerprint = self._with_declared(box, fingerprint)
        return Ask(plan, box, binder, bound, fingerprint, value)

    def plan(self, box: Any) -> Plan:
        """The plan of a box, made now if this is its first call."""
        if not isinstance(box, Derivation):
            raise BadInput(f"{box!r} is no box: make one of a function with @boxwork.derivation")
        with self._lock:
            identity = id(box)
            plan = self._plans.get(identity)
            if plan is None:
                index = self._durable_index if box.terms.durable else self._cache_index
                plan = Plan(box, self._content, index, self._fingerprinter.describe_class, self._pulse)
                # A notebook makes a box anew each time a cell runs: its plan goes with it.
                self._boxes[identity] = weakref.ref(box, lambda _: self._forget(identity))
                self._plans[identity] = plan
            return plan

    def known(self, box: Derivation[..., Any]) -> Plan | None:
        """The plan of a box that was asked for already."""
        return self._plans.get(id(box))

    def code(self, box: Derivation[..., Any]) -> Any:
        """The fingerprint of the code alone, as a worker sees it too."""
        return self._fingerprint(box)

    def fingerprint(self, box: Derivation[..., Any]) -> Fingerprinted:
        """The fingerprint of the code together with what the files and variables it declares hold now."""
        code = self._fingerprint(box)
        if code.files or code.env or code.ambient:
            return self._with_declared(box, code)
        return code  # type: ignore[no-any-return]

    def _with_declared(self, box: Derivation[..., Any], code: Any) -> Fingerprinted:
        declared = tuple(self._fingerprinter.declared(box))
        return Whole(fingerprint_digest([("code", code.digest), *declared]), (*code.parts, *declared))

    def _forget(self, identity: int) -> None:
        self._plans.pop(identity, None)
        self._boxes.pop(identity, None)


def identity_of(box: Derivation[..., Any]) -> str:
    """How explain records name a box, through all versions of its code: its module and qualified name."""
    function = box.function
    return f"{getattr(function, '__module__', '')}:{getattr(function, '__qualname__', box.name)}"
