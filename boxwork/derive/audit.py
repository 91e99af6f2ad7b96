"""Runs remembered calls again and compares: a box whose output differs is not deterministic, and is named.

A call can be run again when its box is at hand, its code is what it was, and its inputs were kept: plain values, and
blobs that are still here.  The others are counted, with the reason.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from boxwork.box import Derivation
from boxwork.derive.asks import identity_of
from boxwork.derive.canonical_text import Lost, value_of_form
from boxwork.derive.deriver import Deriver
from boxwork.derive.explain import Record
from boxwork.derive.inputs import handles_in
from boxwork.errors import BadInput
from boxwork.keys import Ref


@dataclass(frozen=True, slots=True)
class Finding:
    """One call whose output is not what it was; `error` if it did not even finish."""

    box: str
    key: bytes
    before: Ref
    after: Ref | None
    error: str = ""

    def __str__(self) -> str:
        what = self.error or f"{self.before} before, {self.after} now"
        return f"{self.box} is not deterministic: key {self.key.hex()[:16]}… gave {what}"


@dataclass(slots=True)
class Report:
    """What an audit saw.  `skipped` says why calls could not be run again, and how many."""

    compared: Counter[str] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)

    @property
    def unsteady(self) -> list[str]:
        """The boxes that are not deterministic."""
        return sorted({finding.box for finding in self.findings})


class Auditor:
    """Audits the outputs of these boxes.  Nothing is stored or changed."""

    def __init__(self, deriver: Deriver, boxes: Iterable[Derivation[..., Any]]) -> None:
        self._deriver = deriver
        self._boxes = {identity_of(box): box for box in boxes}

    def audit(self, share: float = 0.01, *, seed: int = 0, runs_max: int = 1000) -> Report:
        """Run a `share` (0 to 1) of the remembered calls again, at most `runs_max`; `seed` decides which."""
        if not 0.0 <= share <= 1.0:
            raise BadInput(f"audit(share={share}): give the share of calls to run again, from 0 to 1")
        chance, report = random.Random(seed), Report()
        for key, _ in self._deriver.rows():
            if report.compared.total() >= runs_max:
                break
            if chance.random() < share:
                record = self._deriver.explainer.record(key)
                if record is not None:
                    self.check(record, report)
        return report

    def check(self, record: Record, report: Report) -> None:
        """Run one remembered call again."""
        box = self._boxes.get(record.box)
        if box is None:
            report.skipped["its box is not at hand"] += 1
            return
        inputs: dict[str, Any] = {}
        try:
            for entry in record.inputs:
                if entry.shown:
                    raise Lost("a long value")
                inputs[entry.name] = value_of_form(entry.form)
        except Lost:
            report.skipped["an input was not kept, only its digest"] += 1
            return
        names = [named for named in handles_in(inputs.values()) if isinstance(named, Ref)]
        if not all(map(self._deriver.content.has, names)):
            report.skipped["an input's blob is gone"] += 1
            return
        try:
            args, inputs = self._deriver.arrange(box, inputs)
            if self._deriver.key(box, inputs, args) != record.key:
                report.skipped["its code, or what it declares, is another now"] += 1
                return
            _, after = self._deriver.run_again(box, inputs, args)
        except Exception as error:
            report.compared[record.name] += 1
            report.findings.append(
                Finding(record.name, record.key, record.output, None, f"{type(error).__name__}: {error}")
            )
            return
        report.compared[record.name] += 1
        if after != record.output:
            report.findings.append(Finding(record.name, record.key, record.output, after))
