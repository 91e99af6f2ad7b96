"""How many durable commits a second does a node make over a socket, beside PostgreSQL, Valkey and SQLite?

16 clients, each with a connection of its own and one call under way (and, pipelined, 16), on TPC-C-lite W1,
SmallBank and likes.  Ours go through the door that every node has, its Unix socket; the peers are reached over
their Unix sockets, too.  Valkey runs the same calls as Lua scripts and syncs before every answer (likes also as the
bare INCR).  Its clients and ours are one loop in one process, and send bytes that were made beforehand, so that the
servers are compared; what a program in Python gets with the client that every node has, `work.line()`, stands in
the lines `….line`.

PostgreSQL is used if it is there (Debian: postgresql).  It runs stored procedures under pgbench, a C client, with its
retries counted; it refuses root, so under root it runs as the user `postgres` (then BOXWORK_BENCH_DIR
must be a directory that this user can reach).  For servers: it takes minutes and wants the machine for itself.

    python bench/state_socket.py [--quick]
"""

from __future__ import annotations

import contextlib
import gc
import glob
import itertools
import multiprocessing
import os
import pwd
import re
import select
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import boxwork
from bench._door import DoorLine
from bench._report import report
from bench._state import calls_of, directory, set_up
from bench._valkey import Valkey, ValkeyLine, call
from bench.state_in_process import SqlitePeer
from boxwork.errors import Refused
from boxwork.serve.server import tune
from boxwork.state.remote.line import Line
from boxwork.testing.workloads import Call, Likes, SmallBank, TpccLite, Workload

QUICK = "--quick" in sys.argv
CLIENTS = 16
SECONDS = 3 if QUICK else 10
ROUNDS = 1 if QUICK else 3
# pgbench's zipfian needs a parameter above 1.
WORKLOADS: dict[str, Callable[[], Workload]] = {
    "tpcc-lite": lambda: TpccLite(1),
    "smallbank": lambda: SmallBank(theta=1.001),
    "likes": lambda: Likes(theta=1.001),
}


# --- clients: one process, one loop over all connections -----------------------------------------------------------


class Served(Protocol):
    """A connection whose calls are encoded already."""

    def fileno(self) -> int: ...
    def send(self, calls: list[bytes]) -> None: ...
    def receive(self) -> int: ...


Streams: TypeAlias = "list[tuple[Served, Iterator[bytes]]]"


def drive(streams: Streams, depth: int) -> float:
    """Answers a second, with `depth` calls under way on each connection."""
    ready = select.epoll()
    found = {line.fileno(): (line, stream) for line, stream in streams}
    for number in found:
        ready.register(number, select.EPOLLIN)
    done = 0
    started = time.perf_counter()
    end = started + SECONDS
    for line, stream in streams:
        line.send([next(stream) for _ in range(depth)])
    while time.perf_counter() < end:
        for number, _ in ready.poll():
            line, stream = found[number]
            count = line.receive()
            done += count
            if count:
                line.send(list(itertools.islice(stream, count)))
    return done / (time.perf_counter() - started)


def some_calls(workload: Workload, number: int) -> list[Call]:
    return calls_of(workload, 4000, seed=1 + number)


def client(root: str, name: str, depth: int, results: Any) -> None:
    """Of the door of a node, with its messages made beforehand."""
    workload = WORKLOADS[name]()
    with boxwork.open(root) as work:
        boxes = list(workload.boxes.values())
        streams: Streams = []
        for number in range(CLIENTS):
            line = DoorLine(Path(root), boxes, work.node.forwarding.fingerprint)
            streams.append((line, itertools.cycle(line.encoded(some_calls(workload, number)))))
        results.put(drive(streams, depth))


def line_client(root: str, name: str, depth: int, results: Any) -> None:
    """The same with `work.line()`, as a program in Python does it: each call is encoded, each answer an object."""
    workload = WORKLOADS[name]()
    with boxwork.open(root) as work, contextlib.ExitStack() as lines:
        ready = select.epoll()
        streams: dict[int, tuple[Line, Iterator[Call]]] = {}
        for number in range(CLIENTS):
            line = lines.enter_context(work.line())
            streams[line.fileno()] = line, itertools.cycle(some_calls(workload, number))
            ready.register(line, select.EPOLLIN)
        for box in workload.boxes.values():  # whoever uses a transaction first computes its fingerprint
            work.node.forwarding.fingerprint(box)
        done = 0
        started = time.perf_counter()
        end = started + SECONDS
        for line, stream in streams.values():
            for _ in range(depth):
                line.call(*next(stream))
            line.flush()
        while time.perf_counter() < end:
            for number, _ in ready.poll():
                line, stream = streams[number]
                for reply in line.receive():
                    if reply.error is not None and not isinstance(reply.error, Refused):
                        raise reply.error
                    done += 1
                    line.call(*next(stream))
                line.flush()
        results.put(done / (time.perf_counter() - started))


