"""A difference is said in one line, and an entry in words."""

from __future__ import annotations

import json
from typing import Any

from boxwork import TreeEntry, ref_of
from boxwork.packs.images.difference import described, mode_text, packages_between, reason


def set_of(*steps: dict[str, Any]) -> bytes:
    return json.dumps({"steps": steps}).encode()


def packages(**versions: str) -> dict[str, Any]:
    return {"kind": "packages", "packages": [[name, version, "all", "x"] for name, version in versions.items()]}


def test_the_reason_names_packages_before_files_before_steps() -> None:
    files, other = {"kind": "files", "files": {"etc/motd": "a"}}, {"kind": "files", "files": {"etc/motd": "b"}}
    before = set_of(packages(a="1", b="1"), files)
    assert "a 1 → 2, −b 1, +c 3" == reason(before, set_of(packages(a="2", c="3"), other))
    assert [("a", "1", "2"), ("b", "1", ""), ("c", "", "3")] == packages_between(before, set_of(packages(a="2", c="3")))
    assert "changed: /etc/motd" == reason(before, set_of(packages(a="1", b="1"), other))
    assert "changed: script" == reason(before, set_of(packages(a="1", b="1"), files, {"kind": "script"}))
    assert "changed: files" == reason(before, set_of(packages(a="1", b="1"), {**files, "owners": "ada"}))


def test_entries_are_described_as_ls_would() -> None:
    assert ["rwsr-xr-x", "rwxr-sr-x", "rwxrwxrwt", "rw-r--r-T"] == [
        mode_text(mode) for mode in (0o4755, 0o2755, 0o1777, 0o1644)
    ]
    assert "-rw-r--r-- 0:7 1,234" == described(TreeEntry("x", "file", 0o644, 1234, ref_of(b""), "", 0, 7))
    assert "lrwxrwxrwx 0:0 → y" == described(TreeEntry("x", "symlink", target="y", uid=0, gid=0))
