from __future__ import annotations

import os
from pathlib import Path

import pytest

import boxwork
from boxwork.app.node import Node
from boxwork.errors import BadInput, FormatError, NotFound


def test_two_openers_of_one_directory_share_one_node_and_the_last_closes_it(tmp_path: Path) -> None:
    first = boxwork.open(tmp_path / "d")
    second = boxwork.open(tmp_path / "x" / ".." / "d")
    assert first.node is second.node
    first.close()
    ref = second.put(b"still open")
    assert b"still open" == second.get(ref)
    second.close()
    second.close()
    assert {} == Node._nodes


def test_another_opener_may_not_ask_for_other_settings(tmp_path: Path) -> None:
    with boxwork.open(tmp_path / "d", settings={"node.threads": 2}):
        with pytest.raises(BadInput, match="other settings"):
            boxwork.open(tmp_path / "d", settings={"node.threads": 3})
        boxwork.open(tmp_path / "d", settings={"node.threads": 2}).close()


def test_a_foreign_directory_is_refused_and_nothing_stays_open(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(FormatError, match=r"thesis\.tex"):
        boxwork.open(tmp_path)
    assert {} == Node._nodes


def test_a_node_that_cannot_start_closes_what_it_had_opened(tmp_path: Path) -> None:
    root = tmp_path / "d"
    boxwork.open(root).close()
    (root / "boxwork.toml").write_text('derive.wait_s_max = "soon"\n')
    with pytest.raises(BadInput, match=r"derive\.wait_s_max"):
        boxwork.open(root)
    (root / "boxwork.toml").unlink()
    with boxwork.open(root) as work:
        work.put(b"fine again")


def test_settings_come_from_the_directory_the_environment_and_flags(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "d"
    boxwork.open(root).close()
    (root / "boxwork.toml").write_text("[node]\nthreads = 3\n[derive]\nfailure_ttl_s = 4\n")
    monkeypatch.setenv("BOXWORK_DERIVE_FAILURE_TTL_S", "5")
    with boxwork.open(root, settings={"content.gc_grace_s": 7}) as work:
        assert (3, 5.0, 7) == (
            work.settings["node.threads"],
            work.settings["derive.failure_ttl_s"],
            work.settings["content.gc_grace_s"],
        )


def test_a_forked_child_has_no_node_and_the_parent_keeps_its_own(tmp_path: Path) -> None:
    with boxwork.open(tmp_path / "d") as work:
        ref = work.put(b"parent")
        child = os.fork()
        if child == 0:
            code = 1
            try:
                if not Node._nodes:
                    with boxwork.open(tmp_path / "d") as mine:
                        code = 0 if mine.get(ref) == b"parent" else 2
            finally:
                os._exit(code)
        assert 0 == os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert b"parent" == work.get(ref)
        work.put(b"and writes")


def test_a_pack_without_a_part_is_named_in_the_error(tmp_path: Path) -> None:
    with boxwork.open(tmp_path / "d") as work, pytest.raises(NotFound, match="thumbs"):
        work.part("nothing")


def test_the_histograms_go_where_the_setting_says(tmp_path: Path) -> None:
    shared = {"pulse.history": str(tmp_path / "shared")}
    with boxwork.open(tmp_path / "a", settings=shared) as work:
        work.pulse.series("of.a").record(1)
    assert not (tmp_path / "a" / "pulse").exists()
    with boxwork.open(tmp_path / "b", settings=shared) as work:
        assert "of.a" in {info.name.name for info in work.pulse.catalog()}
    with pytest.raises(BadInput, match=r"pulse\.history of flag is 'elsewhere': write redis://host:port"):
        boxwork.open(tmp_path / "c", settings={"pulse.history": "elsewhere"})
