"""A change on its way from a store to hosts: versions, rollouts, going back, and what wakes whom."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import boxwork
from boxwork.errors import BadInput, BoxworkError, NotFound, Refused
from boxwork.packs.fleet import protocol
from boxwork.packs.fleet.bundle import BadTemplate
from boxwork.packs.fleet.decisions import heard, report, spell
from boxwork.packs.fleet.plan import Latency, Plan
from boxwork.packs.fleet.sources.source import SourceFailed
from boxwork.packs.fleet.table import BadTable

# --- what a host is told


def test_a_host_is_told_a_tree_made_of_templates_and_its_row(stage: Any) -> None:
    stage.rows["web1"] |= {"workers": "7", "password": "secret:db"}
    stage.save()
    stage.roll_out(stage.publish().number)
    desired = stage.desired("web1")
    tree = stage.work.tree(desired.tree)
    assert b"host=web1 workers=7 password=secret:db\n" == tree.read("etc/app.conf")
    assert ["bin", "bin/health", "etc", "etc/app.conf", "etc/motd"] == [path for path, _ in tree.walk()]
    assert ("nginx=1.22",) == desired.packages
    assert ("db",) == desired.secrets
    assert "reload" == desired.effect_of("etc/app.conf")
    assert ("bin/health",) == desired.hooks.health.command
    assert (1, 1, False) == (desired.release, desired.position, desired.rollback)


def test_equal_inputs_make_equal_trees_and_why_answers(stage: Any) -> None:
    stage.roll_out(stage.publish().number)
    why = stage.work.why(boxwork.Ref(stage.desired("web1").tree))
    assert "fleet.directory" == why.record.name
    app = stage.work.tree(stage.desired("web1").tree).find("etc/app.conf").content
    assert "fleet.render" == stage.work.why(app).record.name


def test_a_template_that_asks_for_what_no_row_has_is_refused_before_there_is_a_version(stage: Any) -> None:
    stage.write("etc/app.conf.j2", "{{ wrokers }}\n")
    with pytest.raises(BadTemplate, match="etc/app.conf.j2 cannot be filled in for web0: .*wrokers"):
        stage.publish()
    assert 0 == stage.fleet.mirror.latest


@pytest.mark.parametrize("text", ["{{ host.__class__.__mro__ }}", "{{ ''.__class__ }}", "{% include '/etc/passwd' %}"])
def test_a_template_reaches_nothing_but_its_row(stage: Any, text: str) -> None:
    stage.write("etc/app.conf.j2", text)
    with pytest.raises(BadTemplate):
        stage.publish()


def test_a_manifest_that_cannot_be_read_says_what_is_wrong(stage: Any) -> None:
    stage.write("release.toml", '[columns.workers]\ntype = "integre"\n')
    with pytest.raises(BadInput, match="release.toml: Invalid enum value 'integre'"):
        stage.publish()


def test_a_version_needs_a_reason(stage: Any) -> None:
    with pytest.raises(BadInput, match="has a reason"):
        stage.publish(" ")


def test_publishing_what_is_published_is_refused(stage: Any) -> None:
    stage.publish()
    with pytest.raises(Refused, match="nothing differs from version 1"):
        stage.publish()


# --- the facade


def test_an_edit_of_one_row_changes_one_document(stage: Any) -> None:
    stage.roll_out(stage.publish().number)
    before = stage.digests()
    stage.rows["web1"]["workers"] = "9"
    stage.save()
    version = stage.fleet.follow_source()
    assert ("the source", "web1: workers 4 → 9") == (version.author, version.reason)
    stage.conductor.tick()  # it begins by itself
    assert 1 == stage.fleet.mirror.rollout().cohort
    for _ in range(5):
        stage.conductor.tick()
        stage.answer()
        stage.advance(60)
    after = stage.digests()
    assert {"web1"} == {host for host in after if before[host] != after[host]}


def test_an_unchanged_source_makes_no_version(stage: Any) -> None:
    stage.publish()
    assert stage.fleet.follow_source() is None
    stage.sheet.touch()
    assert stage.fleet.follow_source() is None
    assert 1 == stage.fleet.mirror.latest


def test_swapping_the_store_behind_the_facade_goes_unnoticed(stage: Any, tmp_path: Path) -> None:
    stage.roll_out(stage.publish().number)
    before = stage.digests()
    woken: list[set[str]] = []
    database = tmp_path / "fleet.db"
    with sqlite3.connect(database) as connection:
        connection.execute("CREATE TABLE hosts (host TEXT, workers INTEGER, color TEXT, password TEXT)")
        connection.executemany("INSERT INTO hosts VALUES (?, 4, 'red', NULL)", [(host,) for host in stage.rows])
    connection.close()
    folder = tmp_path / "hosts"
    folder.mkdir()
    for host in stage.rows:
        (folder / f"{host}.toml").write_text("workers = 4\n")
    stage.work.pin(stage.work.put_tree(folder).ref, "hosts")
    for source in (f"sqlite:{database}", f"folder:{folder}", "tree:hosts"):
        stage.reopen(**{"fleet.source": source})
        stage.fleet.mirror.moved.append(woken.append)
        assert stage.fleet.follow_source() is None
        stage.conductor.tick()
        assert before == stage.digests()
        assert 1 == stage.fleet.mirror.latest
    assert [] == woken


def test_a_tree_in_the_store_is_a_source_and_another_one_under_its_name_moves_the_rows(
    stage: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "hosts"
    folder.mkdir()
    for host in stage.rows:
        (folder / f"{host}.toml").write_text("workers = 4\n")
    stage.reopen(**{"fleet.source": "tree:hosts"})
    with pytest.raises(SourceFailed, match="nothing is pinned as 'hosts': `boxwork put FOLDER`"):
        stage.publish()
    first = stage.work.put_tree(folder).ref
    stage.work.pin(first, "hosts")
    stage.roll_out(stage.publish().number)
    (folder / "web1.toml").write_text("workers = 9\n")
    assert stage.fleet.follow_source() is None  # the folder is not the tree
    stage.work.pin(stage.work.put_tree(folder).ref, "hosts")
    assert "web1: workers 4 → 9" == stage.fleet.follow_source().reason
    stage.work.pin(first, "hosts")
    assert "web1: workers 9 → 4" == stage.fleet.follow_source().reason


def test_a_bad_row_serves_the_last_good_table_on_and_is_told(stage: Any) -> None:
    stage.roll_out(stage.publish().number)
    before = stage.digests()
    stage.rows["web1"]["workers"] = "lots"
    stage.save()
    with pytest.raises(BadTable, match="line 3 \\(web1\\), column workers: 'lots'"):
        stage.fleet.follow_source()
    stage.advance(90)
    assert before == stage.digests()
    health = stage.fleet.facade.health
    assert "column workers" in health.problem
    assert 90e9 == stage.clock.now_ns() - health.good_at_ns
    stage.rows["web1"]["workers"] = "4"
    stage.save()
    assert stage.fleet.follow_source() is None
    assert "" == stage.fleet.facade.health.problem


def test_a_source_that_is_away_keeps_its_last_good_table_for_a_new_template(stage: Any) -> None:
    stage.publish()
    stage.sheet.unlink()
    with pytest.raises(BoxworkError, match="cannot be read"):
        stage.fleet.follow_source()
    stage.write("etc/motd.j2", "welcome to {{ host }}\n")
    version = stage.publish("a new motd")
    assert stage.rows.keys() == stage.fleet.table(version).rows.keys()


def test_what_was_read_is_an_observation(stage: Any) -> None:
    stage.publish()
    seen = stage.work.latest("fleet.source", f"csv:{stage.sheet}")
    assert stage.sheet.read_bytes() == stage.work.get(seen.ref)


def test_a_rejected_reading_is_not_kept(stage: Any) -> None:
    stage.publish()
    stage.rows["web1"]["password"] = "hunter2"  # the secret itself, by mistake
    stage.save()
    with pytest.raises(BadTable):
        stage.fleet.follow_source()
    assert 1 == len(list(stage.work.history("fleet.source")))


def test_held_changes_become_a_version_and_wait(stage: Any) -> None:
    stage.reopen(**{"fleet.on_source_change": "hold"})
    stage.roll_out(stage.publish().number)
    stage.rows["web1"]["workers"] = "9"
    stage.save()
    assert 2 == stage.fleet.follow_source().number
    stage.conductor.tick()
    assert stage.fleet.mirror.rollout() is None


def test_a_host_that_left_the_sheet_is_told_nothing_more(stage: Any) -> None:
    stage.roll_out(stage.publish().number)
    del stage.rows["web2"]
    stage.save()
    version = stage.fleet.follow_source()
    assert "web2 is gone" == version.reason
    stage.roll_out(version.number)
    assert stage.desired("web2") is None


# --- rollouts


def test_a_rollout_goes_in_steps_and_waits_for_answers_and_baking(make_stage: Callable[[int], Any]) -> None:
    stage = make_stage(100)
    number = stage.fleet.start(stage.publish().number, Plan(first=0.1, bake_s=30), who="ada", why="x").number
    moved = []
    for _ in range(40):
        stage.conductor.tick()
        moved.append(stage.rollout(number).moved)
        if len(moved) % 2:
            stage.answer()
        else:
            stage.advance(31)
    assert [10, 20, 40, 80, 100] == sorted(set(moved))
    assert "done" == stage.rollout(number).state
    assert 1 == stage.fleet.present()


def test_a_bad_configuration_goes_back_before_a_twentieth_of_the_cohort_had_it(
    make_stage: Callable[[int], Any],
) -> None:
    stage = make_stage(500)
    stage.roll_out(stage.publish().number, kind="once")
    stage.write("etc/motd.j2", "a bad one\n")
    rollout = stage.fleet.start(stage.publish("bad").number, Plan(bake_s=10), who="ada", why="x")
    reached: set[str] = set()
    for _ in range(20):
        stage.conductor.tick()
        reached |= {h for h, one in stage.fleet.mirror.assigned.items() if one.release == 2}
        stage.answer(lambda host, desired: "health: exit 1" if desired.release == 2 else "")
        stage.advance(5)
    over = stage.rollout(rollout.number)
    assert "reverted" == over.state
    assert 0 < len(reached) < 0.05 * 500
    assert {1} == {one.release for one in stage.fleet.mirror.assigned.values()}
    assert all(stage.desired(host).rollback for host in reached)
    assert "health: exit 1" in over.events[-1].why
    assert 1 == stage.fleet.present()


def test_a_host_that_goes_back_has_a_higher_position_and_the_bytes_it_had(stage: Any) -> None:
    stage.roll_out(stage.publish().number)
    before = stage.desired("web1")
    stage.write("etc/motd.j2", "v2\n")
    stage.roll_out(stage.publish("v2").number)
    stage.roll_out(1, kind="once")
    after = stage.desired("web1")
    assert (before.tree, 1, True) == (after.tree, after.release, after.rollback)
    assert before.position < after.position


def test_a_latency_of_our_own_histograms_stops_a_rollout(stage: Any) -> None:
    stage.roll_out(stage.publish().number)
    stage.write("etc/motd.j2", "slow\n")
    gate = Latency("shop.cart", p99_ms=50, window_s=60, samples_min=10)
    rollout = stage.fleet.start(stage.publish("slow").number, Plan(bake_s=60, latency=gate), who="ada", why="x")
    stage.conductor.tick()
    stage.answer()
    series = stage.work.pulse.series("shop.cart")
    for _ in range(20):
        series.record(80_000_000)
    stage.advance(2)
    stage.work.pulse.tick()
    stage.conductor.tick()
    over = stage.rollout(rollout.number)
    assert "reverted" == over.state
    assert "p99 of shop.cart is 8" in over.events[-1].why


def test_silent_hosts_pause_a_rollout_and_a_person_resumes_it(make_stage: Callable[[int], Any]) -> None:
    stage = make_stage(20)
    rollout = stage.fleet.start(stage.publish().number, Plan(first=0.5, bake_s=1, ack_s=60), who="ada", why="x")
    stage.conductor.tick()
    stage.advance(61)
    stage.conductor.tick()
    paused = stage.rollout(rollout.number)
    assert ("paused", 10) == (paused.state, paused.moved)
    assert "10 of 10 hosts have not answered for 60 s" in paused.events[-1].why
    stage.advance(600)
    assert stage.conductor.tick() is None  # it waits for a person
    stage.fleet.steer(rollout.number, "running", who="ada", why="the switch is back")
    for _ in range(9):
        stage.answer()
        stage.conductor.tick()
        stage.advance(2)
    assert "done" == stage.rollout(rollout.number).state


def test_an_abort_takes_back_what_was_moved(make_stage: Callable[[int], Any]) -> None:
    stage = make_stage(20)
    stage.roll_out(stage.publish().number, kind="once")
    before = {host: stage.desired(host).tree for host in stage.rows}
    stage.write("etc/motd.j2", "v2\n")
    rollout = stage.fleet.start(stage.publish("v2").number, Plan(first=0.5), who="ada", why="x")
    stage.conductor.tick()
    assert before != {host: stage.desired(host).tree for host in stage.rows}
    stage.fleet.steer(rollout.number, "aborted", who="bob", why="not on a friday")
    assert before == {host: stage.desired(host).tree for host in stage.rows}
    with pytest.raises(Refused, match="aborted: it is over"):
        stage.fleet.steer(rollout.number, "running", who="bob", why="again")


def test_one_rollout_at_a_time(stage: Any) -> None:
    number = stage.publish().number
    stage.fleet.start(number, Plan(), who="ada", why="x")
    with pytest.raises(Refused, match="rollout 1 is not over"):
        stage.fleet.start(number, Plan(), who="bob", why="y")


def test_a_step_is_taken_once_whoever_comes_first(stage: Any) -> None:
    rollout = stage.fleet.start(stage.publish().number, Plan(), who="ada", why="x")
    stage.fleet.take_step(rollout, "the first ones")
    with pytest.raises(Refused, match="is at step 1, not 0"):
        stage.fleet.take_step(rollout, "the first ones")
    assert 1 == stage.rollout(rollout.number).moved


def test_a_version_that_was_taken_back_does_not_come_again_by_itself(stage: Any) -> None:
    stage.roll_out(stage.publish().number)
    stage.rows["web1"]["workers"] = "9"
    stage.save()
    stage.fleet.follow_source()
    stage.conductor.tick()
    stage.conductor.tick()
    stage.answer(lambda host, desired: "no")
    stage.conductor.tick()
    assert "reverted" == stage.rollout(2).state
    for _ in range(5):
        stage.advance(60)
        stage.fleet.follow_source()
        stage.conductor.tick()
    assert 2 == stage.fleet.mirror.last_rollout


def test_who_when_and_why_are_in_the_history(stage: Any) -> None:
    stage.roll_out(stage.publish("a new port").number)
    told = [(row["what"], row["who"], row["why"]) for row in stage.fleet.history()]
    assert ("version 1", "ada", "a new port") in told
    assert ("rollout 1 start", "ada", "version 1 to 3 hosts: a test") in told
    assert ("rollout 1 done", "boxwork", "all hosts are well") == told[0]


# --- staying alive


def test_a_server_that_ended_between_two_steps_goes_on_where_it_was(make_stage: Callable[[int], Any]) -> None:
    stage = make_stage(40)
    rollout = stage.fleet.start(stage.publish().number, Plan(first=0.1, bake_s=0), who="ada", why="x")
    seen = []
    for _ in range(12):
        stage.conductor.tick()
        stage.answer()
        seen.append(stage.rollout(rollout.number).moved)
        stage.reopen()
    assert [4, 8, 16, 32, 40] == sorted(set(seen))
    assert "done" == stage.rollout(rollout.number).state


def test_a_document_is_the_same_after_a_restart(stage: Any) -> None:
    stage.roll_out(stage.publish().number)
    before = stage.digests()
    stage.reopen()
    assert before == stage.digests()


def test_what_the_cache_lost_is_made_again_when_a_host_asks(stage: Any) -> None:
    stage.roll_out(stage.publish().number)
    tree = boxwork.Ref(stage.desired("web1").tree)
    file = stage.work.tree(tree).find("etc/app.conf").content
    for ref in (file, tree):
        stage.work.content.delete(ref)
        assert not stage.work.has(ref)
        assert ref == boxwork.ref_of(stage.fleet.blob("web1", ref))


def test_a_host_reads_its_own_blobs_and_no_others(stage: Any) -> None:
    stage.roll_out(stage.publish().number)
    other = stage.work.tree(stage.desired("web2").tree).find("etc/app.conf").content
    with pytest.raises(NotFound):
        stage.fleet.blob("web1", other)
    with pytest.raises(NotFound):
        stage.fleet.blob("web1", stage.work.put(b"something else"))
    with pytest.raises(NotFound):
        stage.fleet.blob("nobody", other)


def test_the_key_is_made_once_and_only_its_owner_reads_it(stage: Any) -> None:
    key = stage.fleet.private_key
    path = stage.root / "data" / "keys" / "fleet.ed25519"
    assert 0o600 == path.stat().st_mode & 0o777
    stage.reopen()
    assert key == stage.fleet.private_key
    assert protocol.public_key(key) != key


def test_secrets_stand_nowhere_in_the_data_directory(stage: Any) -> None:
    stage.rows["web1"]["password"] = "secret:db"
    stage.save()
    stage.roll_out(stage.publish().number)
    stage.rows["web1"]["password"] = "hunter2-the-secret-itself"
    stage.save()
    with pytest.raises(BadTable):
        stage.fleet.follow_source()
    stage.close()
    held = [path for path in (stage.root / "data").rglob("*") if path.is_file()]
    assert held
    assert not [path for path in held if b"hunter2" in path.read_bytes()]
    stage.open()


# --- what hosts say


def test_what_an_earlier_version_kept_of_a_host_is_read_and_goes_on(stage: Any) -> None:
    stage.roll_out(stage.publish().number)
    refused = protocol.Report(host="web1", position=1, state="refused", wanted_position=7, code="sig", reason="bad key")
    stage.work.commit(report, refused)  # as it was put before: a Struct
    stage.reopen()
    before = stage.fleet.mirror.status["web1"]
    assert (7, "bad key", refused) == (before.failed, before.failure, before.report)
    drift = (protocol.Drift(path="etc/ä", kind="changed", found_ns=5),)
    drifted = protocol.Report(host="web1", position=1, state="drifted", drift=drift, drift_count=1, stage_ms=0.5)
    assert stage.work.commit(heard, spell(drifted))
    after = stage.fleet.mirror.status["web1"]
    assert (7, "bad key", drifted) == (after.failed, after.failure, after.report)
    assert ["applied", "refused", "drifted"] == [news.state for news in after.events]
    assert isinstance(stage.work.commit_many(heard, [(spell(drifted),)] * 20)[-1], bool)
    assert after.events == stage.fleet.mirror.status["web1"].events


def test_many_reports_run_as_one(make_stage: Any) -> None:
    stage = make_stage(30)
    stage.roll_out(stage.publish().number)
    said = [protocol.Report(host=f"web{number}", position=1, state="drifted") for number in range(30)]
    assert [True] * 30 == stage.work.commit_many(heard, [(spell(one),) for one in said])
    assert said == [stage.fleet.mirror.status[one.host].report for one in said]
