"""Turns are asked for one thread or for all, and nobody minds where there are none."""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import sys
import threading

import pytest

from boxwork.derive import turns
from boxwork.derive.turns import ask_for_turns, ask_for_turns_of_all

GET = {"x86_64": 315, "aarch64": 275}


def turn_ns(thread: int = 0) -> int:
    """What sched_getattr(2) says; 0 where turns cannot be asked for (before Linux 6.12)."""
    if sys.platform != "linux" or platform.machine() not in GET:
        return 0
    told = ctypes.create_string_buffer(48)
    assert ctypes.CDLL(None).syscall(GET[platform.machine()], thread, told, 48, 0) == 0
    return int(struct.unpack("=IIQiIQQQ", told.raw)[5])


def asked(ns: int) -> int:
    """What a thread that asked for so much has: that, or 0 where nothing happens."""
    return ns if turn_ns() else 0


def test_a_thread_has_the_turns_it_asked_for_and_its_niceness() -> None:
    ask_for_turns_of_all(0)  # workers of an earlier test may have made them short
    seen: list[tuple[bool, int, int]] = []

    def ask() -> None:
        for wanted in (200_000, 0):
            seen.append((ask_for_turns(wanted), turn_ns(), os.getpriority(os.PRIO_PROCESS, 0)))

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    can = turn_ns() > 0 or seen[0][0]  # a kernel before 6.12 says yes and does nothing
    assert [(can, asked(200_000), nice), (can, turn_ns(), nice)] == seen


def test_all_threads_are_asked_for() -> None:
    ask_for_turns_of_all(0)
    usual, go = turn_ns(), threading.Event()
    other = threading.Thread(target=go.wait)
    other.start()
    try:
        ask_for_turns_of_all(100_000)
        assert other.native_id is not None
        assert [asked(100_000)] * 2 == [turn_ns(), turn_ns(other.native_id)]
    finally:
        ask_for_turns_of_all(0)
        go.set()
        other.join()
    assert usual == turn_ns()


def test_where_there_are_none_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not ask_for_turns(100_000, 2**22 + 1)  # no such thread
    monkeypatch.setattr(turns, "_CALLS", {})
    assert not ask_for_turns(100_000)
    ask_for_turns_of_all(100_000)
