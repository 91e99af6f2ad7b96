"""An audit runs calls again and names boxes that are not deterministic."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from boxwork.box import derivation
from boxwork.derive.audit import Auditor
from boxwork.errors import BadInput
from boxwork.keys import Ref
from tests.derive.node import node

COUNT = itertools.count()


@derivation
def steady(text: bytes, n: int = 1, *rest: int, **options: str) -> bytes:
    return text * n


@derivation
def unsteady(n: int) -> int:
    return n + next(COUNT)


@derivation
def stranger(n: int) -> int:
    return n


def test_a_box_that_is_not_deterministic_is_named(tmp_path: Path) -> None:
    with node(tmp_path / "data") as work:
        ref = work.content.put(b"abc")
        work.derive(steady, {"text": ref})
        work.call(steady, {"flavour": "sweet"}, (ref, 2, 3, 4))
        work.call(unsteady, {"n": 1})
        report = Auditor(work, [steady, unsteady]).audit(1.0)
        assert {"steady": 2, "unsteady": 1} == dict(report.compared)
        assert ["unsteady"] == report.unsteady
        assert str(report.findings[0]).startswith("unsteady is not deterministic: key ")


def test_what_cannot_be_run_again_is_counted_with_the_reason(tmp_path: Path) -> None:
    with node(tmp_path / "data") as work:
        work.call(stranger, {"n": 1})
        work.call(steady, {"text": b"nobody put this"})
        work.call(steady, {"text": b"", "long": "x" * 500})
        work.call(unsteady, {"n": 5})
        work.fingerprinter.extra = {"helper edited": b""}
        report = Auditor(work, [steady, unsteady]).audit(1.0)
        assert {
            "its box is not at hand": 1,
            "an input was not kept, only its digest": 1,
            "an input's blob is gone": 1,
            "its code, or what it declares, is another now": 1,
        } == dict(report.skipped)
        assert not report.compared


def test_a_run_that_now_fails_is_a_finding(tmp_path: Path) -> None:
    fail: list[bool] = []

    @derivation
    def fickle(n: int) -> int:
        if fail:
            raise OSError("the disk is gone")
        return n

    with node(tmp_path / "data") as work:
        work.call(fickle, {"n": 1})
        fail.append(True)
        (finding,) = Auditor(work, [fickle]).audit(1.0).findings
        assert "OSError: the disk is gone" == finding.error
        assert isinstance(finding.before, Ref)


def test_the_share_and_the_seed_decide_what_is_run(tmp_path: Path) -> None:
    with node(tmp_path / "data") as work:
        for n in range(100):
            work.call(stranger, {"n": n})
        auditor = Auditor(work, [stranger])
        assert 0 == auditor.audit(0.0).compared.total()
        first = auditor.audit(0.2, seed=1).compared.total()
        assert 5 < first < 40
        assert first == auditor.audit(0.2, seed=1).compared.total()
        assert 10 == auditor.audit(1.0, runs_max=10).compared.total()
        with pytest.raises(BadInput, match="from 0 to 1"):
            auditor.audit(20)
