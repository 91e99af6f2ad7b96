"""Faults do what they say, or the tests that rely on them prove nothing."""

import os

import pytest

from boxwork.content.places.memory import MemoryPlace
from boxwork.errors import StorageError
from boxwork.testing.faults import FaultyStore, failing, failing_every, in_child


def test_one_bit_is_flipped_and_one_byte_is_cut():
    store = FaultyStore(MemoryPlace())
    ref = store.put(b"abcdef")
    store.flip.add(ref)
    assert sum(bin(one ^ two).count("1") for one, two in zip(store.get(ref), b"abcdef", strict=True)) == 1
    with store.open(ref) as file:
        assert file.read() == store.get(ref)
    store.flip.clear()
    store.cut.add(ref)
    assert store.get(ref) == b"abcde"


def test_the_verbs_named_fail_and_no_others():
    store = FaultyStore(MemoryPlace(), fail=failing("get", "size"))
    ref = store.put(b"x")
    with pytest.raises(StorageError, match="get fails on purpose"):
        store.get(ref)
    with pytest.raises(StorageError):
        store.size(ref)
    assert store.has(ref)
    assert store.calls == ["put", "get", "size", "has"]


def test_every_third_operation_fails():
    store = FaultyStore(MemoryPlace(), fail=failing_every(3))
    outcomes = []
    for number in range(6):
        try:
            store.put(b"%d" % number)
            outcomes.append(True)
        except StorageError:
            outcomes.append(False)
    assert outcomes == [True, True, False, True, True, False]


def test_a_child_answers_raises_and_dies_apart():
    assert in_child(lambda: os.getpid()) != os.getpid()
    with pytest.raises(StorageError, match="from the child"):
        in_child(lambda: failing("x", error=StorageError("from the child"))("x", None))
    with pytest.raises(RuntimeError, match="died"):
        in_child(lambda: os._exit(3))


def test_a_child_is_limited_as_asked(tmp_path):
    def write():
        (tmp_path / "file").write_bytes(bytes(10_000))

    with pytest.raises(OSError, match="too large"):
        in_child(write, file_bytes_max=1000)
    assert in_child(os.getuid, as_nobody=True) == (65534 if os.getuid() == 0 else os.getuid())
