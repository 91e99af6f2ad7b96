"""PostgreSQL behind the facade: a real server, and the swap from a sheet to it, which no host notices."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from boxwork.packs.fleet.sources import open_source
from boxwork.packs.fleet.sources.source import Limits, SourceFailed

PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin"))  # where Debian and Ubuntu put them

pytestmark = [pytest.mark.servers, pytest.mark.skipif(not PROGRAMS, reason="needs Debian's postgresql")]


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """A server of its own over a socket in a directory; it refuses to run as root, so it does not."""
    # Not pytest's folder: that is closed to other users, and PostgreSQL runs as one.
    place = Path(tempfile.mkdtemp(prefix="boxwork-postgres-"))
    user = {}
    if os.geteuid() == 0:
        shutil.chown(place, "postgres", "postgres")
        user = {"user": "postgres", "group": "postgres"}
    data, bin_ = place / "data", PROGRAMS[-1]

    command = [f"{bin_}/initdb", "-D", str(data), "-U", "postgres", "--auth=trust", "--no-sync"]
    subprocess.run(command, check=True, cwd=place, capture_output=True, timeout=60, **user)  # type: ignore[call-overload]
    command = [f"{bin_}/postgres", "-D", str(data), "-c", "listen_addresses=", "-k", str(place), "-c", "fsync=off"]
    with (place / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=place, stdout=log, stderr=log, **user)  # type: ignore[call-overload]
    try:
        _until_ready(str(place), process)
        yield str(place)
    finally:
        process.send_signal(signal.SIGQUIT)
        process.wait(30)
        shutil.rmtree(place)


def _until_ready(place: str, process: subprocess.Popen[bytes]) -> None:
    import psycopg

    end = time.monotonic() + 30
    while True:
        try:
            psycopg.connect(f"host={place} user=postgres dbname=postgres").close()
            return
        except psycopg.OperationalError:
            if process.poll() is not None or time.monotonic() > end:
                raise AssertionError((Path(place) / "log").read_text()) from None
            time.sleep(0.05)


@pytest.fixture
def execute(server: str) -> Iterator[Any]:
    import psycopg

    with psycopg.connect(f"host={server} user=postgres dbname=postgres", autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS hosts")
        yield connection.execute


def source_of(server: str) -> str:
    return f"postgresql://postgres@/postgres?host={server}&table=hosts"


def test_a_table_is_read_with_its_types(server: str, execute: Any) -> None:
    execute("CREATE TABLE hosts (host text, workers int, ratio numeric, proxy bool, note text)")
    execute("INSERT INTO hosts VALUES ('web2', 5, 0.25, true, NULL), ('web1', 4, 3, false, 'x')")
    found = open_source(source_of(server), Limits(10_000, 5)).read()
    assert [
        {"host": "web1", "workers": 4, "ratio": 3, "proxy": False, "note": "x"},
        {"host": "web2", "workers": 5, "ratio": 0.25, "proxy": True},
    ] == [row.values for row in found.rows]


def test_the_limits_hold(server: str, execute: Any) -> None:
    execute("CREATE TABLE hosts (host text, note text)")
    execute("INSERT INTO hosts SELECT 'web' || n, repeat('x', 1000) FROM generate_series(1, 100) n")
    with pytest.raises(SourceFailed, match="10,000 bytes"):
        open_source(source_of(server), Limits(10_000, 5)).read()


def test_a_table_that_is_locked_is_given_up_in_time(server: str, execute: Any) -> None:
    import psycopg

    execute("CREATE TABLE hosts (host text)")
    with psycopg.connect(f"host={server} user=postgres dbname=postgres") as holder:
        holder.execute("LOCK TABLE hosts IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(SourceFailed, match="statement timeout"):
            open_source(source_of(server), Limits(10_000, 0.2)).read()


def test_a_server_that_is_away_says_so(tmp_path: Path) -> None:
    with pytest.raises(SourceFailed, match="cannot be read"):
        open_source(source_of(str(tmp_path)), Limits(10_000, 1)).read()


def test_the_swap_from_a_sheet_goes_unnoticed(server: str, execute: Any, stage: Any) -> None:
    stage.roll_out(stage.publish().number)
    before = stage.digests()
    execute("CREATE TABLE hosts (host text, workers int, color text, password text)")
    for host in stage.rows:
        execute("INSERT INTO hosts VALUES (%s, 4, 'red', NULL)", (host,))
    stage.reopen(**{"fleet.source": source_of(server)})
    assert stage.fleet.follow_source() is None
    assert before == stage.digests()
    execute("UPDATE hosts SET workers = 9 WHERE host = 'web1'")
    assert "web1: workers 4 → 9" == stage.fleet.follow_source().reason
