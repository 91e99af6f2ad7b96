"""What was seen stays seen: versions, times that arrive late, retention, and what gc must keep."""

import contextlib
import math
import threading

import msgspec
import pytest

from boxwork.clock import SECOND_NS
from boxwork.content.content import Content
from boxwork.content.observations import TABLES, Observations
from boxwork.errors import BadInput, UnsupportedType
from boxwork.keys import ref_of
from boxwork.testing.clock import FakeClock
from boxwork.testing.stores import content_settings

NOW = 1_700_000_000 * SECOND_NS


@pytest.fixture
def clock():
    return FakeClock(NOW)


@pytest.fixture
def content(tmp_path, clock):
    with contextlib.closing(Content(tmp_path / "data", content_settings(), clock, durable_tables=TABLES)) as opened:
        yield opened


@pytest.fixture
def seen(content, clock):
    return Observations(content, clock)


def test_an_observation_is_kept_with_source_time_and_version(seen, content, clock):
    first = seen.observe("page", b"<html>", source="https://example.org/", who="ada")
    assert (first.kind, first.source, first.at_ns, first.version, first.who) == (
        "page",
        "https://example.org/",
        NOW,
        1,
        "ada",
    )
    assert first.ref == ref_of(b"<html>")
    assert content.get(first.ref) == b"<html>" == seen.value(first)
    clock.advance(SECOND_NS)
    second = seen.observe("page", b"<html lang=en>", source="https://example.org/")
    assert (second.version, second.at_ns) == (2, NOW + SECOND_NS)
    assert seen.latest("page", "https://example.org/") == second
    assert seen.observe("page", b"x", source="https://example.net/").version == 1
    assert seen.latest("page", "nobody") is None
    assert seen.latest("pag", "https://example.org/") is None


def test_saying_the_same_again_says_nothing_new(seen):
    first = seen.observe("reading", 21.5, source="meter", at=5)
    assert first == seen.observe("reading", 21.5, source="meter", at=5)
    assert len(seen.history("reading")) == 1
    other = seen.observe("reading", 22.5, source="meter", at=5)
    later = seen.observe("reading", 21.5, source="meter", at=6)
    assert [first.version, other.version, later.version] == [1, 2, 3]


def test_what_arrives_late_is_found_where_it_belongs(seen):
    for at in (30, 10, 20, -5):
        seen.observe("level", at, source="buffer", at=at)
    assert [observation.at_ns for observation in seen.history("level", "buffer")] == [-5, 10, 20, 30]
    assert [observation.version for observation in seen.history("level", "buffer")] == [4, 2, 3, 1]
    assert seen.latest("level", "buffer").at_ns == 30
    assert [seen.latest("level", "buffer", at=at).at_ns for at in (30, 29, 20, 10, 9, -5)] == [30, 20, 20, 10, -5, -5]
    assert seen.latest("level", "buffer", at=-6) is None


def test_history_is_cut_by_time_and_number_in_both_directions(seen):
    for at in range(10):
        seen.observe("k", at, source="one", at=at)
        seen.observe("k", at, source="two", at=at)
        seen.observe("other", at, source="one", at=at)

    def times(source=None, **cut):
        return [observation.at_ns for observation in seen.history("k", source, **cut)]

    for source, twice in (("one", 1), (None, 2)):
        assert times(source) == sorted([*range(10)] * twice)
        assert times(source, since=3, until=5) == sorted([3, 4] * twice)
        assert times(source, limit=3) == sorted([*range(10)] * twice)[:3]
        assert times(source, newest_first=True, limit=3) == sorted([*range(10)] * twice, reverse=True)[:3]
        assert times(source, newest_first=True, since=3, until=5) == sorted([3, 4] * twice, reverse=True)
        assert times(source, since=10) == []
    assert {observation.source for observation in seen.history("k")} == {"one", "two"}
    assert sorted(seen.sources("k")) == ["one", "two"]
    assert seen.kinds() == ["k", "other"]


