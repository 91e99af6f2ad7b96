"""Each probe measures its path and says when there is no answer."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from _proxy import DelayingProxy

from boxwork.clock import SystemClock
from boxwork.errors import BadInput
from boxwork.pulse import probes
from boxwork.pulse.probes import EchoProbe, HttpProbe, Responder, Target, TcpProbe, Unanswered, open_probe


@pytest.fixture
def responder() -> Iterator[Responder]:
    responder = Responder("127.0.0.1", 0, SystemClock())
    stop = threading.Event()

    def serve() -> None:
        while not stop.is_set():
            responder.serve_once(0.05)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield responder
    stop.set()
    thread.join()
    responder.close()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ld4=agent://10.0.0.2:8765", Target("ld4", "agent", "10.0.0.2", 8765)),
        ("ld4=10.0.0.2", Target("ld4", "agent", "10.0.0.2", 8765)),
        ("cme=tcp://venue:443", Target("cme", "tcp", "venue", 443)),
        ("https://site/a?b=c", Target("site", "http", "site", 443, "/a?b=c", True)),
        ("clock=udp://[::1]:7", Target("clock", "udp", "::1", 7)),
    ],
)
def test_a_target_is_read_as_it_is_written(text: str, expected: Target) -> None:
    assert expected == Target.parse(text)


@pytest.mark.parametrize("text", ["", "ftp://host", "a=tcp://host", "a=tcp://host:99999", "a=://b"])
def test_a_text_that_is_no_target_is_refused_with_the_ways_to_write_one(text: str) -> None:
    with pytest.raises(BadInput, match="NAME=agent"):
        Target.parse(text)


def test_two_agents_agree_on_each_way_and_the_round_trip(responder: Responder) -> None:
    """Each answer beside what its own two datagrams were held for, however late a busy machine sent them on."""
    proxy = DelayingProxy(responder.port, 0.020, 0.010)
    probe = EchoProbe(Target("b", "agent", "127.0.0.1", proxy.port), SystemClock(), 3)
    echoes = [probe.once() for _ in range(15)]
    probe.close()
    proxy.close()
    both = list(zip(proxy.held["forth"], proxy.held["back"], echoes, strict=True))

    def middle(shares: list[float]) -> float:
        return sorted(shares)[len(shares) // 2]

    assert 1 == pytest.approx(middle([echo.round_trip_ns / (forth + back) for forth, back, echo in both]), rel=0.02)
    assert 1 == pytest.approx(middle([(echo.forward_ns or 0) / forth for forth, _, echo in both]), rel=0.02)
    assert 1 == pytest.approx(middle([(echo.backward_ns or 0) / back for _, back, echo in both]), rel=0.02)


def test_a_plain_echo_service_gives_the_round_trip_alone() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as echo:
        echo.bind(("127.0.0.1", 0))

        def serve() -> None:
            data, sender = echo.recvfrom(100)
            echo.sendto(data, sender)

        thread = threading.Thread(target=serve)
        thread.start()
        probe = open_probe(Target("e", "udp", "127.0.0.1", echo.getsockname()[1]), SystemClock())
        answer = probe.once()
        thread.join()
        probe.close()
    assert answer.round_trip_ns > 0
    assert (None, None) == (answer.forward_ns, answer.backward_ns)


def test_a_question_nobody_answers_is_unanswered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "TIMEOUT_SECONDS", 0.1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as deaf:
        deaf.bind(("127.0.0.1", 0))
        probe = EchoProbe(Target("d", "udp", "127.0.0.1", deaf.getsockname()[1]), SystemClock(), 1)
        with pytest.raises(Unanswered):
            probe.once()
        probe.close()
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    with pytest.raises(Unanswered, match="refused"):
        TcpProbe(Target("d", "tcp", "127.0.0.1", port)).once()


def test_a_tcp_connect_is_timed_and_leaves_nothing_behind() -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        probe = open_probe(Target("v", "tcp", "127.0.0.1", listening.getsockname()[1]), SystemClock())
        assert 0 < probe.once().round_trip_ns < 1_000_000_000
        probe.close()


def test_http_is_timed_to_the_first_byte_and_5xx_is_no_answer() -> None:
    answers = [200, 200, 503]

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            time.sleep(0.02)
            self.send_response(answers.pop(0))
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    probe = HttpProbe(Target("w", "http", "127.0.0.1", server.server_port))
    assert probe.once().round_trip_ns >= 20_000_000
    assert probe.once().round_trip_ns < 1_000_000_000
    with pytest.raises(Unanswered, match="503"):
        probe.once()
    probe.close()
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_certificates_of_the_system_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A venue that is away is asked five times a second; reading the certificates each time took a fifth of a core."""
    read: list[ssl.SSLContext] = []
    plain = ssl.create_default_context
    monkeypatch.setattr(ssl, "create_default_context", lambda: read.append(plain()) or read[-1])  # type: ignore[func-returns-value]
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        probe = HttpProbe(Target("web", "http", "127.0.0.1", closed.getsockname()[1], secure=True))
        for _ in range(5):
            with pytest.raises(Unanswered, match=r"^Connection refused$"):
                probe.once()
    assert 1 == len(read)


def test_a_port_that_cannot_be_had_is_refused_with_the_remedy(responder: Responder) -> None:
    with pytest.raises(BadInput, match=f"port {responder.port}: another program listens there; choose another port"):
        Responder("127.0.0.1", responder.port, SystemClock())
    with pytest.raises(BadInput, match=r"no port 99999: write 1 … 65535"):
        Responder("127.0.0.1", 99999, SystemClock())
    with pytest.raises(BadInput, match=r"1\.2\.3\.4, port 0: that is not an address of this host"):
        Responder("1.2.3.4", 0, SystemClock())


def test_the_responder_answers_questions_only(responder: Responder) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.connect(("127.0.0.1", responder.port))
        for noise in (b"", b"x" * 24, b"x" * 200):
            stranger.send(noise)
        stranger.settimeout(0.2)
        with pytest.raises(TimeoutError):
            stranger.recv(100)
    assert 0 == responder.answered
