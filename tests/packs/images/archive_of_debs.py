"""A small archive of packages for tests: made by dpkg-deb, listed by dpkg-scanpackages, read by apt from a folder."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any


class Archive:
    """Packages that are put here can be installed; a package put again in a new version replaces the old one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.folder.mkdir(parents=True, exist_ok=True)

    @property
    def sources(self) -> str:
        """For [base] of a recipe.  Nobody signs it, which the sources have to say."""
        return f"deb [trusted=yes] copy:{self.folder} ./\n"

    def put(
        self,
        name: str,
        version: str = "1.0",
        files: dict[str, str | bytes] | None = None,
        depends: str = "",
        postinst: str = "",
        modes: dict[str, int] | None = None,
        paths: dict[str, Path] | None = None,
    ) -> None:
        """A package with these files (path → content) and with copies of files of this machine (`paths`)."""
        root = self.folder / "work"
        control = root / "DEBIAN"
        control.mkdir(parents=True)
        for path, content in (files or {}).items():
            file = root / path.strip("/")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content.encode() if isinstance(content, str) else content)
            file.chmod((modes or {}).get(path, 0o644))
        for path, source in (paths or {}).items():
            file = root / path.strip("/")
            file.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, file)
            file.chmod((modes or {}).get(path, 0o755))
        lines = [
            f"Package: {name}",
            f"Version: {version}",
            "Architecture: all",
            "Maintainer: nobody <nobody@localhost>",
        ]
        lines += [f"Depends: {depends}"] if depends else []
        (control / "control").write_text("\n".join([*lines, "Description: for a test", ""]))
        if postinst:
            (control / "postinst").write_text(f"#!/bin/sh\nset -e\n{postinst}\n")
            (control / "postinst").chmod(0o755)
        for old in self.folder.glob(f"{name}_*.deb"):
            old.unlink()
        run("dpkg-deb", "--root-owner-group", "-Zgzip", "-b", str(root), str(self.folder / f"{name}_{version}_all.deb"))
        shutil.rmtree(root)
        listed = run("dpkg-scanpackages", "--multiversion", ".", cwd=self.folder)
        (self.folder / "Packages").write_text(listed)


def run(*command: str, **more: Any) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, **more)
    return done.stdout


def shell_files() -> dict[str, Path]:
    """This machine's /bin/sh with what it needs to run in a root of its own."""
    shell = Path(os.path.realpath("/bin/sh"))
    found = {"/bin/sh": shell}
    for word in run("ldd", str(shell)).split():
        if word.startswith("/"):
            found[word] = Path(os.path.realpath(word))
    return found
