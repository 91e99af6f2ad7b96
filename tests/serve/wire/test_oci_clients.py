"""Unmodified clients push and pull; what comes back is what went in, and a registry of somebody else agrees."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from boxwork import errors
from boxwork.content.repositories import OCI_MANIFEST
from boxwork.keys import ref_of
from boxwork.serve.bodies import GATHER_BYTES
from boxwork.serve.server import Server
from tests.serve.wire.images import Image, push

pytestmark = [pytest.mark.servers, pytest.mark.timeout(300)]

IMAGE = Image({"hello": b"#!/bin/sh\necho hello\n", "large": bytes(range(256)) * 8000})
RUN_S_MAX = 120.0


def run(*command: str, **environment: str) -> str:
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=RUN_S_MAX, check=False, env={**os.environ, **environment}
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def needs(program: str) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")


@pytest.fixture
def at(server: Server) -> str:
    return server.url.removeprefix("http://")


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    return IMAGE.write_layout(tmp_path / "layout")


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[tuple[str, ...]]:
    """Options of podman and buildah: storage of this test's own."""
    with tempfile.TemporaryDirectory() as short:  # podman takes no runroot of more than 50 characters
        yield ("--root", str(tmp_path / "storage"), "--runroot", short, "--storage-driver", "vfs")
    subprocess.run(["umount", "-R", str(tmp_path / "storage")], capture_output=True, timeout=20, check=False)


def blobs(layout: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (layout / "blobs" / "sha256").iterdir()}


def test_skopeo_pushes_and_pulls_an_equal_image(at: str, layout: Path, tmp_path: Path, work: Any) -> None:
    needs("skopeo")
    target = f"docker://{at}/skopeo/app:v1"
    run("skopeo", "--insecure-policy", "copy", "--dest-tls-verify=false", f"oci:{layout}", target)
    assert work.repositories.find("skopeo/app", "v1").ref == IMAGE.ref
    run("skopeo", "--insecure-policy", "copy", "--src-tls-verify=false", target, f"oci:{tmp_path}/back:v1")
    assert blobs(layout) == blobs(tmp_path / "back")
    assert json.loads(run("skopeo", "inspect", "--tls-verify=false", target))["Digest"] == IMAGE.ref
    told = json.loads(run("skopeo", "list-tags", "--tls-verify=false", f"docker://{at}/skopeo/app"))
    assert told["Tags"] == ["v1"]
    run("skopeo", "--insecure-policy", "delete", "--tls-verify=false", target)
    with pytest.raises(errors.NotFound):
        work.repositories.find("skopeo/app", "v1")


def test_podman_pulls_what_was_pushed_and_pushes_it_elsewhere(
    at: str, layout: Path, storage: tuple[str, ...], client: httpx.Client, work: Any
) -> None:
    needs("podman")
    push(client, "podman/app", "v1", IMAGE)
    run("podman", *storage, "pull", "--tls-verify=false", f"{at}/podman/app:v1")
    told = json.loads(run("podman", *storage, "image", "inspect", f"{at}/podman/app:v1"))
    assert told[0]["Digest"] == IMAGE.ref
    run("podman", *storage, "push", "--tls-verify=false", f"{at}/podman/app:v1", f"{at}/podman/again:v1")
    config = json.loads(work.get(work.repositories.find("podman/again", "v1").ref))["config"]["digest"]
    assert config == ref_of(IMAGE.config)


def test_buildah_builds_on_an_image_and_pushes_the_result(
    at: str, layout: Path, storage: tuple[str, ...], client: httpx.Client, tmp_path: Path, work: Any
) -> None:
    needs("buildah")
    push(client, "buildah/app", "v1", IMAGE)
    (tmp_path / "added").write_text("added")
    container = run("buildah", *storage, "from", "--tls-verify=false", f"{at}/buildah/app:v1").split()[-1]
    run("buildah", *storage, "copy", container, str(tmp_path / "added"), "/added")
    run("buildah", *storage, "commit", "--tls-verify=false", container, f"docker://{at}/buildah/app:v2")
    manifest = json.loads(work.get(work.repositories.find("buildah/app", "v2").ref))
    assert len(manifest["layers"]) == 2
    assert work.repositories.tags("buildah/app") == ["v1", "v2"]


ORAS = """
import sys, oras.client
client = oras.client.OrasClient(hostname=sys.argv[1], insecure=True)
what, target, path = sys.argv[2:]
if what == "push":
    client.push(target=target, files=[path], disable_path_validation=True)
else:
    print(client.pull(target=target, outdir=path)[0])
"""


