"""How long a thread's turn on a processor is asked to be (Linux 6.12 and later; elsewhere nothing happens).

A thread keeps its share whatever it asks for: shorter turns come more often, and who asks for a shorter one than the
thread that runs goes before it when it wakes up.  Children inherit what their parent's thread asked for.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import sys

# The number of sched_setattr(2), which the C library does not wrap.
_CALLS = {"x86_64": 314, "aarch64": 274}
# struct sched_attr: size, policy, flags, nice, priority, runtime, deadline, period
_ATTRIBUTES = struct.Struct("=IIQiIQQQ")
_KEEP_POLICY = 0x08


def ask_for_turns(turn_ns: int, thread: int = 0) -> bool:
    """Ask for turns of so long, 0.1 to 100 ms, for a thread of this process; 0 is the usual length, which is longer.

    False where it cannot be asked for.  A kernel before 6.12 says yes and does nothing.
    """
    call = _CALLS.get(platform.machine())
    if call is None or sys.platform != "linux":
        return False
    try:
        nice = os.getpriority(os.PRIO_PROCESS, thread)
        told = _ATTRIBUTES.pack(_ATTRIBUTES.size, 0, _KEEP_POLICY, nice, 0, turn_ns, 0, 0)
        return bool(ctypes.CDLL(None).syscall(call, thread, told, 0) == 0)
    except OSError:  # the thread has ended
        return False


def ask_for_turns_of_all(turn_ns: int) -> None:
    """For every thread of this process, and so for those that they start."""
    if sys.platform == "linux":
        for thread in os.listdir("/proc/self/task"):
            ask_for_turns(turn_ns, int(thread))
