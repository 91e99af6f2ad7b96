"""How far the wall clock of this machine may be off, as the kernel knows it.

A one-way latency is the difference of two clocks; it is worth as much as the worse of them.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable

from boxwork.pulse.interval import CLOCK_ERROR_UNKNOWN

# ntp_adjtime answers this when no program disciplines the clock; then `maxerror` only says so.
_UNSYNCHRONISED = 5


class _Timex(ctypes.Structure):
    """`struct timex` of Linux; source: <sys/timex.h>.  Only the first fields are read, with modes = 0 (ask)."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_char * 256),
    )


def kernel_error_us() -> Callable[[], int]:
    """A function that answers with the kernel's maximum error in microseconds, or `CLOCK_ERROR_UNKNOWN`."""
    if not sys.platform.startswith("linux"):
        return lambda: CLOCK_ERROR_UNKNOWN
    try:
        ask = ctypes.CDLL(None, use_errno=True).ntp_adjtime
    except (OSError, AttributeError):
        return lambda: CLOCK_ERROR_UNKNOWN
    timex = _Timex()
    pointer = ctypes.byref(timex)

    def error_us() -> int:
        timex.modes = 0
        state = ask(pointer)
        if state < 0 or state == _UNSYNCHRONISED:
            return CLOCK_ERROR_UNKNOWN
        return max(0, min(int(timex.maxerror), CLOCK_ERROR_UNKNOWN - 1))

    return error_us
