"""The command line of images, as a newcomer uses it; and a build that is killed."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from boxwork.cli.program import run
from tests.packs.images.archive_of_debs import Archive, shell_files

pytestmark = [
    pytest.mark.servers,
    pytest.mark.skipif(shutil.which("mmdebstrap") is None, reason="needs Debian's mmdebstrap"),
    pytest.mark.skipif(shutil.which("dpkg-scanpackages") is None, reason="needs Debian's dpkg-dev"),
]


def write_recipe(path: Path, debs: Archive, head: str) -> None:
    base = f'[base]\nvariant = "none"\nsuite = "test"\nsources = "{debs.sources.strip()}"\n'
    path.write_text(f"{head}\n{base}")


def test_an_image_from_its_recipe_to_its_rollback(debs: Archive, tmp_path: Path, capsys: Any) -> None:
    def said(*words: str, code: int = 0) -> Any:
        assert code == run(["--data", str(tmp_path / "data"), "--json", "images", *words])
        lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        return lines[0] if len(lines) == 1 else lines

    write_recipe(tmp_path / "small.toml", debs, 'packages = ["hello"]')
    first = said("build", str(tmp_path / "small.toml"))
    assert (1, True) == (first["version"], first["new"])
    assert not said("build", "small")["new"]
    write_recipe(tmp_path / "small.toml", debs, 'packages = ["world"]')
    assert {"image": "small", "version": 2, "state": "new"} == said("check")
    assert {"what": "package", "name": "world", "before": "", "after": "1.0"} == said("diff", "small", "1", "2")
    assert "usr/share/world/text" in [row["name"] for row in said("diff", "small", "1", "2", "--files")]
    assert {"name": "small", "before": 2, "now": 1} == said("rollback", "small", "--reason", "it was better")
    assert [("✓", 1), ("", 2)] == sorted(
        ((row["counts"], row["version"]) for row in said("versions", "small")), reverse=True
    )
    assert ["it was better", "+world 1.0", "first build"] == [row["why"] for row in said("log", "small")]
    assert {"hello": "1.0"} == said("show", "small")["package_versions"]
    assert 1 == said("list")["version"]
    assert 1 == said("verify", "small")["number"]
    said("export", "small", str(tmp_path / "oci"), "--form", "oci")
    index = json.loads((tmp_path / "oci" / "index.json").read_text())
    assert (tmp_path / "oci" / "blobs" / "sha256" / index["manifests"][0]["digest"][7:]).exists()
    assert "no version of an image 'none'" in said("show", "none", code=1)["message"]


KILLED = """
import sys, boxwork
from pathlib import Path
with boxwork.open(sys.argv[1]) as work:
    work.part("images").builder.build_named(sys.argv[2])
"""


def test_a_builder_that_is_killed_leaves_nothing_running_and_the_next_build_works(
    debs: Archive, work: Any, tmp_path: Path
) -> None:
    debs.put("sh", paths=shell_files())
    write_recipe(
        tmp_path / "busy.toml", debs, 'packages = ["sh"]\nscripts = ["echo it began >&2; while :; do :; done"]'
    )
    place = tmp_path / "killed"
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(place), str(tmp_path / "busy.toml")])
    try:
        log = wait_for(lambda: next((p for p in place.glob("run/images/*.log") if b"it began" in p.read_bytes()), None))
        assert log is not None
        assert running_below()
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert wait_for(lambda: not running_below())
    write_recipe(tmp_path / "busy.toml", debs, 'packages = ["sh"]')
    import boxwork

    with boxwork.open(place) as again:
        assert again.part("images").builder.build_named(str(tmp_path / "busy.toml")).new


def wait_for(look: Any, seconds: float = 60) -> Any:
    """What `look` finds, asked until it finds something."""
    from time import monotonic, sleep

    end = monotonic() + seconds
    while monotonic() < end:
        found = look()
        if found:
            return found
        sleep(0.05)  # between two looks at another process
    return look()


def running_below() -> list[str]:
    """Processes of steps on this machine: the time stamp of this pack in their environment, a scratch folder of it."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            environment, command = path.read_bytes(), path.with_name("cmdline").read_bytes()
        except OSError:
            continue
        if b"SOURCE_DATE_EPOCH=1735689600" in environment and b"boxwork-images-" in command:
            found.append(f"{path.parent.name} {command[:80]!r}")
    return found
