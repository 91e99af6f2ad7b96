"""The place in memory, beyond the contract: its bound."""

import pytest

from boxwork.content.places.memory import MemoryPlace
from boxwork.errors import StorageFull
from boxwork.keys import ref_of


def test_what_does_not_fit_is_refused_and_not_kept():
    place = MemoryPlace(bytes_max=10)
    first = place.put(b"12345678")
    for put in (lambda: place.put(b"abc"), lambda: place.put_stream([b"ab", b"c"]), lambda: place.put(bytes(11))):
        with pytest.raises(StorageFull, match="memory has no room"):
            put()
    assert list(place.refs()) == [first]
    place.put(b"12345678")
    assert place.delete(first)
    place.put(b"abc")
    assert place.has(ref_of(b"abc"))


def test_a_stream_longer_than_the_place_stops_early():
    place, taken = MemoryPlace(bytes_max=10), []

    def chunks():
        for number in range(1000):
            taken.append(number)
            yield b"12345"

    with pytest.raises(StorageFull):
        place.put_stream(chunks())
    assert len(taken) == 3
