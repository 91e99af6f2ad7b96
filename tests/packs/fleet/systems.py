"""Small systems in the store of a test's node: what a release may stand on."""

from __future__ import annotations

from typing import Any

from boxwork import Ref, TreeEntry, tree
from tests.packs.fleet.conftest import Stage


def status(**versions: str) -> str:
    paragraphs = [
        f"Package: {name}\nStatus: install ok installed\nArchitecture: amd64\nVersion: {version}\nDescription: x\n y\n"
        for name, version in versions.items()
    ]
    return "\n".join([*paragraphs, "Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n"])


class Systems:
    """Small systems in the node's store, pinned as whoever makes images would."""

    def __init__(self, stage: Stage) -> None:
        self.work = stage.work

    def pin(self, name: str = "images/web", text: str = "hello\n", **versions: str) -> Ref:
        ref = self.folder(
            self.entry("bin", "symlink", target="usr/bin"),
            self.entry("dev", ref=self.folder(self.entry("null", "character", device=(1, 3)), self.entry("pts"))),
            self.entry("etc", ref=self.folder(self.file("motd", text), self.file("app.conf", "the image's\n"))),
            self.entry("usr", ref=self.folder(self.entry("bin", ref=self.folder(self.file("su", "su", 0o4755))))),
            self.entry("var", ref=self.under("lib/dpkg", self.file("status", status(**(versions or {"libc6": "1"}))))),
        )
        self.work.pin(ref, name)
        return ref

    def under(self, path: str, *entries: TreeEntry) -> Ref:
        name, _, rest = path.partition("/")
        return self.folder(self.entry(name, ref=self.under(rest, *entries) if rest else self.folder(*entries)))

    def folder(self, *entries: TreeEntry) -> Ref:
        ref: Ref = self.work.put(tree.encode(entries))
        return ref

    def entry(self, name: str, kind: Any = "directory", mode: int = 0o755, **more: Any) -> TreeEntry:
        if kind == "directory":
            more.setdefault("ref", self.folder())
        return TreeEntry(name, kind, 0 if kind == "symlink" else mode, uid=0, gid=0, **more)

    def file(self, name: str, text: str, mode: int = 0o644) -> TreeEntry:
        return self.entry(name, "file", mode, size=len(text.encode()), ref=self.work.put(text.encode()))