def valkey_client(where: tuple[str, Any, bool], name: str, depth: int, results: Any) -> None:
    path, digests, bare = where
    workload = WORKLOADS[name]()
    streams: Streams = []
    for number in range(CLIENTS):
        calls = [call(digests, box.name, row, bare=bare) for box, row in some_calls(workload, number)]
        streams.append((ValkeyLine(path), itertools.cycle(calls)))
    results.put(drive(streams, depth))


def measured(target: Callable[..., None], where: Any, workload: Workload, depth: int) -> float:
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    process = context.Process(target=target, args=(where, workload.name, depth, results))
    process.start()
    rate: float = results.get(timeout=SECONDS + 60)
    process.join()
    return rate


def ours(workload: Workload, depth: int, target: Callable[..., None] = client) -> float:
    with directory() as path, boxwork.open(path / "data") as work:
        set_up(work.engine, workload)
        interval, threshold = sys.getswitchinterval(), gc.get_threshold()
        tune()  # as `boxwork up` does
        try:
            return measured(target, str(path / "data"), workload, depth)
        finally:
            sys.setswitchinterval(interval)
            gc.set_threshold(*threshold)
            gc.unfreeze()


def valkey(workload: Workload, depth: int, *, bare: bool = False) -> float:
    server = Valkey()
    try:
        server.set_up(workload)
        return measured(valkey_client, (str(server.socket), server.digests, bare), workload, depth)
    finally:
        server.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def sqlite(workload: Workload) -> float:
    """In process, one call a transaction: what it costs without a socket in between."""
    path = Path(tempfile.mkdtemp(dir=os.environ.get("BOXWORK_BENCH_DIR", Path.cwd())))
    peer = SqlitePeer(path)
    peer.run(workload.setup())
    calls, done, end = calls_of(workload, 20_000), 0, time.perf_counter() + SECONDS
    while time.perf_counter() < end:
        peer.run([calls[done % len(calls)]])
        done += 1
    peer.close()
    shutil.rmtree(path)
    return done / SECONDS


# --- PostgreSQL -------------------------------------------------------------------------------------------------

