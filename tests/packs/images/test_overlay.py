"""Changing a root as a value: files, users and units, as a process inside would see them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from boxwork import Tree, TreeEntry, errors, tree
from boxwork.packs.images import steps
from boxwork.packs.images.overlay import entry_at, locate, replace_files


def tree_of(work: Any, files: dict[str, Any]) -> Tree:
    """A root of texts, and of links where the value is ("->", target)."""
    changes: dict[str, TreeEntry | None] = {}
    for path, value in files.items():
        if isinstance(value, tuple):
            changes[path] = TreeEntry("", "symlink", target=value[1], uid=0, gid=0)
        else:
            ref = work.put(value.encode(), durable=False)
            changes[path] = TreeEntry("", "file", 0o644, len(value), ref, "", 0, 0)
    return replace_files(work.content, Tree(work.put(tree.encode([])), work.content), changes)


ROOT = {
    "lib": ("->", "usr/lib"), "usr/lib/there": "x", "etc/passwd": "root:x:0:0:root:/root:/bin/sh\n",
    "etc/group": "root:x:0:\nadm:x:4:\n", "etc/shadow": "root:*:1:0:99999:7:::\n",
    "usr/lib/systemd/system/web.service": "[Install]\nWantedBy=multi-user.target\nAlias=www.service\nAlso=web.socket\n",
    "usr/lib/systemd/system/web.socket": "[Install]\nWantedBy=sockets.target\n",
    "usr/lib/systemd/system/tty@.service": "[Install]\nWantedBy=getty.target\nDefaultInstance=tty1\n",
    "usr/lib/systemd/system/plain.service": "[Unit]\n",
}  # fmt: skip


def test_links_on_the_way_are_followed_and_cannot_lead_out(work: Any) -> None:
    root = tree_of(work, {**ROOT, "up": ("->", "../../../usr"), "round": ("->", "round")})
    assert "usr/lib/there" == locate(root, "lib/there")
    assert "usr/lib/there" == locate(root, "/up/lib/there")
    with pytest.raises(errors.BadInput, match="goes in a circle"):
        locate(root, "round/x")
    changed = replace_files(work.content, root, {"lib/more": root.find("usr/lib/there")})
    assert b"x" == changed.read("usr/lib/more")
    assert "symlink" == changed.find("lib").kind


def test_files_are_put_over_a_root_with_their_owners(work: Any) -> None:
    root, overlay = tree_of(work, ROOT), tree_of(work, {"etc/new": "new", "lib/there": "y"})
    built = work.tree(work.derive(steps.files, root=root, overlay=overlay, owners=(("etc/new", "root:adm"),)))
    assert (b"new", (0, 4)) == (built.read("etc/new"), (built.find("etc/new").uid, built.find("etc/new").gid))
    assert b"y" == built.read("usr/lib/there")


def test_a_folder_keeps_its_modes_and_its_owner_holds_for_all_in_it(work: Any) -> None:
    root, overlay = tree_of(work, ROOT), tree_of(work, {"srv/a/deep/x": "1", "etc/y": "2", "srv/b": "3"})
    narrow = msgspec.structs.replace(overlay.find("srv/a/deep"), mode=0o700)
    overlay = replace_files(work.content, overlay, {"srv/a/deep": narrow})
    built = work.tree(work.derive(steps.files, root=root, overlay=overlay, owners=(("srv/a", "7:8"),)))
    found = {path: (entry.mode, entry.uid, entry.gid) for path, entry in built.walk() if path.startswith("srv")}
    assert {
        "srv": (0o755, 0, 0), "srv/a": (0o755, 7, 8), "srv/a/deep": (0o700, 7, 8), "srv/a/deep/x": (0o644, 7, 8),
        "srv/b": (0o644, 0, 0),
    } == found  # fmt: skip
    assert root.find("etc").mode == built.find("etc").mode


def test_nothing_can_lie_below_a_file(work: Any) -> None:
    with pytest.raises(errors.BadInput, match="etc/passwd is a file, so nothing can lie below it"):
        replace_files(work.content, tree_of(work, ROOT), {"etc/passwd/x": TreeEntry("", "pipe", 0o600)})


def test_users_are_written_into_the_account_files(work: Any) -> None:
    root = tree_of(work, ROOT)
    row = ("ada", 0, "/home/ada", "/bin/bash", ("adm",), "Ada L.")
    built = work.tree(work.derive(steps.users, root=root, users=(row,), epoch_s=86_400 * 10))
    assert built.read("etc/passwd").endswith(b"ada:x:1000:1000:Ada L.:/home/ada:/bin/bash\n")
    assert b"root:x:0:\nadm:x:4:ada\nada:x:1000:\n" == built.read("etc/group")
    assert built.read("etc/shadow").endswith(b"ada:!:10:0:99999:7:::\n")
    assert (0o750, 1000) == (built.find("home/ada").mode, built.find("home/ada").uid)
    with pytest.raises(errors.DerivationFailed, match="'ada' is in the image already"):
        work.derive(steps.users, root=built, users=(row,), epoch_s=0)


def test_units_are_enabled_as_systemctl_would(work: Any) -> None:
    root = tree_of(work, ROOT)
    built = work.tree(work.derive(steps.services, root=root, enable=("web", "tty@.service"), disable=(), mask=("x",)))
    links = {path: entry.target for path, entry in built.walk() if entry.kind == "symlink" and path.startswith("etc/")}
    above, instance = "/usr/lib/systemd/system", "tty@" + "tty1.service"
    assert {
        "etc/systemd/system/multi-user.target.wants/web.service": f"{above}/web.service",
        "etc/systemd/system/www.service": f"{above}/web.service",
        "etc/systemd/system/sockets.target.wants/web.socket": f"{above}/web.socket",
        f"etc/systemd/system/getty.target.wants/{instance}": f"{above}/tty@.service",
        "etc/systemd/system/x.service": "/dev/null",
    } == links
    off = work.tree(work.derive(steps.services, root=built, enable=(), disable=("web",), mask=()))
    assert entry_at(off, "etc/systemd/system/multi-user.target.wants/web.service") is None
    for unit, said in (("none", "there is no unit 'none.service'"), ("plain", "has no .Install.")):
        with pytest.raises(errors.DerivationFailed, match=said):
            work.derive(steps.services, root=root, enable=(unit,), disable=(), mask=())
