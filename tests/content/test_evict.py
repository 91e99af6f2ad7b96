"""The cache keeps its quota, and what is dear stays."""

import contextlib

import pytest

from boxwork.clock import SECOND_NS
from boxwork.content.content import Content
from boxwork.content.evict import Eviction
from boxwork.testing.clock import FakeClock
from boxwork.testing.stores import content_settings


@pytest.fixture
def content(tmp_path):
    with contextlib.closing(Content(tmp_path, content_settings(cache_bytes_max=10_000), FakeClock())) as one:
        yield one


def put(content, number, size=1000, *, durable=False):
    content.clock.advance(60 * SECOND_NS)
    return content.put(b"%08d" % number * (size // 8), durable=durable)


def test_below_the_quota_nothing_goes(content):
    refs = [put(content, number) for number in range(10)]
    assert list(Eviction(content).run()) == []
    assert Eviction(content).bytes_used() == 10_000
    assert all(content.has(ref) for ref in refs)


def test_without_costs_the_oldest_goes_first_down_to_the_low_water_mark(content):
    refs = [put(content, number) for number in range(15)]
    assert refs[:6] == [evicted.ref for evicted in Eviction(content).run()]
    assert [False] * 6 + [True] * 9 == [content.has(ref) for ref in refs]


def test_without_costs_the_largest_of_equal_age_goes_first(content):
    small = content.put(b"s" * 1000, durable=False)
    large = content.put(b"L" * 9500, durable=False)
    content.clock.advance(60 * SECOND_NS)
    assert [evicted.ref for evicted in Eviction(content).run()] == [large]
    assert content.has(small)


def test_what_was_dear_to_compute_stays(content):
    refs = [put(content, number) for number in range(11)]
    dear = set(refs[:3])
    gone = [evicted.ref for evicted in Eviction(content, lambda ref: 10**10 if ref in dear else 1000).run()]
    assert refs[3:5] == gone


def test_an_unknown_cost_is_a_small_one(content):
    refs = [put(content, number) for number in range(11)]
    gone = {evicted.ref for evicted in Eviction(content, lambda ref: 10**9 if ref in refs[:5] else None).run()}
    assert gone == set(refs[5:7])


def test_what_was_touched_lately_stays(content):
    refs = [put(content, number) for number in range(11)]
    content.touch(refs[:2])
    assert refs[2:4] == [evicted.ref for evicted in Eviction(content).run()]


def test_what_is_touched_while_prices_are_compared_stays(content):
    refs = [put(content, number) for number in range(11)]
    eviction = Eviction(content)
    cheapest = eviction._cheapest

    def then_touch(excess):
        rows = cheapest(excess)
        content.touch(refs[:1])
        return rows

    eviction._cheapest = then_touch
    assert refs[0] not in {evicted.ref for evicted in eviction.run()}
    assert content.has(refs[0])
    assert eviction.bytes_used() <= 9_000


def test_the_durable_class_is_left_alone(content):
    kept = [put(content, number, durable=True) for number in range(20)]
    for number in range(20, 40):
        put(content, number)
    list(Eviction(content).run())
    assert all(content.has(ref) for ref in kept)


def test_more_than_one_pass_is_taken_when_much_has_to_go(content, monkeypatch):
    monkeypatch.setattr("boxwork.content.evict.PASS_BLOBS", 4)
    monkeypatch.setattr("boxwork.content.evict.BATCH", 3)
    for number in range(30):
        put(content, number)
    assert len(list(Eviction(content).run())) == 21
    assert Eviction(content).bytes_used() == 9_000


def test_whoever_stops_listening_stops_the_eviction(content, monkeypatch):
    monkeypatch.setattr("boxwork.content.evict.BATCH", 1)
    for number in range(30):
        put(content, number, 4000)
    assert next(iter(Eviction(content).run())).size == 4000
    assert Eviction(content).bytes_used() == 29 * 4000
