"""Secrets are looked up on the host, stand in files only their owner reads, and leave it nowhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from boxwork import errors
from boxwork.packs.fleet.agent import Agent
from boxwork.packs.fleet.agent_secrets import Secrets, variable
from boxwork.packs.fleet.protocol import Hooks
from tests.packs.fleet.agent._server import RULES, Server, logging_hooks, shell

MakeAgent = Callable[..., Agent]
VALUE = "correct horse battery staple"
FILES: dict[str, bytes | str] = {"etc/app.conf": b"password = secret:db.main\n", "etc/plain": b"secret:other\n"}


def keep(root: Path, name: str, value: str, mode: int = 0o600) -> None:
    (root / "secrets").mkdir(parents=True, exist_ok=True)
    (root / "secrets" / name).write_text(value + "\n")
    (root / "secrets" / name).chmod(mode)


def everything(root: Path) -> bytes:
    """All bytes below the root but the secrets themselves and the file they belong in."""
    found = b""
    for path in root.rglob("*"):
        if path.is_file() and "secrets" not in path.parts and path.name != "app.conf":
            found += path.read_bytes()
    return found


def test_a_secret_stands_in_its_file_only(server: Server, make_agent: MakeAgent, root: Path) -> None:
    keep(root, "db.main", VALUE)
    lines: list[str] = []
    agent = make_agent(log=lambda level, message: lines.append(message))
    server.say(server.desired(FILES, secrets=("db.main",)))
    agent.start()
    agent.step()
    agent.look()
    path = root / "current/etc/app.conf"
    assert f"password = {VALUE}\n" == path.read_text()
    assert 0o600 == path.stat().st_mode & 0o777
    assert b"secret:other\n" == (root / "current/etc/plain").read_bytes(), "a name that was not declared stays"
    assert VALUE.encode() not in everything(root)
    assert VALUE not in "".join(lines) + str(server.reports)


def test_a_hook_that_prints_a_secret_does_not_get_it_into_reports_or_logs(
    server: Server, make_agent: MakeAgent, root: Path
) -> None:
    keep(root, "db.main", VALUE)
    lines: list[str] = []
    agent = make_agent(log=lambda level, message: lines.append(message))
    agent.start()
    server.say(server.desired(FILES, secrets=("db.main",)))
    agent.step()
    bad = Hooks(health=shell("cat etc/app.conf; exit 1", 0.3))
    server.say(server.desired({**FILES, "more": b"1"}, secrets=("db.main",), hooks=bad))
    agent.step()
    report = server.reports[-1]
    assert "failed" == report.state
    assert "password = secret:db.main" in report.reason
    assert VALUE not in "".join(lines) + str(server.reports) + (root / "memory.json").read_text()


def test_a_secret_that_is_missing_is_named_and_comes_later(server: Server, make_agent: MakeAgent, root: Path) -> None:
    agent = make_agent()
    agent.start()
    server.say(server.desired(FILES, secrets=("db.main",)))
    agent.step()
    assert "the secret 'db.main' is not on this host" in server.reports[-1].reason
    assert not (root / "current").exists()
    keep(root, "db.main", VALUE)
    agent.step()
    assert VALUE in (root / "current/etc/app.conf").read_text()


def test_a_secret_that_changed_on_the_host_is_drift_and_is_put_in(
    server: Server, make_agent: MakeAgent, root: Path, tmp_path: Path
) -> None:
    keep(root, "db.main", VALUE)
    agent = make_agent(settings={"drift_action": "revert"})
    agent.start()
    server.say(server.desired(FILES, secrets=("db.main",), effects=RULES, hooks=logging_hooks(tmp_path / "log")))
    agent.step()
    assert [] == agent.look()
    keep(root, "db.main", "another")
    assert ["etc/app.conf"] == [drift.path for drift in agent.look()]
    assert "password = another\n" == (root / "current/etc/app.conf").read_text()
    assert "reload" == (tmp_path / "log").read_text().splitlines()[-1]
    (root / "current/etc/app.conf").chmod(0o644)
    assert [("etc/app.conf", "mode")] == [(drift.path, drift.kind) for drift in agent.look()]


def test_hooks_do_not_see_what_the_agent_was_given(
    server: Server, make_agent: MakeAgent, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BOXWORK_SECRET_DB_MAIN", VALUE)
    agent = make_agent()
    agent.start()
    server.say(server.desired(FILES, secrets=("db.main",), hooks=Hooks(resume=shell(f"env > {tmp_path / 'env'}"))))
    agent.step()
    assert VALUE in (root / "current/etc/app.conf").read_text()
    seen = (tmp_path / "env").read_text()
    assert VALUE not in seen
    assert "BOXWORK_FLEET_HOST=web1" in seen


def test_the_file_wins_over_the_environment_and_others_may_not_read_it(tmp_path: Path) -> None:
    environment = {variable("db.main"): "from the environment"}
    secrets = Secrets(tmp_path / "secrets", environment)
    assert "BOXWORK_SECRET_DB_MAIN" == variable("db.main")
    assert b"from the environment" == secrets.get("db.main")
    keep(tmp_path, "db.main", "from the file")
    assert b"from the file" == secrets.get("db.main")
    keep(tmp_path, "db.main", "from the file", 0o644)
    with pytest.raises(errors.Forbidden, match="chmod 600"):
        secrets.get("db.main")
    (tmp_path / "secrets/db.main").unlink()
    (tmp_path / "secrets/db.main").symlink_to("/etc/hostname")
    with pytest.raises(errors.StorageError):
        secrets.get("db.main")
