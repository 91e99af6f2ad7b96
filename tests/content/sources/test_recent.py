"""What came over the network last is kept, within a number of bytes."""

from __future__ import annotations

from boxwork.content.sources.recent import Recent


def test_the_least_recently_used_goes_first():
    recent = Recent(bytes_max=10, one_bytes_max=6)
    recent.keep(b"a", b"aaaa")
    recent.keep(b"b", b"bbbb")
    assert b"aaaa" == recent.find(b"a")
    recent.keep(b"c", b"cccc")
    assert recent.find(b"b") is None
    assert (b"aaaa", b"cccc", 8) == (recent.find(b"a"), recent.find(b"c"), recent.bytes)


def test_what_is_too_large_is_not_kept():
    recent = Recent(bytes_max=10, one_bytes_max=6)
    recent.keep(b"a", b"a" * 7)
    assert (None, 0) == (recent.find(b"a"), recent.bytes)
