"""One look at real services and real plugins: what is well, what is wrong, and everything that hangs."""

from __future__ import annotations

import asyncio
import shutil
import socket
import time
from pathlib import Path

import pytest

from boxwork.clock import SystemClock
from boxwork.packs.monitor.book import Check
from boxwork.packs.monitor.outcome import Outcome
from boxwork.packs.monitor.probe import look
from tests.packs.monitor.services import certificate, free_port, service, stubborn


def ask(**check: object) -> Outcome:
    return asyncio.run(look(Check(**check), SystemClock()))  # type: ignore[arg-type]


def test_http_is_judged_by_status_body_and_time() -> None:
    with service() as web:
        good = ask(http=f"{web.url}/a?b=1", body="welcome")
        assert ("ok", "HTTP 200, 7 bytes") == (good.word, good.text)
        assert good.took_ns > 0
        assert [("size", 7.0)] == [(one.label, one.value) for one in good.figures]
        web.paths = {"/gone": (503, b"down"), "/moved": (302, b""), "/teapot": (418, b"")}
        assert ("critical", "HTTP 503, and 200 to 399 is good") == (
            ask(http=f"{web.url}/gone").word,
            ask(http=f"{web.url}/gone").text,
        )
        assert "ok" == ask(http=f"{web.url}/moved").word
        assert "ok" == ask(http=f"{web.url}/teapot", status=[418]).word
        assert "'farewell' is not in the answer" in ask(http=web.url, body="farewell").text
        assert "slow: " in ask(http=web.url, slow_ms=0.0001).text


def test_nobody_there_is_critical_and_says_so() -> None:
    port = free_port()
    assert ("critical", f"127.0.0.1:{port}: connection refused") == (
        ask(http=f"http://127.0.0.1:{port}/").word,
        ask(http=f"http://127.0.0.1:{port}/").text,
    )
    assert f"127.0.0.1:{port}: connection refused" == ask(tcp=f"127.0.0.1:{port}").text
    with service() as web:
        assert "ok" == ask(tcp=f"127.0.0.1:{web.port}").word


def silent(connection: socket.socket) -> None:
    connection.recv(65536)
    time.sleep(30)


def dripping_head(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    while True:
        connection.sendall(b"x-a: b\r\n")
        time.sleep(0.02)


def dripping_body(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n")
    while True:
        connection.sendall(b"x")
        time.sleep(0.02)


@pytest.mark.parametrize("behave", [silent, dripping_head, dripping_body])
def test_whatever_hangs_ends_at_the_limit(behave: object) -> None:
    with stubborn(behave) as port:  # type: ignore[arg-type]
        began = time.monotonic()
        found = ask(http=f"http://127.0.0.1:{port}/", timeout_s=0.5)
        assert ("critical", "no whole answer within 0.5 s") == (found.word, found.text)
        assert time.monotonic() - began < 3


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (b"", "closed before an answer came"),
        (b"SSH-2.0-OpenSSH_9\r\n", "no HTTP"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf", "broke off after 4 of 100 bytes"),
    ],
)
def test_what_is_no_whole_answer_is_critical(said: bytes, told: str) -> None:
    def behave(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(said)
        connection.shutdown(socket.SHUT_WR)

    with stubborn(behave) as port:
        found = ask(http=f"http://127.0.0.1:{port}/")
        assert "critical" == found.word
        assert told in found.text


@pytest.mark.parametrize(
    ("days", "verify", "word", "told"),
    [
        (90, True, "critical", "the certificate is not good: self"),
        (90, False, "ok", "certificate for 90 days"),
        (5, False, "warning", "the certificate ends in 5 days, and 14 are wanted"),
        (-3, False, "critical", "the certificate ended 3 days ago"),
    ],
)
def test_a_certificate_is_looked_at(tmp_path: Path, days: float, verify: bool, word: str, told: str) -> None:
    with service(certificate(tmp_path, days)) as web:
        found = ask(http=web.url, verify=verify, certificate_days=14)
        assert (word, True) == (found.word, told in found.text), found.text


def test_a_plugin_is_a_process_with_a_limit(tmp_path: Path) -> None:
    plugin = tmp_path / "check_queue"
    plugin.write_text("#!/bin/sh\necho \"QUEUE CRITICAL - $1 waiting | 'in queue'=$1;10;20\"\nexit 2\n", "utf-8")
    plugin.chmod(0o755)
    found = ask(plugin=[str(plugin), "42"])
    assert ("critical", "QUEUE CRITICAL - 42 waiting") == (found.word, found.text)
    assert [("in queue", 42.0, "20")] == [(one.label, one.value, one.crit) for one in found.figures]
    slow = ask(plugin=["/bin/sh", "-c", "echo half; sleep 30"], timeout_s=0.3)
    assert ("unknown", "the plugin did not end within 0.3 s; until then it said: half") == (slow.word, slow.text)
    missing = ask(plugin=[str(tmp_path / "nowhere")])
    assert ("unknown", True) == (missing.word, "cannot be run" in missing.text)


def test_a_shell_stands_in_between_only_if_it_is_asked_for() -> None:
    assert "$((1+1))" == ask(plugin=["/bin/echo", "$((1+1))"]).text
    assert "2" == ask(shell="echo $((1+1))").text


@pytest.mark.servers
def test_debians_own_plugins_are_understood() -> None:
    folder = Path("/usr/lib/nagios/plugins")
    if not (folder / "check_http").exists() or shutil.which("sh") is None:
        pytest.skip("needs Debian's monitoring-plugins-basic")
    with service() as web:
        http = ask(plugin=[str(folder / "check_http"), "-H", "127.0.0.1", "-p", str(web.port)])
        assert ("ok", ["time", "size"]) == (http.word, [one.label for one in http.figures]), http
        tcp = ask(plugin=[str(folder / "check_tcp"), "-H", "127.0.0.1", "-p", str(web.port)])
        assert ("ok", "s") == (tcp.word, tcp.figures[0].unit), tcp
    refused = ask(plugin=[str(folder / "check_tcp"), "-H", "127.0.0.1", "-p", str(free_port())])
    assert "critical" == refused.word
    load = ask(plugin=[str(folder / "check_load"), "-w", "1000,1000,1000", "-c", "2000,2000,2000"])
    assert ("ok", 3) == (load.word, len([one for one in load.figures if one.label.startswith("load")])), load
    disk = ask(plugin=[str(folder / "check_disk"), "-w", "0%", "-c", "0%", "-p", "/"])
    assert "bytes" == (disk.figures[0].sample or ("",))[0], disk
    procs = ask(plugin=[str(folder / "check_procs"), "-c", "1:1", "-C", "no-such-program"])
    assert "critical" == procs.word, procs
