"""A host that is a whole system: its files have what belongs to a system, and the agent is not led out of it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from boxwork import Ref, TreeEntry, tree
from boxwork.packs.fleet.agent import Agent
from boxwork.packs.fleet.agent_hand import Hand
from boxwork.packs.fleet.protocol import Root
from tests.packs.fleet.agent._server import RULES, Server, logging_hooks

MakeAgent = Callable[..., Agent]
ONE, TWO = (Root("sha256:" + digit * 64, "sha256:" + digit * 64) for digit in "12")
NOBODY = 65534

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it gives files to others")


class System:
    """A tree as a root of an operating system has it, out of paths and entries."""

    def __init__(self, server: Server) -> None:
        self.content = server.content

    def tree(self, changes: dict[str, TreeEntry | None] | None = None) -> Ref:
        text = self.file
        entries: dict[str, TreeEntry | None] = {
            "bin": TreeEntry("", "symlink", target="usr/bin", uid=0, gid=0),
            "dev/log": None,
            "etc/alternatives/sh": TreeEntry("", "symlink", target="/bin/dash", uid=0, gid=0),
            "etc/app.conf": text("workers = 4\n"),
            "etc/shadow": text("root:*\n", 0o640, gid=42),
            "usr/bin/dash": text("#!\n", 0o755),
            "usr/bin/su": text("su\n", 0o4755),
            # The name of an inode is what it was called where it was built.
            "usr/bin/perl": text("perl\n", 0o755, group="somewhere/else"),
            "usr/bin/perl5": text("perl\n", 0o755, group="somewhere/else"),
            "usr/share/A": text("1"),
            "usr/share/a": text("2"),
            "usr/share/marked": text("m", attributes=(("user.mark", b"yes"),)),
            "var/mail": TreeEntry("", "symlink", target="../../../../spool", uid=0, gid=0),
            "run/pipe": TreeEntry("", "pipe", 0o600, uid=0, gid=0),
            **(changes or {}),
        }
        return self.folder({path.split("/", 1)[0]: None for path in entries}, entries)

    def file(self, text: str, mode: int = 0o644, gid: int = 0, **more: Any) -> TreeEntry:
        return TreeEntry("", "file", mode, len(text), self.content.put(text.encode()), uid=0, gid=gid, **more)

    def folder(self, names: dict[str, None], entries: dict[str, TreeEntry | None]) -> Ref:
        made = []
        for name in names:
            entry = entries.get(name)
            below = {path.split("/", 1)[1]: one for path, one in entries.items() if path.startswith(name + "/")}
            if entry is not None:
                made.append(msgspec.structs.replace(entry, name=name))
            elif below:
                kept = {path: one for path, one in below.items() if one is not None}
                ref = self.folder({path.split("/", 1)[0]: None for path in kept}, dict(kept))
                made.append(TreeEntry(name, "directory", 0o755, 0, ref, uid=0, gid=0))
        return Ref(self.content.put(tree.encode(made)))


@pytest.fixture
def system(server: Server) -> System:
    return System(server)


@pytest.mark.servers
@needs_root
def test_a_system_lies_there_as_it_was_built(server: Server, make_agent: MakeAgent, system: System, root: Path) -> None:
    server.lots = []
    server.say(server.desired(system.tree(), root=ONE))
    agent = make_agent()
    agent.start()
    agent.step()
    assert "applied" == server.reports[-1].state, server.reports[-1]
    current = root / "current"
    assert (0, 42, 0o100640) == ((there := (current / "etc/shadow").stat()).st_uid, there.st_gid, there.st_mode)
    assert 0o104755 == (current / "usr/bin/su").stat().st_mode
    assert (current / "usr/bin/perl").samefile(current / "usr/bin/perl5")
    assert "/bin/dash" == os.readlink(current / "etc/alternatives/sh")
    assert "../../../../spool" == os.readlink(current / "var/mail")
    assert b"yes" == os.getxattr(current / "usr/share/marked", "user.mark")
    assert "1" == (current / "usr/share/A").read_text()
    assert [] == server.blobs_sent or 1 == len(server.blobs_sent), "all but the top came in lots"
    assert [] == agent.look()


@pytest.mark.servers
@needs_root
def test_drift_of_a_system_is_also_an_owner_a_bit_and_an_attribute(
    server: Server, make_agent: MakeAgent, system: System, root: Path
) -> None:
    server.say(server.desired(system.tree(), root=ONE))
    agent = make_agent(settings={"drift_action": "revert"})
    agent.start()
    agent.step()
    current = root / "current"
    os.chown(current / "etc/app.conf", NOBODY, NOBODY)
    os.chmod(current / "usr/bin/su", 0o755)
    os.removexattr(current / "usr/share/marked", "user.mark")
    (current / "usr/bin/perl5").unlink()
    (current / "usr/bin/perl5").write_text("perl\n")
    (current / "usr/bin/perl5").chmod(0o755)
    (current / "run/greeter.pid").write_text("what runs fills this")
    found = {(drift.path, drift.kind) for drift in agent.look()}
    paths = {"etc/app.conf", "usr/bin/su", "usr/share/marked", "usr/bin/perl", "usr/bin/perl5"}
    assert {(path, "mode") for path in paths} == found
    assert [] == agent.look(), "put right"
    assert 0 == (current / "etc/app.conf").stat().st_uid
    assert 0o104755 == (current / "usr/bin/su").stat().st_mode


@pytest.mark.servers
@needs_root
def test_another_package_set_drains_and_a_plain_file_does_what_its_rule_says(
    server: Server, make_agent: MakeAgent, system: System, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    agent = make_agent()
    agent.start()

    def become(text: str, under: Root) -> list[str]:
        log.write_text("")
        changes: dict[str, TreeEntry | None] = {"etc/app.conf": system.file(text)}
        hooks = logging_hooks(log)
        server.say(server.desired(system.tree(changes), root=under, effects=RULES, hooks=hooks))
        agent.step()
        assert "applied" == server.reports[-1].state, server.reports[-1]
        return log.read_text().split()

    become("1", ONE)
    assert ["reload"] == become("2", ONE)
    assert ["drain", "packages", "resume"] == become("2", TWO)
    hand = Hand(agent.root, content=agent.content)
    log.write_text("")
    assert "applied" == hand.rollback(1).state
    assert ["drain", "packages", "resume"] == log.read_text().split()


@pytest.mark.servers
@needs_root
def test_a_secret_is_never_written_through_a_link_of_a_system(
    server: Server, make_agent: MakeAgent, system: System, root: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.conf").write_text("secret:db")
    (root / "secrets").mkdir(parents=True)
    (root / "secrets/db").write_text("hunter2")
    (root / "secrets/db").chmod(0o600)
    changes: dict[str, TreeEntry | None] = {
        "etc/led": TreeEntry("", "symlink", target=str(outside), uid=0, gid=0),
        "etc/led.conf": TreeEntry("", "symlink", target=str(outside / "secret.conf"), uid=0, gid=0),
        "etc/db.conf": system.file("password = secret:db\n", 0o640, gid=42),
    }
    server.say(server.desired(system.tree(changes), root=ONE, secrets=("db",)))
    agent = make_agent()
    agent.start()
    agent.step()
    assert "applied" == server.reports[-1].state, server.reports[-1]
    there = root / "current/etc/db.conf"
    assert "password = hunter2\n" == there.read_text()
    assert (0o100600, 42) == (there.stat().st_mode, there.stat().st_gid)
    assert "secret:db" == (outside / "secret.conf").read_text()
    assert [] == agent.look()
    (root / "current/etc").rename(root / "current/elsewhere")
    (root / "current/etc").symlink_to(outside)
    assert "etc" in {drift.path for drift in agent.look()}
    assert ["secret.conf"] == os.listdir(outside)


def test_a_device_is_refused_in_any_version(server: Server, make_agent: MakeAgent, system: System) -> None:
    device = TreeEntry("", "character", 0o666, device=(1, 3), uid=0, gid=0)
    agent = make_agent()
    agent.start()
    for more in ({}, {"root": ONE}):
        server.say(server.desired(system.tree({"dev/null": device}), **more))
        agent.step()
        assert "refused" == server.reports[-1].state
        assert not (agent.root / "versions").exists() or [] == os.listdir(agent.root / "versions")
    said = [report.reason for report in server.reports]
    assert any("is a device" in reason or "only root" in reason for reason in said), said


@pytest.mark.parametrize("what", ["pipe", "shared", "marked", "owned", "set-id"])
def test_what_only_a_system_has_is_refused_in_a_plain_version(
    server: Server, make_agent: MakeAgent, system: System, what: str
) -> None:
    plain = msgspec.structs.replace(system.file("x"), name="evil", uid=None, gid=None)
    entries = {
        "pipe": TreeEntry("evil", "pipe", 0o600),
        "shared": msgspec.structs.replace(plain, group="evil"),
        "marked": msgspec.structs.replace(plain, attributes=(("user.a", b"b"),)),
        "owned": msgspec.structs.replace(plain, uid=0, gid=0),
        "set-id": msgspec.structs.replace(plain, mode=0o4755),
    }
    server.say(server.desired(Ref(server.content.put(tree.encode([entries[what]])))))
    agent = make_agent()
    agent.start()
    agent.step()
    assert ("refused", "input.bad") == (server.reports[-1].state, server.reports[-1].code)
    assert "give the release a root" in server.reports[-1].reason


def test_a_lot_that_lies_is_noticed_and_asked_for_again(server: Server, make_agent: MakeAgent) -> None:
    server.lots = []
    server.say(server.desired({"a": b"1", "b": b"2", "c": b"3"}, hooks=logging_hooks(server.directory / "log")))
    honest = server.tamper
    server.tamper = lambda ref, data: data + b"!"
    agent = make_agent()
    agent.start()
    agent.step()
    assert "refused" == server.reports[-1].state
    server.tamper = honest
    agent.step()
    assert "applied" == server.reports[-1].state
    assert b"3" == (agent.root / "current/c").read_bytes()


@pytest.mark.servers
@needs_root
def test_what_somebody_mounted_into_a_version_is_not_emptied_with_it(
    server: Server, make_agent: MakeAgent, system: System, root: Path, tmp_path: Path
) -> None:
    state = tmp_path / "the state"
    state.mkdir()
    (state / "precious").write_text("yes")
    said: list[str] = []
    agent = make_agent(settings={"versions_max": 2}, log=lambda level, message: said.append(message))
    agent.start()
    place = ""
    try:
        for number in range(4):
            changes: dict[str, TreeEntry | None] = {"etc/app.conf": system.file(str(number))}
            server.say(server.desired(system.tree(changes), root=ONE))
            agent.step()
            if not place:
                inside = (root / "current").resolve() / "a b"
                inside.mkdir()
                done = subprocess.run(["mount", "--bind", state, inside], check=False)
                if done.returncode:
                    pytest.skip("needs to mount")
                place = str(inside)
        assert any(f"something is mounted at {place}" in line for line in said), said
        assert "yes" == (state / "precious").read_text()
    finally:
        if place:
            subprocess.run(["umount", place], check=True)
    agent.start()
    changes = {"etc/app.conf": system.file("the last")}
    server.say(server.desired(system.tree(changes), root=ONE))
    agent.step()
    assert not Path(place).exists(), "once it is unmounted it goes"
    assert "yes" == (state / "precious").read_text()


@pytest.mark.servers
@needs_root
def test_a_new_position_for_what_lies_there_writes_nothing_anew(
    server: Server, make_agent: MakeAgent, system: System, root: Path
) -> None:
    server.say(server.desired(system.tree(), root=ONE))
    agent = make_agent()
    agent.start()
    agent.step()
    (root / "current/run/greeter.pid").write_text("1")
    before = (root / "current").resolve().stat().st_ino
    server.say(server.desired(system.tree(), root=ONE, release=1))
    agent.step()
    assert (2, "applied") == (server.reports[-1].position, server.reports[-1].state)
    assert before == (root / "current").resolve().stat().st_ino
    assert "1" == (root / "current/run/greeter.pid").read_text()