SCHEMA = """
CREATE TABLE likes (post int PRIMARY KEY, n bigint NOT NULL);
INSERT INTO likes SELECT i, 0 FROM generate_series(1, 10000) i;
CREATE TABLE accounts (customer int PRIMARY KEY, checking bigint NOT NULL, savings bigint NOT NULL);
INSERT INTO accounts SELECT i, 10000, 10000 FROM generate_series(1, 10000) i;
CREATE TABLE warehouse (w int PRIMARY KEY, tax int, paid bigint);
CREATE TABLE district (w int, d int, next_order int, paid bigint, PRIMARY KEY (w, d));
CREATE TABLE customer (w int, d int, c int, owes bigint, PRIMARY KEY (w, d, c));
CREATE TABLE item (i int PRIMARY KEY, price int);
CREATE TABLE stock (w int, i int, quantity int, PRIMARY KEY (w, i));
CREATE TABLE orders (w int, d int, o int, c int, total bigint, bought int[], PRIMARY KEY (w, d, o));
CREATE TABLE history (id bigserial PRIMARY KEY, w int, d int, c int, cents int);
INSERT INTO warehouse VALUES (0, 7, 0);
INSERT INTO district SELECT 0, d, 1, 0 FROM generate_series(0, 9) d;
INSERT INTO customer SELECT 0, d, c, 0 FROM generate_series(0, 9) d, generate_series(0, 299) c;
INSERT INTO item SELECT i, 100 + i % 900 FROM generate_series(0, 9999) i;
INSERT INTO stock SELECT 0, i, 10 + i % 91 FROM generate_series(0, 9999) i;
CREATE FUNCTION bank(kind int, a int, b int, amount int) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE had bigint; kept bigint;
BEGIN
  IF kind < 15 THEN SELECT checking + savings INTO had FROM accounts WHERE customer = a; RETURN had;
  ELSIF kind < 30 THEN UPDATE accounts SET checking = checking + amount WHERE customer = a;
  ELSIF kind < 45 THEN
    UPDATE accounts SET savings = savings + amount - 50 WHERE customer = a AND savings + amount >= 50;
  ELSIF kind < 60 THEN
    SELECT checking + savings INTO had FROM accounts WHERE customer = a;
    UPDATE accounts SET checking = 0, savings = 0 WHERE customer = a;
    UPDATE accounts SET checking = checking + had WHERE customer = b;
  ELSIF kind < 75 THEN
    SELECT checking + savings INTO had FROM accounts WHERE customer = a;
    UPDATE accounts SET checking = checking - amount - CASE WHEN had < amount THEN 100 ELSE 0 END WHERE customer = a;
  ELSE
    SELECT checking INTO kept FROM accounts WHERE customer = a;
    IF kept >= amount THEN
      UPDATE accounts SET checking = checking - amount WHERE customer = a;
      UPDATE accounts SET checking = checking + amount WHERE customer = b;
    END IF;
  END IF;
  RETURN 0;
END $$;
CREATE FUNCTION shop(kind int, dist int, cust int, cents int, lines int, seed int) RETURNS int LANGUAGE plpgsql AS $$
DECLARE o int; t int; p int; q int; it int; total bigint := 0; bought int[] := '{}';
BEGIN
  IF kind < 50 THEN
    SELECT tax INTO t FROM warehouse WHERE w = 0;
    UPDATE district SET next_order = next_order + 1 WHERE w = 0 AND d = dist RETURNING next_order - 1 INTO o;
    FOR n IN 0 .. lines - 1 LOOP
      it := (seed::bigint * (n + 1) * 7919 % 10000)::int; q := 1 + (seed + n) % 10;
      SELECT price INTO p FROM item WHERE i = it;
      UPDATE stock SET quantity = CASE WHEN quantity - q < 10 THEN quantity - q + 91 ELSE quantity - q END
        WHERE w = 0 AND i = it;
      bought := bought || ARRAY[it, 0, q, p * q];
      total := total + p * q;
    END LOOP;
    INSERT INTO orders VALUES (0, dist, o, cust, total * (100 + t) / 100, bought);
    RETURN o;
  END IF;
  UPDATE warehouse SET paid = paid + cents WHERE w = 0;
  UPDATE district SET paid = paid + cents WHERE w = 0 AND d = dist;
  UPDATE customer SET owes = owes - cents WHERE w = 0 AND d = dist AND c = cust;
  INSERT INTO history (w, d, c, cents) VALUES (0, dist, cust, cents);
  RETURN 0;
END $$;
"""

SCRIPTS = {
    "likes": "\\set post random_zipfian(1, 10000, 1.001)\nUPDATE likes SET n = n + 1 WHERE post = :post;\n",
    "smallbank": "\\set kind random(0, 99)\n\\set a random_zipfian(1, 10000, 1.001)\n"
    "\\set b 1 + (:a + random(0, 9998)) % 10000\n\\set amount random(1, 99)\n"
    "SELECT bank(:kind, :a, :b, :amount);\n",
    "tpcc-lite": "\\set kind random(0, 99)\n\\set dist random(0, 9)\n\\set cust random(0, 299)\n"
    "\\set cents random(100, 500000)\n\\set lines random(5, 15)\n\\set seed random(1, 100000)\n"
    "SELECT shop(:kind, :dist, :cust, :cents, :lines, :seed);\n",
}


