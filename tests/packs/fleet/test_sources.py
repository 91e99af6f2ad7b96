"""Stores behind the facade: folders, sheets, SQLite; their limits, and what they say when they cannot answer."""

from __future__ import annotations

import http.server
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from boxwork.errors import BadInput
from boxwork.packs.fleet.sources import open_source
from boxwork.packs.fleet.sources.source import Limits, SourceFailed, shown

LIMITS = Limits(bytes_max=10_000, timeout_s=5.0)
CSV = b"host,workers\nweb1,4\nweb2,5\n"


class Publisher(http.server.BaseHTTPRequestHandler):
    """A web server as the publisher of a sheet: with ETag and Last-Modified, and slow or wrong when a test asks."""

    body = CSV
    status = 200
    asked: list[dict[str, str]]
    drip = threading.Event()

    def do_GET(self) -> None:
        server: Any = self.server
        server.asked.append({name.lower(): value for name, value in self.headers.items()})
        if self.path == "/slow":
            self.send_response(200)
            self.end_headers()
            while not server.over.wait(0.02):  # a byte now and then, so that no timeout of a socket ends it
                try:
                    self.wfile.write(b"x")
                except OSError:
                    return
            return
        if server.status == 200 and self.headers.get("if-none-match") == '"v1"' and server.body == CSV:
            self.send_response(304)
            self.end_headers()
            return
        self.send_response(server.status)
        self.send_header("content-type", "text/csv")
        self.send_header("etag", '"v1"' if server.body == CSV else '"v2"')
        self.send_header("last-modified", "Sun, 29 Nov 2026 00:00:00 GMT")
        self.end_headers()
        self.wfile.write(server.body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def sheet() -> Iterator[Any]:
    server: Any = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Publisher)
    server.daemon_threads = True
    server.body, server.status, server.asked, server.over = CSV, 200, [], threading.Event()
    server.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.over.set()
    server.shutdown()
    thread.join()
    server.server_close()


def values(source: Any) -> dict[str, Any]:
    return {row.values["host"]: row.values for row in source.read().rows}


def test_a_sheet_is_read_by_its_url(sheet: Any) -> None:
    source = open_source(f"csv:{sheet.url}/pub?output=csv", LIMITS)
    reading = source.read()
    assert CSV == reading.data
    assert [("line 2", "web1"), ("line 3", "web2")] == [(row.where, row.values["host"]) for row in reading.rows]


def test_an_unchanged_sheet_is_asked_for_by_its_etag_and_its_date(sheet: Any) -> None:
    source = open_source(f"csv:{sheet.url}/pub", LIMITS)
    source.read()
    assert source.read().unchanged
    assert '"v1"' == sheet.asked[1]["if-none-match"]
    assert "Sun, 29 Nov 2026 00:00:00 GMT" == sheet.asked[1]["if-modified-since"]
    sheet.body = b"host,workers\nweb1,9\n"
    assert "9" == values(source)["web1"]["workers"]


def test_a_sheet_that_failed_is_not_taken_for_unchanged_the_next_time(sheet: Any) -> None:
    source = open_source(f"csv:{sheet.url}/pub", LIMITS)
    sheet.body = b"<html>please log in</html>"
    with pytest.raises(SourceFailed, match="a login page"):
        source.read()
    with pytest.raises(SourceFailed, match="a login page"):
        source.read()


def test_a_sheet_that_drips_is_given_up_after_the_deadline_for_the_whole_answer(sheet: Any) -> None:
    source = open_source(f"csv:{sheet.url}/slow", Limits(10_000_000, 0.3))
    with pytest.raises(SourceFailed, match="within 0.3 s"):
        source.read()


def test_a_sheet_that_is_too_large_is_given_up(sheet: Any) -> None:
    sheet.body = CSV + b"x" * 20_000
    with pytest.raises(SourceFailed, match="more than 10,000 bytes"):
        open_source(f"csv:{sheet.url}/pub", LIMITS).read()


def test_an_answer_that_is_no_success_says_its_number(sheet: Any) -> None:
    sheet.status = 403
    with pytest.raises(SourceFailed, match="403"):
        open_source(f"csv:{sheet.url}/pub", LIMITS).read()


