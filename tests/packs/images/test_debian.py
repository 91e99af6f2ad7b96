"""A real Debian root, out of real packages, built twice: the same bytes, and a system that works.

The packages are fetched beforehand by `.ci/run` (or by hand, see there) into `.cache/debs`, or where BOXWORK_TEST_DEBS
says.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import boxwork
from boxwork.packs.images import exports
from boxwork.packs.images.recipe import Recipe, parse

DEBS = Path(os.environ.get("BOXWORK_TEST_DEBS", Path(__file__).parents[3] / ".cache" / "debs"))

pytestmark = [
    pytest.mark.servers,
    pytest.mark.timeout(600),
    pytest.mark.skipif(shutil.which("mmdebstrap") is None, reason="needs Debian's mmdebstrap"),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root for devices"),
    pytest.mark.skipif(not (DEBS / "Packages").exists(), reason=f"needs real packages in {DEBS}: .ci/run fetches them"),
]


def recipe() -> Recipe:
    text = (
        'scripts = ["echo $(dpkg-query -f . -W | wc -c) packages > /etc/counted"]\n'
        f'[base]\nvariant = "essential"\nsuite = "test"\nsources = "deb [trusted=yes] copy:{DEBS} ./"\n'
        '[[users]]\nname = "ada"\nhome = "/home/ada"\nshell = "/bin/bash"\ngroups = ["adm"]\n'
    )
    return parse(text, "debian")


@pytest.fixture(scope="module")
def twice(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, Any, Any, Any]]:
    place = tmp_path_factory.mktemp("debian")
    with boxwork.open(place / "one") as one, boxwork.open(place / "two") as two:
        yield one, one.part("images").builder.build(recipe()), two, two.part("images").builder.build(recipe())


def test_two_builds_are_bit_identical(twice: Any) -> None:
    one, first, two, second = twice
    assert first.tree == second.tree
    assert {"built"} == {state for built in (first, second) for _, _, state in built.steps}
    tars = [work.derive("image_tar", root=work.tree(built.tree)) for work, built in ((one, first), (two, second))]
    assert tars[0] == tars[1]
    packed = [
        work.derive(exports.squashfs, root=work.tree(built.tree), tools=exports.squashfs_tools())
        for work, built in ((one, first), (two, second))
    ]
    assert packed[0] == packed[1]


def test_what_makes_it_an_operating_system_is_there(twice: Any, tmp_path: Path) -> None:
    work, built, _, _ = twice
    root = work.tree(built.tree)
    assert 0o4755 == root.find("usr/bin/passwd").mode
    assert ("character", (1, 3)) == (root.find("dev/null").kind, root.find("dev/null").device)
    shared = {entry.group for _, entry in root.walk() if entry.group}
    assert "usr/bin/perl" in shared
    for path in ("etc/hostname", "etc/resolv.conf", "etc/apt/sources.list"):
        with pytest.raises(boxwork.errors.NotFound):
            root.find(path)
    target = work.checkout(root, tmp_path / "root", ownership=True, mode="copy")
    assert (target / "usr/bin/perl").samefile(
        target / next(g for p, e in root.walk() if e.group == "usr/bin/perl" and (g := p) != e.group)
    )
    said = subprocess.run(
        ["chroot", target, "sh", "-c", "dpkg --audit; id ada; stat -c %U:%a /home/ada; cat /etc/counted"],
        capture_output=True, text=True, timeout=60, check=True,
    ).stdout.splitlines()  # fmt: skip
    count = len(re.findall(rb"(?m)^Package: ", root.read("var/lib/dpkg/status")))
    assert ["uid=1000(ada) gid=1000(ada) groups=1000(ada),4(adm)", "ada:750", f"{count} packages"] == said