def test_oras_pushes_and_pulls_a_file(at: str, tmp_path: Path) -> None:
    pytest.importorskip("oras")
    (tmp_path / "model.bin").write_bytes(bytes(range(256)) * 5000)
    target = f"{at}/oras/model:v1"
    run(sys.executable, "-c", ORAS, at, "push", target, str(tmp_path / "model.bin"))
    (tmp_path / "back").mkdir()
    pulled = run(sys.executable, "-c", ORAS, at, "pull", target, str(tmp_path / "back")).strip().splitlines()[-1]
    assert Path(pulled).read_bytes() == (tmp_path / "model.bin").read_bytes()


# --- the same requests to docker-registry -------------------------------------------------------------------


@pytest.fixture
def oracle(tmp_path: Path) -> Iterator[httpx.Client]:
    needs("docker-registry")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (tmp_path / "registry.yml").write_text(
        "version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\n"
        f"storage: {{filesystem: {{rootdirectory: {tmp_path / 'registry'}}}, delete: {{enabled: true}}}}\n"
        f"http: {{addr: '127.0.0.1:{port}'}}\n"
    )
    process = subprocess.Popen(["docker-registry", "serve", str(tmp_path / "registry.yml")], stderr=subprocess.DEVNULL)
    try:
        ends = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert time.monotonic() < ends, "docker-registry did not start"
                time.sleep(0.05)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as client:
            yield client
    finally:
        process.terminate()
        process.wait(20)


HEADERS = ("docker-content-digest", "range", "content-range", "docker-distribution-api-version", "accept-ranges")
Answer = tuple[str, int, dict[str, str], Any]


class Recording:
    """Asks one registry, and keeps of each answer what both have to agree on."""

    def __init__(self, client: httpx.Client) -> None:
        self.client = client
        self.answers: list[Answer] = []

    def ask(self, method: str, target: str, said: str = "", **more: Any) -> httpx.Response:
        answer = self.client.request(method, target, **more)
        headers = {name: answer.headers[name] for name in HEADERS if name in answer.headers}
        if answer.status_code == 200 and method in ("GET", "HEAD") and "blobs" in target + said:
            headers["content-length"] = answer.headers["content-length"]
        if answer.status_code == 201:
            headers["location"] = httpx.URL(answer.headers["location"]).path
        body: Any = answer.content
        if answer.status_code >= 400 and method != "HEAD":
            body = {each["code"] for each in answer.json()["errors"]}
        elif answer.headers.get("content-type", "").startswith("application/json") and method != "HEAD":
            body = answer.json()
        self.answers.append((said or f"{method} {target}", answer.status_code, headers, body))
        return answer

    def begin(self) -> str:
        return self.ask("POST", "/v2/same/app/blobs/uploads/").headers["location"]

    def end(self, location: str, digest: str, data: bytes, said: str) -> None:
        self.ask("PUT", str(httpx.URL(location).copy_merge_params({"digest": digest})), said, content=data)


