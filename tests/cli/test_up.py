from __future__ import annotations

import json
import select
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

# How long a command may take to say something on a loaded machine.  Unit: seconds.
PATIENCE_S = 60


class Up:
    """`boxwork up` in a process of its own."""

    def __init__(self, data: Path, *arguments: str, port: str = "0") -> None:
        command = [sys.executable, "-c", "from boxwork.cli import main; main()", "--data", str(data), "--json", "up"]
        self.process = subprocess.Popen(
            [*command, "--port", port, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,  # two lines at once must not hide in a buffer from `select`
        )

    def line(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], PATIENCE_S)
        assert ready, "it said nothing"
        text = self.process.stdout.readline()
        assert text, self.process.stderr.read().decode() if self.process.stderr else ""
        return dict(json.loads(text))

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "My Photos ~ 2024"
    folder.mkdir()
    for number in range(4):
        Image.new("RGB", (60, 40), (number * 60, 9, 9)).save(folder / f"{number}.jpg")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8 no picture")
    (folder / "notes.txt").write_text("not a photo")
    return folder


@pytest.fixture
def started() -> Iterator[list[Up]]:
    running: list[Up] = []
    yield running
    for up in running:
        if up.process.poll() is None:
            up.process.kill()
        up.process.communicate(timeout=PATIENCE_S)


def test_a_folder_is_taken_in_served_and_remembered_after_a_restart(
    photos: Path, tmp_path: Path, started: list[Up]
) -> None:
    for computed, remembered in ((4, 0), (0, 4)):
        up = Up(tmp_path / "d", str(photos))
        started.append(up)
        url = up.line()["url"]
        with urllib.request.urlopen(f"{url}/healthz", timeout=PATIENCE_S) as answer:
            assert 200 == answer.status
        tally = up.line()
        told = (tally["seen"], tally["computed"], tally["remembered"], tally["failed"])
        assert (5, computed, remembered, 1) == told, tally["faults"]
        assert "broken.jpg" == tally["faults"][0]["path"]
        assert 0 == up.stop()


def test_the_next_port_is_taken_when_one_is_in_use(photos: Path, tmp_path: Path, started: list[Up]) -> None:
    first = Up(tmp_path / "a", str(photos))
    started.append(first)
    port = str(first.line()["url"]).rsplit(":", 1)[1]
    second = Up(tmp_path / "b", str(photos), port=port)
    started.append(second)
    assert int(port) < int(str(second.line()["url"]).rsplit(":", 1)[1])


def test_once_takes_in_and_ends_without_serving(photos: Path, tmp_path: Path, started: list[Up]) -> None:
    up = Up(tmp_path / "d", "--once", str(photos))
    started.append(up)
    assert 4 == up.line()["computed"]
    assert 0 == up.process.wait(PATIENCE_S)


def test_a_folder_that_does_not_exist_is_refused_with_advice(tmp_path: Path, started: list[Up]) -> None:
    up = Up(tmp_path / "d", str(tmp_path / "nowhere"))
    started.append(up)
    assert "PHOTOS=" in up.line()["message"]
    assert 1 == up.process.wait(PATIENCE_S)


def test_own_boxes_are_served_and_a_commit_beside_it_is_handed_in(
    tmp_path: Path, started: list[Up], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_stall.py").write_text(
        "from boxwork import derivation, transaction\n\n"
        "@derivation\ndef shout(text: bytes) -> bytes:\n    return text.upper()\n\n"
        "@transaction\ndef sell(tx, pears: int) -> int:\n"
        "    tx.add(('pears',), -pears, min=-10)\n    return tx.get(('pears',))\n"
    )
    monkeypatch.chdir(tmp_path)
    up = Up(tmp_path / "d", "--no-sample", "--boxes", "my_stall")
    started.append(up)
    url = up.line()["url"]
    request = urllib.request.Request(f"{url}/commit/sell", data=b'{"pears": 3}', method="POST")
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
        assert -3 == json.load(answer)["answer"]
    with urllib.request.urlopen(f"{url}/derive", timeout=PATIENCE_S) as answer:
        assert "shout" in [box["name"] for box in json.load(answer)["boxes"]]
    command = [sys.executable, "-c", "from boxwork.cli import main; main()", "--data", str(tmp_path / "d"), "--json"]
    told = [
        subprocess.run(
            [*command, "commit", "my_stall:sell", f"pears={pears}"],
            capture_output=True, text=True, timeout=PATIENCE_S, check=False,
        )
        for pears in (4, 9)
    ]  # fmt: skip
    assert -7 == json.loads(told[0].stdout)["answer"]
    assert "transaction.bound" in told[1].stderr + told[1].stdout
    assert 0 == up.stop()


def test_modules_without_boxes_are_refused(tmp_path: Path, started: list[Up], monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_empty_stall.py").write_text("pears = 3\n")
    monkeypatch.chdir(tmp_path)
    for module, word in [
        ("my_empty_stall", b"no @derivation and no @transaction"),
        ("my_no_stall", b"can be imported"),
    ]:
        up = Up(tmp_path / "d", "--boxes", module)
        started.append(up)
        assert up.process.stdout is not None
        assert word in up.process.communicate(timeout=PATIENCE_S)[0]


def test_a_photo_that_comes_while_it_runs_is_taken_in(photos: Path, tmp_path: Path, started: list[Up]) -> None:
    up = Up(tmp_path / "d", str(photos), "--set", "inventory.rescan_s=0.1")
    started.append(up)
    url = up.line()["url"]
    assert 5 == up.line()["new"]
    Image.new("RGB", (60, 40), (250, 9, 9)).save(photos / "late.jpg")
    while not (tally := up.line())["computed"]:
        assert 0 == tally["new"] + tally["changed"], tally
    assert 1 == tally["computed"]
    with urllib.request.urlopen(f"{url}/items?q=late", timeout=PATIENCE_S) as answer:
        assert ["late.jpg"] == [item["name"] for item in json.load(answer)["items"]]


def test_who_leaves_while_the_sample_is_drawn_does_not_wait_for_its_end(tmp_path: Path, started: list[Up]) -> None:
    up = Up(tmp_path / "d")
    started.append(up)
    assert "ready" == up.line()["event"]
    assert 0 == up.stop()
    assert len(list((tmp_path / "d" / "sample").glob("*.jpg"))) < 300