def test_nobody_listening_is_a_source_that_failed(sheet: Any) -> None:
    source = open_source("csv:http://127.0.0.1:9/pub", LIMITS)
    with pytest.raises(SourceFailed, match="cannot be fetched"):
        source.read()


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"host,host\nweb1,web2\n", "stands twice"),
        (b"name\nweb1\n", "no column 'host'"),
        (b"host,a\nweb1,1,2,3\n", "line 2 has 4 values"),
        (b'host,a\nweb1,"open\n', "is no CSV"),
        (b"\xff\xfe\x00", "no UTF-8"),
        (b"", "no column 'host'"),
    ],
)
def test_what_is_no_table_says_where(tmp_path: Path, data: bytes, word: str) -> None:
    path = tmp_path / "hosts.csv"
    path.write_bytes(data)
    with pytest.raises(SourceFailed, match=word):
        open_source(f"csv:{path}", LIMITS).read()


def test_quotes_line_breaks_a_byte_order_mark_and_empty_lines_are_read_as_a_spreadsheet_writes_them(
    tmp_path: Path,
) -> None:
    path = tmp_path / "hosts.csv"
    path.write_bytes(b'\xef\xbb\xbfhost, motd ,\r\nweb1,"two\r\nlines, ""quoted""",\r\n,,\r\nweb2,x,\r\n')
    found = open_source(f"csv:{path}", LIMITS).read().rows
    assert [{"host": "web1", "motd": 'two\r\nlines, "quoted"'}, {"host": "web2", "motd": "x"}] == [
        row.values for row in found
    ]
    assert "line 5" == found[1].where


def test_a_folder_has_one_file_a_host(tmp_path: Path) -> None:
    (tmp_path / "web1.toml").write_text("workers = 4\n")
    (tmp_path / "web2.json").write_text('{"workers": 5}')
    (tmp_path / ".web3.toml.swp").write_text("not a host")
    (tmp_path / "README.md").write_text("neither")
    source = open_source(f"folder:{tmp_path}", LIMITS)
    assert {"web1": 4, "web2": 5} == {host: row["workers"] for host, row in values(source).items()}
    assert source.read().unchanged
    (tmp_path / "web1.toml").write_text("workers = 64\n")
    assert 64 == values(source)["web1"]["workers"]


def test_a_file_of_a_folder_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "web1.toml").write_text("workers = \n")
    with pytest.raises(SourceFailed, match="web1.toml"):
        open_source(f"folder:{tmp_path}", LIMITS).read()


def test_a_folder_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(SourceFailed, match="nowhere"):
        open_source(f"folder:{tmp_path}/nowhere", LIMITS).read()


@pytest.fixture
def database(tmp_path: Path) -> Callable[[str], str]:
    path = tmp_path / "fleet.db"

    def run(script: str) -> str:
        connection = sqlite3.connect(path)
        connection.executescript(script)
        connection.close()
        return f"sqlite:{path}"

    return run


def test_a_table_of_sqlite_is_read_with_its_types(database: Callable[[str], str]) -> None:
    text = database(
        "CREATE TABLE hosts (host TEXT, workers INTEGER, note TEXT); INSERT INTO hosts VALUES ('web1', 4, NULL)"
    )
    assert {"web1": {"host": "web1", "workers": 4}} == values(open_source(text, LIMITS))


def test_another_table_can_be_named_and_only_a_name_is_taken(database: Callable[[str], str]) -> None:
    text = database("CREATE TABLE machines (host TEXT); INSERT INTO machines VALUES ('web1')")
    assert ["web1"] == list(values(open_source(f"{text}?table=machines", LIMITS)))
    with pytest.raises(BadInput, match="no name of a table"):
        open_source(f"{text}?table=hosts;drop", LIMITS)


def test_a_database_is_opened_for_reading_only(database: Callable[[str], str], tmp_path: Path) -> None:
    with pytest.raises(SourceFailed, match="unable to open"):
        open_source(f"sqlite:{tmp_path}/none.db", LIMITS).read()
    assert not (tmp_path / "none.db").exists()


def test_a_table_without_hosts_or_over_the_limit_says_so(database: Callable[[str], str]) -> None:
    text = database("CREATE TABLE hosts (host TEXT, note TEXT); CREATE TABLE other (name TEXT)")
    with pytest.raises(SourceFailed, match="host"):
        open_source(f"{text}?table=other", LIMITS).read()
    database(f"INSERT INTO hosts VALUES ('web1', '{'x' * 20_000}')")
    with pytest.raises(SourceFailed, match="10,000 bytes"):
        open_source(text, LIMITS).read()


@pytest.mark.parametrize("text", ["", "hosts.csv", "mysql:x", "csv:", "folder:"])
def test_a_setting_that_names_no_source_says_what_would(text: str) -> None:
    with pytest.raises(BadInput, match="for example"):
        open_source(text, LIMITS)


def test_a_password_in_an_address_is_never_shown() -> None:
    assert "postgresql://reader@db:5432/fleet" == shown("postgresql://reader:hunter2@db:5432/fleet")
