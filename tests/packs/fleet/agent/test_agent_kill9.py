"""The agent is killed at every step of every kind of change; started again, it finishes or undoes what it began."""

from __future__ import annotations

import os
import shutil
import signal
import traceback
from pathlib import Path

import pytest

from boxwork.packs.fleet.agent_memory import Ledger
from boxwork.packs.fleet.agent_process import Orders, make_agent
from boxwork.packs.fleet.protocol import Desired, Hooks
from tests.packs.fleet.agent._server import RULES, Server, shell

SETTINGS: dict[str, object] = {"wait_s": 0.05, "drift_action": "revert"}


def run(server: Server, root: Path, kill_at: int = 0) -> list[str]:
    """One step of an agent in a forked process, ended by SIGKILL at this boundary; the boundaries it passed."""
    passed = root.with_suffix(".steps")
    passed.write_bytes(b"")
    child = os.fork()
    if child == 0:
        code = 1
        try:
            _step(server, root, passed, kill_at)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    steps = passed.read_text().splitlines()
    if os.WIFSIGNALED(status):
        assert (signal.SIGKILL, kill_at) == (os.WTERMSIG(status), len(steps))
    else:
        assert 0 == os.WEXITSTATUS(status)
        assert not kill_at or len(steps) < kill_at
    return steps


def _step(server: Server, root: Path, passed: Path, kill_at: int) -> None:
    fd = os.open(passed, os.O_WRONLY | os.O_APPEND)
    count = 0

    def at(step: str) -> None:
        nonlocal count
        os.write(fd, step.encode() + b"\n")
        count += 1
        if count == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    orders = Orders(servers=[server.url], host="web1", root=str(root), key=server.key.hex(), settings=SETTINGS)
    agent = make_agent(orders, at=at)
    agent.start()
    agent.step()
    agent.step()  # takes along how the first went
    agent.close()


HOOKS = Hooks(
    reload=shell("true"),
    drain=shell("true"),
    packages=shell("true"),
    resume=shell("true"),
    health=shell("grep -q good etc/app.conf", 0.3),
)
CHANGES = {
    "reload": ("good 2", (), "2"),
    "drain": ("good 2", ("nginx",), "2"),
    "not healthy, reload": ("bad", (), "1"),
    "not healthy, drain": ("bad", ("nginx",), "1"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_killed_at_every_step_it_ends_on_a_good_version(server: Server, tmp_path: Path, change: str) -> None:
    content, packages, right = CHANGES[change]

    def before() -> Desired:
        server.position = 0
        return server.desired({"etc/app.conf": b"good 1", "also": b"1"}, effects=RULES, hooks=HOOKS)

    first = before()
    after = server.desired({"etc/app.conf": content.encode()}, effects=RULES, hooks=HOOKS, packages=packages)

    def whole(root: Path) -> None:
        """Whoever looks sees one version or the other, never a mixture."""
        found = (root / "current/etc/app.conf").read_text()
        assert (found == "good 1") == (root / "current/also").exists()
        assert found in ("good 1", content)

    server.say(first)
    model = tmp_path / "model"
    run(server, model)
    assert "good 1" == (model / "current/etc/app.conf").read_text()
    server.say(after)

    def host(name: str) -> Path:
        return Path(shutil.copytree(model, tmp_path / name, symlinks=True))

    passed = run(server, host("unharmed"))
    for number in range(1, len(passed) + 1):
        root = host(f"host-{number}")
        steps = run(server, root, kill_at=number)
        assert passed[:number] == steps, "every boundary was one to be killed at"
        whole(root)
        run(server, root)
        whole(root)
        memory = Ledger(root).read()
        assert memory.attempt is None
        assert "good " + right == (root / "current/etc/app.conf").read_text(), steps
        assert after.position == memory.position
        assert [] == memory.reports
    assert {"asked", "blob", "fetched", "staged", "noted", "switched", "told", "reported"} <= set(passed)


def test_killed_at_every_step_of_a_revert_it_ends_as_its_version_says(server: Server, tmp_path: Path) -> None:
    server.say(server.desired({"etc/app.conf": b"good 1", "etc/other": b"x"}, effects=RULES, hooks=HOOKS))
    model = tmp_path / "model"
    run(server, model)
    (model / "current/etc/app.conf").write_bytes(b"slip")
    (model / "current/etc/other").unlink()
    passed = run(server, Path(shutil.copytree(model, tmp_path / "unharmed", symlinks=True)))
    assert {"looked", "reverted", "reported"} <= set(passed)
    for number in range(1, len(passed) + 1):
        root = Path(shutil.copytree(model, tmp_path / f"host-{number}", symlinks=True))
        run(server, root, kill_at=number)
        run(server, root)
        assert "good 1" == (root / "current/etc/app.conf").read_text(), number
        assert (root / "current/etc/other").exists()
        assert [] == Ledger(root).read().drift


def test_a_change_that_nobody_survives_is_undone(server: Server, tmp_path: Path) -> None:
    """A version that takes the agent down with it each time."""
    root = tmp_path / "host"
    server.say(server.desired({"etc/app.conf": b"good 1"}, effects=RULES, hooks=HOOKS))
    run(server, root)
    server.say(server.desired({"etc/app.conf": b"good 2"}, effects=RULES, hooks=HOOKS))
    steps = run(server, root)
    deadly = steps.index("switched") + 1
    server.say(server.desired({"etc/app.conf": b"good 3"}, effects=RULES, hooks=HOOKS))
    run(server, root, kill_at=deadly)
    for _ in range(2):
        memory = Ledger(root).read()
        assert memory.attempt is not None
        again = run(server, root, kill_at=3)  # memory written, noted again, switched
        assert "switched" == again[-1]
    run(server, root)
    assert "good 2" == (root / "current/etc/app.conf").read_text()
    report = server.wait_for_report(lambda report: report.state == "failed")
    assert "did not survive it 3 times" in report.reason


def test_reports_survive(server: Server, tmp_path: Path) -> None:
    root = tmp_path / "host"
    server.say(server.desired({"etc/app.conf": b"good 1"}, hooks=HOOKS))
    steps = run(server, root)
    other = tmp_path / "other"
    server.reports.clear()
    run(server, other, kill_at=steps.index("settled") + 1)
    assert [] == server.reports
    run(server, other)
    assert ["applied"] == [report.state for report in server.reports]
