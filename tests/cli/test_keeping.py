from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from boxwork.cli.program import run
from boxwork.keys import ref_of


def test_a_file_that_was_put_comes_out_again(boxwork: Any, tmp_path: Path) -> None:
    path = tmp_path / "my file"
    path.write_bytes(b"hello\n")
    ref = boxwork("put", str(path)).strip()
    assert ref_of(b"hello\n") == ref
    boxwork("get", ref, "--to", str(tmp_path / "out"))
    assert b"hello\n" == (tmp_path / "out").read_bytes()


def test_standard_input_goes_in_and_standard_output_out(boxwork: Any) -> None:
    command = [sys.executable, "-c", "from boxwork.cli import main; main()", "--data", str(boxwork.directory)]
    data = bytes(range(256)) * 1000
    put = subprocess.run([*command, "put"], input=data, capture_output=True, check=True, timeout=60)
    assert ref_of(data) == put.stdout.decode().strip()
    get = subprocess.run([*command, "get", ref_of(data)], capture_output=True, check=True, timeout=60)
    assert data == get.stdout


def test_a_directory_is_put_pinned_and_checked_out_by_its_name(boxwork: Any, tmp_path: Path) -> None:
    (tmp_path / "site" / "a").mkdir(parents=True)
    (tmp_path / "site" / "a" / "b.txt").write_text("b")
    ref = boxwork("put", str(tmp_path / "site"), "--pin", "release").strip()
    assert [{"name": "release", "ref": ref}] == boxwork.json("pins")
    boxwork("get", "release", "--to", str(tmp_path / "out"))
    assert "b" == (tmp_path / "out" / "a" / "b.txt").read_text()
    boxwork("unpin", "release")
    assert "release" in boxwork("unpin", "release", code=1)


def test_a_dry_run_of_gc_says_why_each_blob_stays(boxwork: Any, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    (tmp_path / "b").write_text("b")
    boxwork("put", str(tmp_path / "a"), "--pin", "keep")
    boxwork("put", str(tmp_path / "b"))
    reasons = {row["size"]: row["reason"] for row in boxwork.json("gc", "--dry-run") if row["goes"] == "stays"}
    assert 2 == len(boxwork.json("gc", "--dry-run"))
    assert any("pin keep" in str(row["reason"]) for row in boxwork.json("gc", "--dry-run")), reasons
    assert "pin keep" in boxwork("gc", "--dry-run", "--all")
    assert "pin keep" not in boxwork("gc", "--dry-run")
    assert 0 == run(["--data", str(boxwork.directory), "gc", "--dry-run"])
    assert "0 of 2 blobs would go (0 B), 2 B stay; --all says why" in boxwork.capture.readouterr().err


def test_doctor_finds_a_flipped_bit_and_mends_it_from_a_backup(boxwork: Any, tmp_path: Path) -> None:
    data = bytes(100_000)
    (tmp_path / "big").write_bytes(data)
    ref = boxwork("put", str(tmp_path / "big"), "--pin", "big").strip()
    boxwork("backup", str(tmp_path / "backup"))
    other = tmp_path / "other"
    assert 0 == run(["--data", str(other), "restore", str(tmp_path / "backup")])
    boxwork.forget_what_was_shown()
    blob = next(path for path in (boxwork.directory / "blobs").rglob("*") if path.is_file())
    blob.chmod(0o600)
    blob.write_bytes(b"\1" + data[1:])
    assert "corrupt" == boxwork.json("doctor", "--no-repair", code=1)[0]["trouble"]
    assert "repaired" == boxwork.json("doctor", "--from", str(other))[0]["action"]
    boxwork("get", ref, "--to", str(tmp_path / "out"))
    assert data == (tmp_path / "out").read_bytes()


def test_errors_have_a_code_for_scripts_and_words_for_people(boxwork: Any, tmp_path: Path) -> None:
    assert "no data directory" in boxwork("pins", code=1)
    boxwork("put", str(Path(__file__)))
    answer = boxwork.json("get", "sha256:" + "0" * 64, code=1)
    assert [("blob.missing", "never")] == [(row["error"], row["retry"]) for row in answer]
    assert "64" in boxwork("get", "sha256:12", code=1)
    assert "nowhere" in boxwork("put", str(tmp_path / "nowhere"), code=1)


def test_a_wrong_call_is_told_apart_from_a_refusal(boxwork: Any) -> None:
    boxwork("get", code=2)
    boxwork("nonsense", code=2)
    assert "name=value" in boxwork("--set", "quiet", "pins", code=1)
    assert "no.such" in boxwork("--set", "no.such=1", "put", str(Path(__file__)), code=1)
