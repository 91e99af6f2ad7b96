"""The agent of another machine against a node that speaks https, with certificates made for the test."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from boxwork import errors
from boxwork.packs.fleet import protocol
from boxwork.packs.fleet.agent import Agent
from boxwork.packs.fleet.agent_client import Client, Unreachable
from boxwork.packs.fleet.agent_settings import AgentSettings
from boxwork.packs.fleet.counter import There
from boxwork.serve.http import asgi
from boxwork.serve.server import Server, bind
from boxwork.testing.served import served

EC = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]


def openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True, timeout=60)


def make_authority(folder: Path, name: str) -> Path:
    openssl(folder, "req", "-x509", *EC, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.pem")
    return folder / f"{name}.pem"


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ours.pem signed server.pem for 127.0.0.1; other.pem signed nothing."""
    folder = tmp_path_factory.mktemp("papers")
    make_authority(folder, "ours")
    make_authority(folder, "other")
    openssl(folder, "req", *EC, "-subj", "/CN=node", "-keyout", "server.key", "-out", "server.csr")
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1\n")
    signing = ["-CA", "ours.pem", "-CAkey", "ours.key", "-CAcreateserial", "-days", "2", "-extfile", "names"]
    openssl(folder, "x509", "-req", "-in", "server.csr", *signing, "-out", "server.pem")
    return folder


@pytest.fixture
def site(stage: Any, papers: Path) -> Iterator[Server]:
    stage.reopen(
        **{"serve.certificate": str(papers / "server.pem"), "serve.certificate_key": str(papers / "server.key")}
    )
    with served(stage.work) as server:
        yield server


def test_an_agent_becomes_what_a_node_with_a_certificate_says(
    stage: Any, site: Server, papers: Path, tmp_path: Path
) -> None:
    (stage.release / "bin/health").chmod(0o755)
    stage.roll_out(stage.publish().number)
    assert site.url.startswith("https://127.0.0.1:")
    client = Client([site.url], "web1", authority=str(papers / "ours.pem"))
    key = protocol.public_key(stage.fleet.private_key)
    settings = AgentSettings({"wait_s": 0.05}, environment={})
    agent = Agent(tmp_path / "host", "web1", key, client, settings)
    try:
        agent.start()
        agent.step()
        agent.step()
    finally:
        agent.close()
    assert "host=web1 workers=4 password=None\n" == (tmp_path / "host/current/etc/app.conf").read_text()
    assert tree_of(stage, "web1") == stage.fleet.mirror.status["web1"].report.tree


def tree_of(stage: Any, host: str) -> str:
    return str(stage.desired(host).tree)


def test_a_wrong_authority_is_refused_and_the_message_says_which_and_what_to_do(site: Server, papers: Path) -> None:
    client = Client([site.url], "web1", authority=str(papers / "other.pem"))
    with pytest.raises(Unreachable, match=r"certificate that is not believed.*other\.pem: give --authority"):
        client.ask("", 0)
    with pytest.raises(Unreachable, match="believed are the system's certificates"):
        Client([site.url], "web1").ask("", 0)


def test_a_certificate_of_another_name_is_refused(site: Server, papers: Path) -> None:
    url = site.url.replace("127.0.0.1", "localhost")
    with pytest.raises(Unreachable, match="localhost"):
        Client([url], "web1", authority=str(papers / "ours.pem")).ask("", 0)


def test_an_authority_that_is_no_file_of_certificates_is_said_before_anything_is_asked(papers: Path) -> None:
    for wrong in ("missing.pem", "names"):
        with pytest.raises(errors.BadInput, match="--authority"):
            Client(["https://127.0.0.1:1"], "web1", authority=str(papers / wrong))


def test_a_node_whose_certificate_cannot_be_read_does_not_start(stage: Any, papers: Path) -> None:
    stage.reopen(**{"serve.certificate": str(papers / "server.pem"), "serve.certificate_key": str(papers / "ours.key")})
    listener = bind("127.0.0.1", 0, 1)
    try:
        with pytest.raises(errors.BadInput, match=r"serve\.certificate=.*server\.pem"):
            Server(asgi(stage.work), listener, stage.work.settings)
    finally:
        listener.close()


def test_plain_http_is_not_answered_by_a_node_with_a_certificate(site: Server) -> None:
    with pytest.raises(httpx.HTTPError):
        httpx.get(site.url.replace("https:", "http:") + "/healthz", timeout=5)


def test_the_command_line_finds_its_own_node_by_its_certificate(stage: Any, site: Server) -> None:
    stage.publish()
    assert 1 == There(stage.work, site.url).state()["latest"]