def test_kinds_and_sources_that_run_together_are_kept_apart(seen):
    seen.observe("ab", 1, source="c")
    seen.observe("a", 2, source="bc")
    assert seen.value(seen.latest("ab", "c")) == 1
    assert seen.value(seen.latest("a", "bc")) == 2


class Reading(msgspec.Struct):
    level: float
    tags: list[str]


@pytest.mark.parametrize("value", [None, True, 3, -7, 1.5, "text", [1, [2]], {"b": 1, "a": [None]}, 2**63, math.inf])
def test_plain_values_come_back(seen, value):
    observation = seen.observe("value", value, source="test")
    assert seen.value(observation) == value
    assert observation.encoding == "msgpack"


def test_equal_values_are_equal_bytes(seen):
    one = seen.observe("v", {"a": 1, "b": 2}, source="one")
    assert one.ref == seen.observe("v", {"b": 2, "a": 1}, source="two").ref
    assert seen.value(seen.observe("v", Reading(1.0, ["x"]), source="s")) == {"level": 1.0, "tags": ["x"]}


def test_what_is_not_plain_is_refused(seen):
    for value in (object(), {1: object()}, 2**70, lambda: 0):
        with pytest.raises(UnsupportedType, match="cannot be observed"):
            seen.observe("v", value, source="s")
    for names in ({"kind": "", "source": "s"}, {"kind": "k", "source": ""}, {"kind": "k" * 2000, "source": "s"}):
        with pytest.raises(BadInput):
            seen.observe(names["kind"], 1, source=names["source"])
    with pytest.raises(BadInput, match="no time"):
        seen.observe("k", 1, source="s", at=1 << 63)
    assert seen.kinds() == []


def test_a_ref_is_observed_without_being_copied(seen, content):
    ref = content.put(b"a photo", durable=False)
    observation = seen.observe("photo", ref, source="camera")
    assert (observation.ref, observation.encoding) == (ref, "bytes")
    with pytest.raises(BadInput, match="put it before"):
        seen.observe("photo", ref_of(b"nowhere"), source="camera")


def test_what_is_past_its_retention_ends_but_the_latest_stays(seen, clock):
    for at in (1, 2, 3):
        seen.observe("page", at, source="a", at=NOW + at * SECOND_NS)
    seen.observe("page", 0, source="old", at=NOW)
    seen.observe("kept", 1, source="a", at=0)
    clock.advance(10 * SECOND_NS)
    assert seen.expire() == 0
    seen.retain("page", 8 * SECOND_NS)
    assert seen.expire() == 1
    assert [observation.at_ns - NOW for observation in seen.history("page", "a")] == [2 * SECOND_NS, 3 * SECOND_NS]
    clock.advance(100 * SECOND_NS)
    assert seen.expire() == 1
    assert seen.latest("page", "a").at_ns == NOW + 3 * SECOND_NS
    assert seen.latest("page", "old").at_ns == NOW
    seen.retain("page", 8 * SECOND_NS, keep_latest=False)
    assert seen.expire() == 2
    assert seen.history("page") == []
    assert len(seen.history("kept")) == 1
    assert seen.observe("page", 9, source="a").version == 4  # versions are not given out again
    with pytest.raises(BadInput):
        seen.retain("page", -1)


def test_everything_that_is_kept_is_a_root(seen, content):
    refs = {seen.observe("k", b"%d" % number, source="s").ref for number in range(5)}
    assert refs == {ref for _, ref in seen.roots()}
    assert {"observation k of s"} == {why for why, _ in seen.roots()}
    assert seen.roots in content.root_providers


def test_observations_outlive_the_process(seen, content, clock, tmp_path):
    observation = seen.observe("k", b"x", source="s")
    content.close()
    with contextlib.closing(Content(tmp_path / "data", content_settings(), clock, durable_tables=TABLES)) as again:
        assert Observations(again, clock).latest("k", "s") == observation


def test_many_threads_get_different_versions(seen):
    threads = [
        threading.Thread(target=lambda n=n: [seen.observe("k", [n, i], source="s", at=i) for i in range(10)])
        for n in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(observation.version for observation in seen.history("k", "s")) == list(range(1, 41))