def conversation(client: httpx.Client) -> list[Answer]:
    """Everything that clients do, in one order."""
    on = Recording(client)
    layer, config, kind = IMAGE.layer, IMAGE.config, {"content-type": OCI_MANIFEST}
    base, digest = "/v2/same/app", ref_of(layer)
    on.ask("GET", "/v2/")
    on.ask("HEAD", f"{base}/blobs/{digest}")
    on.ask("GET", f"{base}/blobs/{digest}")
    on.ask("GET", f"{base}/blobs/sha256:zz")
    on.ask("GET", f"{base}/tags/list")
    on.ask("GET", f"{base}/manifests/v1")
    on.ask("PUT", f"{base}/manifests/v1", "a manifest before its blobs", content=IMAGE.manifest, headers=kind)
    location, half = on.begin(), len(layer) // 2
    first = {"content-type": "application/octet-stream", "content-range": f"0-{half - 1}"}
    location = on.ask("PATCH", location, "first chunk", content=layer[:half], headers=first).headers["location"]
    location = on.ask("GET", location, "how far").headers["location"]
    second = {"content-type": "application/octet-stream", "content-range": f"{half}-{len(layer) - 1}"}
    location = on.ask("PATCH", location, "second chunk", content=layer[half:], headers=second).headers["location"]
    on.end(location, digest, b"", "the end")
    on.end(on.begin(), ref_of(config), config, "all at once")
    on.end(on.begin(), ref_of(b"other"), config, "another digest")
    on.end(on.begin(), "sha256:zz", config, "no digest")
    location = on.begin()
    on.ask("DELETE", location, "given up")
    on.ask("GET", location, "gone")
    mount = "/v2/same/other/blobs/uploads/"
    on.ask("POST", mount, "mounted", params={"mount": digest, "from": "same/app"})
    on.ask("POST", mount, "not mounted", params={"mount": ref_of(b"nowhere"), "from": "same/app"})
    on.ask("HEAD", f"{base}/blobs/{digest}")
    on.ask("GET", f"{base}/blobs/{digest}")
    on.ask("GET", f"{base}/blobs/{digest}", "a range", headers={"range": "bytes=5-9"})
    on.ask("PUT", f"{base}/manifests/v1", content=IMAGE.manifest, headers=kind)
    on.ask("PUT", f"{base}/manifests/{ref_of(b'?')}", "another name", content=IMAGE.manifest, headers=kind)
    on.ask("PUT", f"{base}/manifests/v2", "rubbish", content=b"rubbish", headers=kind)
    on.ask("PUT", f"{base}/manifests/v2", "no type", content=IMAGE.manifest, headers={"content-type": "text/plain"})
    for reference in ("v1", str(IMAGE.ref)):
        for method in ("HEAD", "GET"):
            on.ask(method, f"{base}/manifests/{reference}", headers={"accept": OCI_MANIFEST})
    on.ask("GET", f"{base}/tags/list")
    on.ask("GET", f"{base}/manifests/v9")
    on.ask("DELETE", f"{base}/manifests/{IMAGE.ref}")
    on.ask("DELETE", f"{base}/manifests/{IMAGE.ref}", "again")
    on.ask("GET", f"{base}/manifests/v1")
    return on.answers


def test_answers_are_those_of_docker_registry(client: httpx.Client, oracle: httpx.Client) -> None:
    ours, theirs = conversation(client), conversation(oracle)
    assert len(ours) == len(theirs) > 30
    for mine, other in zip(ours, theirs, strict=True):
        assert mine == other


def test_a_client_that_hangs_up_in_the_middle_may_go_on_from_there(client: httpx.Client, server: Server) -> None:
    location = client.post("/v2/broken/app/blobs/uploads/").headers["location"]
    host, port = server.listener.getsockname()[:2]
    data = bytes(range(256)) * 11_000
    with socket.create_connection((host, port)) as line:
        head = f"PATCH {location} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(data)}\r\n\r\n".encode()
        line.sendall(head + data[:2_500_000])

    def go_on() -> int:
        """Where the server says that it is; 503 while the request that broke off is still being finished."""
        have = int(client.get(location).headers["range"][2:]) + 1
        span = {"content-range": f"{have}-{len(data) - 1}"}
        return have if client.patch(location, content=data[have:], headers=span).status_code == 202 else 0

    assert GATHER_BYTES <= until(go_on, lambda size: size > 1) <= 2_500_000
    assert client.put(location, params={"digest": ref_of(data)}).status_code == 201


def until(ask: Callable[[], int], good: Callable[[int], bool]) -> int:
    ends = time.monotonic() + 20
    while True:
        found = ask()
        if good(found):
            return found
        assert time.monotonic() < ends
        time.sleep(0.02)


# --- the page -----------------------------------------------------------------------------------------------

PAGE = Path(__file__).resolve().parents[3] / "docs" / "registry.md"


def test_the_commands_of_the_page_do_what_it_says(at: str, tmp_path: Path, work: Any) -> None:
    needs("curl")
    (tmp_path / "layer.tar.gz").write_bytes(IMAGE.layer)
    (tmp_path / "manifest.json").write_bytes(IMAGE.manifest)
    work.put(IMAGE.config)
    look, push_it = re.findall(r"```sh\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    for commands in (push_it, look.replace("sha256:…", str(ref_of(IMAGE.layer)))):
        script = "set -euo pipefail\n" + commands.replace("localhost:8080", at)
        done = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=RUN_S_MAX)
        assert done.returncode == 0, done.stderr
    assert work.repositories.find("team/app", "v1").ref == IMAGE.ref
    assert '{"name":"team/app","tags":["v1"]}' in done.stdout
    assert (tmp_path / str(ref_of(IMAGE.layer))).read_bytes() == IMAGE.layer
