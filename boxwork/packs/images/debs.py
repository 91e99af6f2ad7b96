"""Debian packages by name: apt says which version there is and what its SHA-256 is, and that is its name in the store.

So a package that was fetched once, by anybody, is not fetched again, and nothing but the bytes that the signed index
promises is kept.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from boxwork import Ref, errors

# The name of a package, as Debian's policy has it (5.6.7), so that nothing else reaches a command line.
_NAME = re.compile(r"[a-z0-9][a-z0-9+.-]+")
# apt looks into its lists, and fetches one file.  Unit: seconds.
ASK_S_MAX, FETCH_S_MAX = 60.0, 600.0


def deb(work: Any, name: str) -> Ref:
    """The ref of the package's .deb, as apt would install it now.  Raises `BadInput` for what apt does not know."""
    facts = candidate(name)
    ref = Ref.parse(facts["SHA256"])
    if not work.has(ref):
        found: Ref = work.put(_fetch(name, facts["Version"]))
        if found != ref:
            raise errors.BadInput(
                f"apt gave {found} for {name} {facts['Version']}, its index says {ref}: apt-get update"
            )
    work.pin(ref, f"images/deb/{name}")
    return ref


def kernel_package(name: str = "linux-image-cloud-amd64") -> str:
    """The package with a kernel in it: the one that `name` depends on if it only names another."""
    for need in re.split(r"[,|]", candidate(name).get("Depends", "")):
        word = need.split("(")[0].strip()
        if word.startswith("linux-image-"):
            return word
    return name


def candidate(name: str) -> dict[str, str]:
    """What apt says of the version it would install: the fields of its index."""
    if not _NAME.fullmatch(name):
        raise errors.BadInput(f"{name[:80]!r} is no name of a package")
    told = _run(["apt-cache", "show", "--no-all-versions", name], ASK_S_MAX)
    facts: dict[str, str] = {}
    for line in told.splitlines():
        field, colon, value = line.partition(": ")
        if colon and not field.startswith(" "):
            facts.setdefault(field, value)
    if "SHA256" not in facts:
        raise errors.BadInput(f"apt knows no package {name!r}: `apt-get update`, or check the name and the sources")
    return facts


def _fetch(name: str, version: str) -> bytes:
    with tempfile.TemporaryDirectory(prefix="boxwork-deb-") as folder:
        # Without root apt cannot drop its rights, and with root its own user could not write here.
        _run(["apt-get", "download", "-o", "APT::Sandbox::User=root", f"{name}={version}"], FETCH_S_MAX, folder)
        found = list(Path(folder).glob("*.deb"))
        if len(found) != 1:
            raise errors.BadInput(f"apt-get download {name}={version} brought {len(found)} packages")
        return found[0].read_bytes()


def _run(command: list[str], limit_s: float, folder: str | None = None) -> str:
    if shutil.which(command[0]) is None:
        raise errors.BadInput(f"there is no {command[0]} here: packages come from a Debian or Ubuntu machine")
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, timeout=limit_s, check=False)
    except subprocess.TimeoutExpired:
        raise errors.Timeout(f"{' '.join(command)} took longer than {limit_s:g} s: is the mirror there?") from None
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip()[-300:]
        raise errors.BadInput(f"{' '.join(command)} failed: {reason}")
    return done.stdout.decode(errors="replace")