class Postgres:
    def __init__(self, programs: str) -> None:
        self._programs = programs
        self._user = "postgres" if os.geteuid() == 0 else None
        self._path = Path(tempfile.mkdtemp(dir=os.environ.get("BOXWORK_BENCH_DIR", Path.cwd())))
        if self._user is not None:
            owner = pwd.getpwnam(self._user)
            os.chown(self._path, owner.pw_uid, owner.pw_gid)
        self._port = free_port()
        self._run("initdb", "-D", str(self._path / "data"), "-A", "trust", "-U", "bench")
        options = (
            f"-p {self._port} -k {self._path} -c listen_addresses=127.0.0.1 -c fsync=on -c synchronous_commit=on"
            " -c shared_buffers=512MB -c max_pred_locks_per_transaction=256"
        )
        self._run("pg_ctl", "-D", str(self._path / "data"), "-o", options, "-l", str(self._path / "log"), "-w", "start")
        self._run("psql", *self._where(), "-q", "-c", SCHEMA, "postgres")

    def _where(self) -> list[str]:
        return ["-h", str(self._path), "-p", str(self._port), "-U", "bench"]

    def _run(self, program: str, *arguments: str, **environment: str) -> str:
        return subprocess.run(
            [f"{self._programs}/{program}", *arguments],
            check=True,
            text=True,
            user=self._user,
            capture_output=True,
            cwd=self._path,
            env={**os.environ, **environment},
        ).stdout

    def measure(self, name: str, isolation: str) -> tuple[float, float]:
        """Commits a second, and retries a commit."""
        script = self._path / f"{name}.sql"
        script.write_text(SCRIPTS[name])
        script.chmod(0o644)
        said = self._run(
            "pgbench",
            *self._where(),
            "-n",
            "-c",
            str(CLIENTS),
            "-j",
            "2",
            "-T",
            str(SECONDS),
            "--max-tries=0",
            "--latency-limit=60000",
            "-f",
            str(script),
            "postgres",
            PGOPTIONS=f"-c default_transaction_isolation={isolation}",
        )
        rate = float(re.search(r"tps = ([\d.]+)", said).group(1))  # type: ignore[union-attr]
        done = int(re.search(r"actually processed: (\d+)", said).group(1))  # type: ignore[union-attr]
        retries = re.search(r"total number of retries: (\d+)", said)
        return rate, int(retries.group(1)) / max(done, 1) if retries else 0.0

    def close(self) -> None:
        self._run("pg_ctl", "-D", str(self._path / "data"), "-m", "fast", "stop")
        shutil.rmtree(self._path, ignore_errors=True)


def main() -> None:
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin"))
    postgres = Postgres(found[-1]) if found else None
    if postgres is None:
        sys.stderr.write("PostgreSQL is not here (Debian: postgresql): measured without it\n")
    try:
        for name, make in WORKLOADS.items():
            workload = make()
            rounds: list[dict[str, Any]] = []
            for _ in range(ROUNDS):
                row: dict[str, Any] = {
                    "ours": ours(workload, 1),
                    "pipelined": ours(workload, 16),
                    "line": ours(workload, 1, line_client),
                    "line pipelined": ours(workload, 16, line_client),
                    "SQLite FULL": (sqlite(workload), 0.0),
                    "Valkey Lua, always": (valkey(workload, 1), 0.0),
                    "Valkey Lua, always, pipelined": (valkey(workload, 16), 0.0),
                }
                if name == "likes":
                    row["Valkey INCR, always"] = (valkey(workload, 1, bare=True), 0.0)
                    row["Valkey INCR, always, pipelined"] = (valkey(workload, 16, bare=True), 0.0)
                if postgres is not None:
                    row["PostgreSQL SERIALIZABLE"] = postgres.measure(name, "serializable")
                    row["PostgreSQL READ COMMITTED"] = postgres.measure(name, r"read\ committed")
                rounds.append(row)
            for mine, made in (("line", "ours"), ("line pipelined", "pipelined")):
                report(
                    name=f"state.socket.{name}{'.pipelined' if made == 'pipelined' else ''}.line",
                    value=statistics.median(row[mine] for row in rounds),
                    unit="commits/s",
                    peer="the same, encoded beforehand",
                    peer_value=statistics.median(row[made] for row in rounds),
                )
            for peer in [key for key in rounds[0] if isinstance(rounds[0][key], tuple)]:
                mine = "pipelined" if peer.endswith("pipelined") else "ours"
                report(
                    name=f"state.socket.{name}{'.pipelined' if mine == 'pipelined' else ''}",
                    value=statistics.median(row[mine] for row in rounds),
                    unit="commits/s",
                    peer=peer,
                    peer_value=statistics.median(row[peer][0] for row in rounds),
                    retries_per_commit=round(statistics.median(row[peer][1] for row in rounds), 2),
                    ratio_of_rounds=round(statistics.median(row[mine] / row[peer][0] for row in rounds), 2),
                )
    finally:
        if postgres is not None:
            postgres.close()


if __name__ == "__main__":
    main()
