"""The kernel's figures, from a /proc of our own making and from the real one."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest
from _clock import fake_clock

from boxwork.clock import SECOND_NS, SystemClock
from boxwork.pulse import Pulse
from boxwork.pulse.machine import Machine, ProcessTable

FIRST = {
    "stat": "cpu  100 0 50 800 50 0 0 0 0 0\ncpu0 1 2 3\n",
    "meminfo": "MemTotal: 1000 kB\nMemFree: 100 kB\nMemAvailable: 400 kB\nSwapTotal: 0 kB\nSwapFree: 0 kB\n",
    "pressure/cpu": "some avg10=0.00 avg60=0.00 avg300=0.00 total=1000\n",
    "net/dev": "Inter-|\n face |\n  eth0: 1000 1 0 0 0 0 0 0 500 1 0 0 0 0 0 0\n",
    "diskstats": " 8 0 vda 1 0 10 0 1 0 20 0 0 100 0\n 8 1 vda1 1 0 10 0 1 0 20 0 0 100 0\n"
    " 7 0 loop0 1 0 1 0 1 0 1 0 0 1 0\n",
    "net/snmp": "Udp: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors\nUdp: 5 0 0 5 3\n",
    "loadavg": "1.50 1.0 1.0 1/100 5\n",
}
SECOND = FIRST | {
    "stat": "cpu  125 0 75 825 75 0 0 0 0 0\n",
    "pressure/cpu": "some avg10=0.00 avg60=0.00 avg300=0.00 total=501000\n",
    "net/dev": "Inter-|\n face |\n  eth0: 5000 1 0 0 0 0 0 0 2500 1 0 0 0 0 0 0\n",
    "diskstats": " 8 0 vda 1 0 18 0 1 0 24 0 0 600 0\n",
    "net/snmp": "Udp: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors\nUdp: 5 0 0 5 13\n",
}


def write(proc: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (proc / name).parent.mkdir(parents=True, exist_ok=True)
        (proc / name).write_text(text)


def test_changes_become_shares_and_rates(tmp_path: Path) -> None:
    clock = fake_clock()
    pulse = Pulse(clock=clock, threaded=False)
    machine = Machine(pulse, proc=tmp_path)
    write(tmp_path, FIRST)
    clock.advance(SECOND_NS)
    machine.sample()
    write(tmp_path, SECOND)
    clock.advance(2 * SECOND_NS)
    machine.sample()

    def last(name: str, **labels: str) -> int:
        return pulse.series(f"machine.{name}", **labels).histogram.maximum  # type: ignore[arg-type]

    assert [500_000, 250_000, 250_000] == [last("cpu", what=what) for what in ("busy", "user", "iowait")]
    assert (600 * 1024, 400 * 1024) == (last("memory", what="used"), last("memory", what="available"))
    assert 250_000 == last("pressure", of="cpu", who="some")
    assert (2000, 1000) == (
        last("network", interface="eth0", direction="in"),
        last("network", interface="eth0", direction="out"),
    )
    assert (2048, 1024) == (last("disk", disk="vda", direction="read"), last("disk", disk="vda", direction="write"))
    assert 250_000 == last("disk_busy", disk="vda")
    assert (5, 1500) == (last("udp_drops"), last("load"))
    names = [str(info.name) for info in pulse.catalog()]
    assert not any("vda1" in name or "loop0" in name or "swap" in name for name in names)
    assert 0 == machine.faults
    machine.close()


def test_a_machine_that_offers_nothing_has_no_series(tmp_path: Path) -> None:
    pulse = Pulse(clock=fake_clock(), threaded=False)
    machine = Machine(pulse, proc=tmp_path)
    machine.sample()
    machine.sample()
    assert [] == pulse.catalog()
    assert 0 == machine.faults


def test_a_file_written_differently_is_counted_and_skipped(tmp_path: Path) -> None:
    write(tmp_path, FIRST | {"meminfo": "MemTotal: much\n"})
    pulse = Pulse(clock=fake_clock(), threaded=False)
    machine = Machine(pulse, proc=tmp_path)
    machine.sample()
    assert 1 == machine.faults
    assert 1500 == pulse.series("machine.load").histogram.maximum
    machine.close()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_the_real_kernel_is_read_for_less_than_a_thousandth_of_a_processor() -> None:
    pulse = Pulse(threaded=False)
    machine = Machine(pulse)
    machine.sample()
    costs = []
    for _ in range(50):  # the least: what neighbours take away, from caches and by the host, counts as used, too
        began = time.process_time()
        machine.sample()
        costs.append(time.process_time() - began)
    assert {"machine.memory", "machine.load"} <= {info.name.name for info in pulse.catalog()}
    assert min(costs) < 0.001  # of one second
    machine.close()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_the_process_table_shows_this_process() -> None:
    table = ProcessTable(SystemClock())
    ours = [one for one in table.look(10_000) if one.pid == os.getpid()]
    assert ours
    assert ours[0].memory_bytes > 1_000_000
    assert 0 == ours[0].cpu_ppm


def test_a_name_with_parentheses_is_read_whole(tmp_path: Path) -> None:
    fields = " ".join(["S"] + ["0"] * 10 + ["7", "3"] + ["0"] * 4 + ["2", "0", "0", "0", "5"] + ["0"] * 10)
    write(tmp_path, {"42/stat": f"42 (a (b) c) {fields}\n"})
    (one,) = ProcessTable(fake_clock(), proc=tmp_path).look()
    assert (42, "a (b) c", 2, 5 * os.sysconf("SC_PAGE_SIZE")) == (one.pid, one.name, one.threads, one.memory_bytes)
