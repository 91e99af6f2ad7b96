from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import boxwork
from boxwork import BoxworkError, errors
from boxwork.app.work import Work
from boxwork.content.repositories import OCI_MANIFEST, check_name
from boxwork.content.sweep import Sweep
from boxwork.keys import Ref, ref_of
from boxwork.testing.clock import FakeClock

DAY_NS = 24 * 3600 * 10**9
CONFIG = "application/vnd.oci.image.config.v1+json"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def work(tmp_path: Path, clock: FakeClock) -> Iterator[Work]:
    with boxwork.open(tmp_path / "data", clock=clock) as opened:
        yield opened


def manifest(*blobs: bytes, subject: bytes = b"") -> bytes:
    def told(data: bytes) -> dict[str, object]:
        return {"mediaType": CONFIG, "digest": ref_of(data), "size": len(data)}

    document = {"schemaVersion": 2, "config": told(blobs[0]), "layers": [told(data) for data in blobs[1:]]}
    return json.dumps({**document, **({"subject": told(subject)} if subject else {})}).encode()


def later(clock: FakeClock, work: Work, days: int = 30) -> None:
    clock.advance(days * DAY_NS)
    Sweep(work.content).run()


def test_a_tag_keeps_all_that_it_reaches_from_a_sweep(work: Work, clock: FakeClock) -> None:
    for data in (b"config", b"layer", b"bill"):
        work.put(data)
    image = manifest(b"config", b"layer")
    ref = work.repositories.publish("app", "v1", image).ref
    bill = work.repositories.publish(
        "app", str(ref_of(manifest(b"bill", subject=image))), manifest(b"bill", subject=image)
    )
    loose = work.put(b"nobody wants this")
    later(clock, work)
    assert not work.has(loose)
    for kept in (ref, bill.ref, ref_of(b"config"), ref_of(b"layer"), ref_of(b"bill")):
        assert work.has(kept)
    assert work.repositories.delete("app", "v1")
    later(clock, work)
    for gone in (ref, bill.ref, ref_of(b"config"), ref_of(b"layer"), ref_of(b"bill")):
        assert not work.has(gone)
    with pytest.raises(errors.NotFound, match="no manifest"):
        work.repositories.find("app", str(ref))


def test_what_no_tag_reaches_stays_for_the_grace_and_no_longer(work: Work, clock: FakeClock) -> None:
    work.put(b"config")
    first, second = manifest(b"config"), manifest(b"config", b"config")
    work.repositories.publish("app", "latest", first)
    work.repositories.publish("app", "latest", second)
    later(clock, work, 1)
    assert work.repositories.find("app", str(ref_of(first))).size == len(first)
    later(clock, work)
    assert not work.has(ref_of(first))
    assert work.repositories.find("app", "latest").ref == ref_of(second)


def test_rows_of_manifests_that_a_sweep_took_are_forgotten(work: Work, clock: FakeClock) -> None:
    work.put(b"config")
    image = manifest(b"config")
    about = manifest(b"config", subject=image)
    kept = work.repositories.publish("app", "latest", manifest(b"config", b"config"))
    for data in (image, about):
        work.repositories.publish("old", str(ref_of(data)), data)
    assert work.repositories.trim() == 0
    later(clock, work)
    assert work.repositories.names() == ["app", "old"]
    assert work.repositories.trim() == 2
    assert work.repositories.names() == ["app"]
    assert work.repositories.referrers("old", ref_of(image)) == []
    assert work.repositories.find("app", "latest") == kept


def test_a_layer_that_was_erased_by_hand_does_not_stop_a_sweep(work: Work, clock: FakeClock) -> None:
    for data in (b"config", b"layer", b"other"):
        work.put(data)
    work.repositories.publish("app", "v1", manifest(b"config", b"layer"))
    gone = work.repositories.publish("app", "v2", manifest(b"other"))
    for ref in (ref_of(b"layer"), gone.ref):
        work.content.delete(ref)
    later(clock, work)
    assert work.has(ref_of(b"config"))
    assert not work.has(ref_of(b"other"))


def test_outputs_of_boxes_become_durable_when_they_are_published(tmp_path: Path, work: Work) -> None:
    work.put(b"config", durable=False)
    work.put(bytes(100_000), durable=False)
    work.repositories.publish("app", "v1", manifest(b"config", bytes(100_000)))
    for data in (b"config", bytes(100_000)):
        assert work.content.durable.has(ref_of(data))


def test_what_was_published_is_there_after_opening_again_and_in_a_backup(tmp_path: Path, clock: FakeClock) -> None:
    with boxwork.open(tmp_path / "data", clock=clock) as work:
        work.put(b"config")
        ref = work.repositories.publish("app", "v1", manifest(b"config")).ref
    with boxwork.open(tmp_path / "data", clock=clock) as work:
        assert work.repositories.find("app", "v1").ref == ref
        assert work.repositories.find("app", "v1").media_type == OCI_MANIFEST


def test_the_size_in_a_manifest_is_the_size_of_the_blob(work: Work) -> None:
    work.put(b"config")
    lying = manifest(b"config").replace(b'"size": 6', b'"size": 7')
    with pytest.raises(errors.BadInput, match="has 6 bytes, and the manifest says 7"):
        work.repositories.publish("app", "v1", lying)


def test_nothing_is_written_when_something_is_missing(work: Work) -> None:
    with pytest.raises(errors.BlobMissing):
        work.repositories.publish("app", "v1", manifest(b"config"))
    assert [] == work.repositories.names()
    with pytest.raises(errors.NotFound, match="no repository"):
        work.repositories.tags("app")


@pytest.mark.parametrize("name", ["app", "a/b/c", "a.b-c__d", "a--b", "0"])
def test_names_that_repositories_may_have(name: str) -> None:
    assert name == check_name(name)


@pytest.mark.parametrize("call", ["publish", "find", "delete", "tags"])
def test_a_name_that_none_may_have_is_refused_everywhere(work: Work, call: str) -> None:
    arguments = {"publish": ("A", "v1", b"{}"), "find": ("A", "v1"), "delete": ("A", "v1"), "tags": ("A",)}
    with pytest.raises(BoxworkError, match="no name of a repository"):
        getattr(work.repositories, call)(*arguments[call])


def test_an_erased_subject_of_nothing_else_takes_nothing_along(work: Work) -> None:
    work.put(b"config")
    about = manifest(b"config", subject=b"never pushed")
    named = work.repositories.publish("app", str(ref_of(about)), about)
    assert [each.digest for each in work.repositories.referrers("app", ref_of(b"never pushed"))] == [named.ref]
    work.repositories.delete("app", named.ref)
    assert work.repositories.referrers("app", Ref.parse(ref_of(b"never pushed"))) == []
