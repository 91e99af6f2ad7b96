"""Whatever comes over the line or stands on the disk: the host stays on a good version and says why."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from boxwork import Ref, errors, ref_of
from boxwork.clock import SECOND_NS
from boxwork.packs.fleet.agent import Agent
from boxwork.packs.fleet.agent_settings import AgentSettings
from boxwork.packs.fleet.protocol import Desired, Report, canonical, new_key, public_key, sign
from boxwork.testing.clock import FakeClock
from tests.packs.fleet.agent._server import Server

MakeAgent = Callable[..., Agent]


@pytest.fixture
def agent(server: Server, make_agent: MakeAgent) -> Agent:
    """A host that runs a good version."""
    server.say(server.desired({"good": b"yes"}))
    one = make_agent()
    one.start()
    one.step()
    assert "applied" == server.reports[-1].state
    return one


def refused(server: Server, agent: Agent) -> Report:
    """One step; the good version still runs, nothing was written outside, and the server was told why."""
    agent.step()
    assert b"yes" == (agent.root / "current/good").read_bytes()
    written = [path for path in agent.root.parent.glob("**/evil*") if "server" not in path.parts]
    assert [] == written
    report = server.reports[-1]
    assert "refused" == report.state, report
    assert 1 == report.position
    assert report.healthy
    return report


def test_a_signature_by_another_key_is_refused(server: Server, agent: Agent) -> None:
    server.send(sign(new_key(), server.desired({"evil": b"1"})))
    report = refused(server, agent)
    assert "access.forbidden" == report.code
    assert "is not by the key" in report.reason
    assert 0 == report.wanted_position, "nothing of it was believed, not even its number"


@pytest.mark.parametrize(
    "change",
    [
        lambda document: document.replace('"position":2', '"position":3'),
        lambda document: document.replace("web1", "web2"),
        lambda document: document + " ",
        lambda document: "{}",
    ],
    ids=["position", "host", "a space", "empty"],
)
def test_a_document_that_was_changed_on_its_way_is_refused(
    server: Server, agent: Agent, change: Callable[[str], str]
) -> None:
    signed = sign(server.private, server.desired({"evil": b"1"}))
    server.send(msgspec.structs.replace(signed, document=change(signed.document)))
    assert "is not by the key" in refused(server, agent).reason


def test_a_document_of_a_newer_format_is_refused_whole(server: Server, agent: Agent) -> None:
    server.say(server.desired({"evil": b"1"}, format=2))
    assert "format" == refused(server, agent).code


def test_a_document_for_another_host_is_refused(server: Server, agent: Agent) -> None:
    server.say(server.desired({"evil": b"1"}, host="web2"))
    assert "for the host 'web2'" in refused(server, agent).reason


def test_an_old_document_cannot_be_played_again(server: Server, agent: Agent) -> None:
    old = server.signed
    assert old is not None
    server.say(server.desired({"good": b"yes", "more": b"1"}))
    agent.step()
    server.send(old)
    agent.step()
    assert "is behind" in server.reports[-1].reason
    assert b"1" == (agent.root / "current/more").read_bytes()


def test_another_epoch_is_refused_until_somebody_adopts_it(server: Server, agent: Agent) -> None:
    server.say(server.desired({"good": b"yes", "new": b"1"}, epoch="epoch-2"))
    assert "boxwork fleet agent adopt epoch-2" in refused(server, agent).reason
    from boxwork.packs.fleet.agent_hand import Hand

    Hand(agent.root).adopt("epoch-2")
    agent.step()
    assert b"1" == (agent.root / "current/new").read_bytes()


def test_two_servers_that_disagree_change_nothing(
    server: Server, make_agent: MakeAgent, root: Path, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    other = Server(tmp_path / "other")
    other.private = server.private
    try:
        server.say(server.desired({"good": b"yes"}))
        other.say(other.desired({"evil": b"no"}))
        agent = make_agent(servers=[server.url, other.url])
        agent.start()
        agent.step()
        server.go()  # so the next question goes to the other one
        agent.step()
        agent.step()
        assert "two servers disagree" in other.reports[-1].reason
        assert b"yes" == (root / "current/good").read_bytes()
    finally:
        server.come(server.port)
        other.close()


@pytest.mark.parametrize("how", ["changed", "cut short", "longer", "empty"])
def test_bytes_that_are_not_what_their_name_says_are_refused(server: Server, agent: Agent, how: str) -> None:
    bad = {
        "changed": lambda ref, data: data[:-1] + b"!",
        "cut short": lambda ref, data: data[:-1],
        "longer": lambda ref, data: data + b"!" * 100,
        "empty": lambda ref, data: b"",
    }
    server.tamper = bad[how]
    server.say(server.desired({"good": b"yes", "big": b"x" * 100_000}))
    assert refused(server, agent).code in ("blob.corrupt", "input.bad")
    server.tamper = lambda ref, data: data
    agent.step()
    assert (agent.root / "current/big").exists(), "the same version from an honest line is taken"


def test_small_blobs_come_in_one_answer(server: Server, agent: Agent) -> None:
    ref = server.tree_of({"good": b"yes", "etc/a": b"1", "etc/b": b"2"})
    blobs = [server.content.get(one) for one in server.content.refs()]
    server.pack = msgspec.msgpack.encode(blobs)
    server.blobs_sent.clear()
    server.say(server.desired(ref))
    agent.step()
    assert b"2" == (agent.root / "current/etc/b").read_bytes()
    assert [] == server.blobs_sent


@pytest.mark.parametrize(
    "pack",
    [
        b"garbage",
        b"",
        msgspec.msgpack.encode([1, "x"]),
        msgspec.msgpack.encode([b"evil"]),
        b"\xdd\xff\xff\xff\xff",
        msgspec.msgpack.encode([b"evil" * 1_000_000]),
    ],
    ids=["garbage", "empty", "other types", "foreign", "a length that lies", "too large"],
)
def test_a_bad_answer_of_many_blobs_changes_nothing(server: Server, agent: Agent, pack: bytes) -> None:
    server.pack = pack
    server.say(server.desired({"good": b"yes", "more": b"1"}))
    agent.step()
    assert b"1" == (agent.root / "current/more").read_bytes(), "the blobs came one by one"
    assert not agent.content.has(Ref.parse(ref_of(b"evil")))


HEX = Ref.parse("0" * 64).hex


def entry(name: bytes, size: int = 0, kind: bytes = b"f 0644 -") -> bytes:
    return kind + b" %d " % size + HEX.encode() + b" " + name + b"\0"


@pytest.mark.parametrize(
    "records",
    [
        entry(b"../../evil"),
        entry(b".."),
        entry(b"/etc/evil"),
        entry(b"a/../../evil"),
        entry(b""),
        entry(b"evil\0x"),
        entry(b"evil", kind=b"c 0644 -"),
        entry(b"evil", kind=b"h 0644 -"),
        entry(b"evil", size=1 << 60),
        entry(b"b") + entry(b"a"),
        entry(b"a") + entry(b"a"),
        b"l - evil\0\0",
    ],
    ids=lambda records: repr(records[:30]),
)
def test_a_tree_that_plays_with_names_is_refused(server: Server, agent: Agent, records: bytes) -> None:
    ref = server.content.put(b"boxwork-tree 1\n" + records)
    server.say(server.desired(ref))
    assert refused(server, agent).code in ("blob.corrupt", "input.bad", "limit.size")


@pytest.mark.parametrize(
    "files",
    [
        {"evil": "/etc"},
        {"evil": "../outside"},
        {"deep/evil": "../../outside"},
        {"deep/evil": "x/../../../outside"},
        {"evil.conf": b"1", "EVIL.conf": b"2"},
        {"evil-caf\u00e9": b"1", "evil-cafe\u0301": b"2"},
        {"stra\u00dfe-evil": b"1", "STRASSE-evil": b"2"},
    ],
    ids=["absolute link", "climbing link", "deep link", "link by a name", "case", "unicode form", "sharp s"],
)
def test_links_that_leave_and_names_that_double_are_refused(
    server: Server, agent: Agent, files: dict[str, bytes | str]
) -> None:
    ref = server.tree_of(files)
    server.say(server.desired(ref))
    agent.step()
    report = server.reports[-1]
    assert ("refused", "input.bad", 1) == (report.state, report.code, report.position)
    assert b"yes" == (agent.root / "current/good").read_bytes()
    asked = len(server.reports)
    agent.step()
    assert asked == len(server.reports), "what will never be good is not asked for again"


def test_a_version_larger_than_the_limit_is_refused_before_it_is_fetched(
    server: Server, make_agent: MakeAgent, root: Path
) -> None:
    agent = make_agent(settings={"tree_bytes_max": 1000})
    agent.start()
    server.say(server.desired({"big": b"x" * 2000}))
    agent.step()
    assert "limit.size" == server.reports[-1].code
    assert 1 == len(server.blobs_sent), "the tree alone"


def test_links_planted_where_the_agent_writes_lead_nowhere(server: Server, agent: Agent, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (agent.root / "versions/.making").symlink_to(outside)
    (agent.root / "memory.new").unlink(missing_ok=True)
    server.say(server.desired({"good": b"yes", "more": b"1"}))
    agent.step()
    assert b"1" == (agent.root / "current/more").read_bytes()
    assert [] == list(outside.iterdir())


def test_a_directory_in_the_place_of_current_is_not_touched(server: Server, agent: Agent) -> None:
    current = agent.root / "current"
    current.unlink()
    current.mkdir()
    (current / "somebody's").write_bytes(b"work")
    server.say(server.desired({"good": b"yes", "more": b"1"}))
    agent.step()
    assert "is not a symbolic link" in server.reports[-1].reason
    assert b"work" == (current / "somebody's").read_bytes()
    (current / "somebody's").unlink()
    current.rmdir()
    agent.step()
    assert b"1" == (current / "more").read_bytes(), "with the place free again it goes on by itself"


def test_a_server_that_is_away_for_an_hour_is_asked_seldom_and_the_host_stays(
    server: Server, make_agent: MakeAgent, root: Path
) -> None:
    clock = FakeClock()
    agent = make_agent(now=clock, settings={"drift_s": 0})
    server.say(server.desired({"good": b"yes"}))
    agent.start()
    agent.step()
    server.go()
    end, questions, pauses = clock.monotonic_ns() + 3600 * SECOND_NS, 0, []
    while clock.monotonic_ns() < end:
        pauses.append(agent.step())
        clock.advance(int(pauses[-1] * SECOND_NS))
        questions += 1
    assert 60 <= questions <= 140, "about one a minute"
    assert all(later <= 60 for later in pauses)
    assert b"yes" == (root / "current/good").read_bytes()
    server.come(server.port)
    server.say(server.desired({"good": b"again"}))
    agent.step()
    assert b"again" == (root / "current/good").read_bytes()


@pytest.mark.parametrize("now_ns", [0, 4_102_444_800 * SECOND_NS], ids=["1970", "2100"])
def test_a_wrong_clock_changes_nothing(server: Server, make_agent: MakeAgent, root: Path, now_ns: int) -> None:
    clock = FakeClock(now_ns)
    agent = make_agent(now=clock)
    agent.start()
    for number in range(3):
        server.say(server.desired({"good": b"%d" % number}))
        agent.step()
        assert b"%d" % number == (root / "current/good").read_bytes()
        clock.step(-(number + 1) * 86_400 * SECOND_NS if now_ns else 86_400 * SECOND_NS)
    assert [] == agent.look()


def test_reports_wait_until_a_server_takes_them(server: Server, make_agent: MakeAgent, root: Path) -> None:
    agent = make_agent()
    agent.start()
    server.say(server.desired({"good": b"yes"}))
    agent.step()
    server.go()
    (root / "current/good").write_bytes(b"changed")
    agent.look()
    agent.step()
    assert 1 == len(agent.ledger.read().reports)
    server.come(server.port)
    agent.step()
    assert "drifted" == server.reports[-1].state
    assert [] == agent.ledger.read().reports


@pytest.mark.parametrize(("status", "left"), [(500, 2), (404, 2), (400, 0)])
def test_a_server_that_takes_no_reports_is_still_asked(server: Server, agent: Agent, status: int, left: int) -> None:
    server.reports_status = status
    for number in (2, 3):
        server.say(server.desired({"good": b"yes", "more": b"%d" % number}))
        agent.step()
        assert b"%d" % number == (agent.root / "current/more").read_bytes()
    assert left == len(agent.ledger.read().reports), "what it may take later waits, what it never takes is dropped"


def test_two_agents_do_not_share_a_root(agent: Agent, make_agent: MakeAgent) -> None:
    with pytest.raises(errors.Busy, match=r"agent\.lock"):
        make_agent()


def test_a_root_of_another_host_is_refused(agent: Agent, make_agent: MakeAgent) -> None:
    memory = agent.ledger.read()
    memory.host = "web9"
    agent.ledger.write(memory)
    with pytest.raises(errors.BadInput, match="give each its own --root"):
        agent.start()


def test_a_memory_that_is_damaged_is_named(agent: Agent) -> None:
    (agent.root / "memory.json").write_text('{"format": 1, "runn')
    with pytest.raises(errors.FormatError, match="move it away"):
        agent.ledger.read()


def test_a_key_of_the_wrong_length_is_refused(server: Server) -> None:
    desired = server.desired({"a": b"1"})
    assert canonical(desired) == canonical(msgspec.json.decode(canonical(desired), type=Desired))
    assert 32 == len(public_key(new_key()))
    with pytest.raises(errors.BadInput, match="show and revert"):
        AgentSettings({"drift_action": "burn"}, environment={})


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MiB."""
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m,mode=0755", "tmpfs", place], check=True)
    yield place
    subprocess.run(["umount", "-l", place], check=True)


@pytest.mark.servers  # root: it mounts
def test_a_full_disk_while_staging_leaves_the_version_as_it_is(
    server: Server, make_agent: MakeAgent, small_disk: Path
) -> None:
    agent = make_agent(root=small_disk / "host")
    agent.start()
    server.say(server.desired({"good": b"yes"}))
    agent.step()
    big: dict[str, bytes | str] = {f"part-{number}": bytes([number]) * 1_000_000 for number in range(12)}
    server.say(server.desired({"good": b"yes", **big}))
    agent.step()
    assert b"yes" == (small_disk / "host/current/good").read_bytes()
    report = server.wait_for_report(lambda report: report.state == "refused")
    assert "storage.full" == report.code
    assert "No space left" in report.reason
    subprocess.run(["mount", "-o", "remount,size=64m", small_disk], check=True)
    agent.step()
    assert 13 == len(list((small_disk / "host/current/").iterdir())), "with room it goes on by itself"
