"""`kill -9` of the monitor: what was acknowledged stays acknowledged, and it goes on where it was."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

from boxwork import open as open_node
from tests.packs.monitor.services import service, until

SERVER = """
import sys
import boxwork
from boxwork.serve.http import asgi
from boxwork.serve.server import Server, bind
with boxwork.open(sys.argv[1], settings={"monitor.book": sys.argv[2]}) as work:
    Server(asgi(work), bind("127.0.0.1", 0, 1), work.settings).run(lambda url: print(url, flush=True))
"""
BOOK = """
[defaults]
every_s = 0.5
attempts = 2
retry_s = 0.1
[tickets]
gather_s = 0
calm_s = 0.5
[checks.web]
http = "{url}/web"
runbook = "slow"
[checks.other]
http = "{url}/other"
[runbooks.slow]
command = ["/bin/sh", "-c", "echo $$ >> {note}; sleep 60"]
tries = 1
[notify.hook]
url = "{url}/hook"
"""


class Server:
    def __init__(self, root: Path, book: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVER, str(root / "data"), str(book)], stdout=subprocess.PIPE, encoding="utf-8"
        )
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()

    def ask(self, path: str, order: Any = None) -> Any:
        data = None if order is None else json.dumps(order).encode()
        request = urllib.request.Request(self.url + path, data, {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=10) as reply:
            return json.load(reply)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)
        self.process.stdout.close()  # type: ignore[union-attr]


def test_a_killed_monitor_goes_on_where_it_was(tmp_path: Path) -> None:
    note, book = tmp_path / "runs", tmp_path / "monitor.toml"
    with service() as web:
        web.paths = {"/web": (500, b""), "/other": (500, b"")}
        book.write_text(BOOK.format(url=web.url, note=note), "utf-8")
        first = Server(tmp_path, book)
        try:
            until(lambda: len(first.ask("/monitor/state")["incidents"]) == 2)
            number = {one["title"]: one["number"] for one in first.ask("/monitor/state")["incidents"]}
            until(lambda: len(web.posted) == 2)
            until(note.exists)
            first.ask(f"/monitor/incidents/{number['other failed']}/acknowledge", {"who": "ada", "note": "mine"})
            window = first.ask("/monitor/silences", {"checks": "later-*", "minutes": 60, "who": "ada", "why": "x"})
        finally:
            first.kill()
            for line in note.read_text("utf-8").split() if note.exists() else []:
                os.killpg(int(line), signal.SIGKILL)  # what it ran is not ours to leave behind

        second = Server(tmp_path, book)
        try:
            until(lambda: second.ask("/monitor/state")["counts"]["critical"] == 2)
            state = second.ask("/monitor/state")
            assert number == {one["title"]: one["number"] for one in state["incidents"]}
            assert window["id"] == state["silences"][0]["id"]
            other = second.ask(f"/monitor/incidents/{number['other failed']}")
            assert ("acknowledged", "ada", "mine") == (other["state"], other["who"], other["note"])
            web_down = second.ask(f"/monitor/incidents/{number['web failed']}")
            assert ["interrupted"] == [run["outcome"] for run in web_down["runs"]]
            web.paths = {}
            until(lambda: not second.ask("/monitor/state")["incidents"])
            until(lambda: len(web.posted) == 4)
            assert 1 == len(note.read_text("utf-8").split())  # the runbook was not run a second time
            events = [json.loads(body)["event"] for _, body in web.posted]
            assert {"opened": 2, "resolved": 2} == {word: events.count(word) for word in set(events)}
            assert len(second.ask("/monitor/checks/web")["history"]) >= 4
        finally:
            second.kill()
    with open_node(tmp_path / "data", settings={"monitor.book": str(book)}) as work:
        assert 2 == work.part("monitor").mirror.last
