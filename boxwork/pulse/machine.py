"""What the machine does, straight from the kernel: one sampler of /proc on files that stay open.

Each figure is a series like any other, so it has quantiles, history, alerts and pages.  Shares are in parts per
million, rates per second.  A figure the kernel does not offer (no PSI, no swap, no Linux) has no series.

    machine.cpu{what=busy|user|system|iowait|steal}       ppm of all processors
    machine.memory{what=used|available|swap}              bytes
    machine.pressure{of=cpu|memory|io,who=some|full}      ppm of the time that somebody (everybody) waited
    machine.network{interface,direction=in|out}           bytes a second
    machine.disk{disk,direction=read|write}               bytes a second;  machine.disk_busy{disk} in ppm
    machine.udp_drops                                     datagrams a second that found no room
    machine.load                                          runnable tasks, times 1000
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from boxwork.clock import SECOND_NS, Clock
from boxwork.pulse.recorder import Pulse, Series

PPM = 1_000_000
SECTOR = 512  # /proc/diskstats counts sectors of 512 bytes, whatever the disk uses
FILE_BYTES_MAX = 1 << 20  # /proc/stat of a machine with 1,000 processors has 100 KB
# Interfaces and disks beyond these are not followed: a container host may have thousands.  Unit: series.
INTERFACES_MAX, DISKS_MAX = 32, 32
_CPU_FIELDS = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")


class Machine:
    """Reads the kernel's counters and records their changes; about 100 us of CPU a sample."""

    def __init__(self, pulse: Pulse, *, proc: Path | str = "/proc", clock: Clock | None = None) -> None:
        self.pulse = pulse
        self._clock = clock or pulse.clock
        self._files: dict[str, int | None] = {}
        self._proc = Path(proc)
        self._series: dict[tuple[str, ...], Series] = {}
        self._before: dict[tuple[str, ...], int] = {}
        self._sampled_ns = 0
        self.faults = 0

    def start(self, period_seconds: float = 1.0) -> Callable[[], None]:
        """Sample in the pulse's own thread; answers with how to stop."""
        stop = self.pulse.every(period_seconds, self.sample)

        def end() -> None:
            stop()
            self.close()

        return end

    def sample(self) -> None:
        """Record the change since the last sample; the first one only remembers."""
        now = self._clock.monotonic_ns()
        elapsed = now - self._sampled_ns if self._sampled_ns else 0
        self._sampled_ns = now
        for part in (self._cpu, self._memory, self._pressure, self._network, self._disks, self._udp, self._load):
            try:
                part(elapsed)
            except (ValueError, IndexError, OSError):  # a kernel that writes a file differently
                self.faults += 1

    def close(self) -> None:
        for descriptor in self._files.values():
            if descriptor is not None:
                os.close(descriptor)
        self._files.clear()

    # --- the files

    def _read(self, name: str) -> str:
        """The whole file, or nothing; it stays open, because opening costs more than reading."""
        if name not in self._files:
            try:
                self._files[name] = os.open(self._proc / name, os.O_RDONLY | os.O_CLOEXEC)
            except OSError:
                self._files[name] = None
        descriptor = self._files[name]
        if descriptor is None:
            return ""
        try:
            return os.pread(descriptor, FILE_BYTES_MAX, 0).decode("ascii", "replace")
        except OSError:  # pressure stall information can be switched off
            os.close(descriptor)
            self._files[name] = None
            return ""

    # --- recording

    def _record(self, value: int, unit: str, name: str, *labels: str) -> None:
        key = (name, *labels)
        series = self._series.get(key)
        if series is None:
            pairs = dict(zip(labels[::2], labels[1::2], strict=True))
            series = self._series[key] = self.pulse.series(f"machine.{name}", unit=unit, **pairs)  # type: ignore[arg-type]
        series.record(value)

    def _change(self, value: int, *key: str) -> int | None:
        """By how much a counter grew; None at first sight and when it was reset."""
        before = self._before.get(key)
        self._before[key] = value
        return None if before is None or value < before else value - before

    def _rate(self, value: int, elapsed: int, unit: str, name: str, *labels: str) -> None:
        change = self._change(value, name, *labels)
        if change is not None and elapsed > 0:
            self._record(change * SECOND_NS // elapsed, unit, name, *labels)

    def _share(self, nanoseconds: int, elapsed: int, name: str, *labels: str) -> None:
        change = self._change(nanoseconds, name, *labels)
        if change is not None and elapsed > 0:
            self._record(min(PPM, change * PPM // elapsed), "ppm", name, *labels)

    # --- the parts

    def _cpu(self, _elapsed: int) -> None:
        line = self._read("stat").partition("\n")[0].split()
        if not line:
            return
        ticks = dict(zip(_CPU_FIELDS, map(int, line[1:]), strict=False))
        changes = {name: self._change(value, "cpu", name) for name, value in ticks.items()}
        whole = sum(change or 0 for change in changes.values())
        if None in changes.values() or not whole:
            return
        known = {name: change or 0 for name, change in changes.items()}
        shares = {
            "busy": whole - known["idle"] - known.get("iowait", 0),
            "user": known["user"] + known["nice"],
            "system": known["system"] + known.get("irq", 0) + known.get("softirq", 0),
            "iowait": known.get("iowait", 0),
            "steal": known.get("steal", 0),
        }
        for what, part in shares.items():
            self._record(part * PPM // whole, "ppm", "cpu", "what", what)

    def _memory(self, _elapsed: int) -> None:
        sizes = {}
        for line in self._read("meminfo").splitlines():
            name, _, rest = line.partition(":")
            sizes[name] = int(rest.split()[0]) * 1024
        if "MemTotal" in sizes:
            available = sizes.get("MemAvailable", sizes.get("MemFree", 0))
            self._record(available, "bytes", "memory", "what", "available")
            self._record(sizes["MemTotal"] - available, "bytes", "memory", "what", "used")
        if sizes.get("SwapTotal"):
            self._record(sizes["SwapTotal"] - sizes.get("SwapFree", 0), "bytes", "memory", "what", "swap")

    def _pressure(self, elapsed: int) -> None:
        for resource in ("cpu", "memory", "io"):
            for line in self._read(f"pressure/{resource}").splitlines():
                who, _, rest = line.partition(" ")
                total_us = int(rest.rpartition("total=")[2])
                self._share(total_us * 1000, elapsed, "pressure", "of", resource, "who", who)

    def _network(self, elapsed: int) -> None:
        for line in self._read("net/dev").splitlines()[2 : 2 + INTERFACES_MAX]:
            interface, _, rest = line.partition(":")
            numbers = rest.split()
            interface = interface.strip()
            self._rate(int(numbers[0]), elapsed, "bytes/s", "network", "interface", interface, "direction", "in")
            self._rate(int(numbers[8]), elapsed, "bytes/s", "network", "interface", interface, "direction", "out")

    def _disks(self, elapsed: int) -> None:
        followed = 0
        for line in self._read("diskstats").splitlines():
            words = line.split()
            disk = words[2]
            if disk.startswith(("loop", "ram", "zram")) or followed >= DISKS_MAX or not self._whole_disk(disk):
                continue
            followed += 1
            self._rate(int(words[5]) * SECTOR, elapsed, "bytes/s", "disk", "disk", disk, "direction", "read")
            self._rate(int(words[9]) * SECTOR, elapsed, "bytes/s", "disk", "disk", disk, "direction", "write")
            self._share(int(words[12]) * 1_000_000, elapsed, "disk_busy", "disk", disk)

    def _whole_disk(self, disk: str) -> bool:
        """Partitions count again what their disk has counted: vda1 beside vda, nvme0n1p2 beside nvme0n1."""
        stem = disk.rstrip("0123456789")
        if disk.startswith(("nvme", "mmcblk")):
            return not stem.endswith("p")
        return stem == disk or disk.startswith(("dm-", "md", "sr"))

    def _udp(self, elapsed: int) -> None:
        lines = [line.split() for line in self._read("net/snmp").splitlines() if line.startswith("Udp:")]
        if len(lines) == 2:
            counters = dict(zip(lines[0][1:], map(int, lines[1][1:]), strict=False))
            self._rate(counters.get("RcvbufErrors", 0), elapsed, "datagrams/s", "udp_drops")

    def _load(self, _elapsed: int) -> None:
        words = self._read("loadavg").split()
        if words:
            self._record(round(float(words[0]) * 1000), "tasks/1000", "load")


@dataclass(frozen=True, slots=True)
class Process:
    """One line of the process table; `cpu_ppm` is of one processor, since the last look."""

    pid: int
    name: str
    cpu_ppm: int
    memory_bytes: int
    threads: int


class ProcessTable:
    """Reads the table when asked, not before: 0.1 ms for every ten processes."""

    def __init__(self, clock: Clock, *, proc: Path | str = "/proc") -> None:
        self._clock = clock
        self._proc = Path(proc)
        self._tick_ns = SECOND_NS // os.sysconf("SC_CLK_TCK")
        self._page = os.sysconf("SC_PAGE_SIZE")
        self._before: dict[int, tuple[int, int]] = {}

    def look(self, limit: int = 20) -> list[Process]:
        """The busiest processes since the last look, then the largest; the first look has no shares yet."""
        now = self._clock.monotonic_ns()
        seen: dict[int, tuple[int, int]] = {}
        found = []
        for pid, name, ticks, pages, threads in self._stats():
            used = ticks * self._tick_ns
            before_used, before_at = self._before.get(pid, (used, now))
            elapsed = now - before_at
            share = (used - before_used) * PPM // elapsed if elapsed > 0 and used >= before_used else 0
            seen[pid] = (used, now)
            found.append(Process(pid, name, share, pages * self._page, threads))
        self._before = seen
        return sorted(found, key=lambda one: (-one.cpu_ppm, -one.memory_bytes))[:limit]

    def _stats(self) -> Iterator[tuple[int, str, int, int, int]]:
        try:
            names = os.listdir(self._proc)
        except OSError:
            return
        for entry in names:
            if not entry.isdigit():
                continue
            try:
                text = (self._proc / entry / "stat").read_text("utf-8", "replace")
            except OSError:  # it has ended meanwhile
                continue
            # The name stands in parentheses and may hold anything, parentheses too: the last one ends it.
            name, _, rest = text.partition("(")[2].rpartition(")")
            words = rest.split()
            yield int(entry), name, int(words[11]) + int(words[12]), int(words[21]), int(words[17])
