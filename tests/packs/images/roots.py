"""Small roots for machines: a shell, and a health check that says what the test wants."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from boxwork import Tree
from boxwork.packs.images.debs import deb
from boxwork.packs.images.initrd import busybox_of

CONTENT = "#!/bin/sh\nexit 0\n"
SICK = "#!/bin/sh\necho the database is not there\nexit 2\n"
CRASHING = "#!/bin/sh\necho c >/proc/sysrq-trigger\n"
NEVER = "#!/bin/sh\nexit 1\n"


# What machines boot, as `tools/essential-debs` fetched it; without it `deb` asks the mirror of this machine.
BOOT = Path(__file__).resolve().parents[3] / ".cache" / "debs" / "boot"


def take_boot_packages(work: Any) -> None:
    """Keep the kernel and the shell that were fetched before, so that no test asks a mirror."""
    for package in BOOT.glob("*.deb"):
        work.put(package)


def make_root(work: Any, folder: Path, check: str = CONTENT, **files: str) -> Tree:
    """A root of one program, and this health check; `files` make it another version."""
    (folder / "bin").mkdir(parents=True, exist_ok=True)
    (folder / "bin/busybox").write_bytes(busybox_of(work.get(deb(work, "busybox-static"))))
    (folder / "bin/sh").symlink_to("busybox")
    checks = folder / "etc/boxwork/health.d"
    checks.mkdir(parents=True, exist_ok=True)
    (checks / "10-check").write_text(check)
    for path in (folder / "bin/busybox", checks / "10-check"):
        path.chmod(0o755)
    for name, text in files.items():
        (folder / "etc" / name).write_text(text)
    tree: Tree = work.put_tree(folder)
    return tree
