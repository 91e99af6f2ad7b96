"""The pages of images: a build that is watched, what two versions differ in, and a machine that refused three of them.

The packages come from an archive that the tests make, so this needs the tools of a build (mmdebstrap, dpkg-dev) and no
network.  The machine is booted eight times under QEMU (qemu-system-x86, squashfs-tools-ng), which takes a minute.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import boxwork
from boxwork.packs.images.boot_commands import make_bootable
from boxwork.packs.images.gate import passing
from boxwork.testing.served import served
from tests.packs.images.archive_of_debs import Archive
from tests.packs.images.roots import CRASHING, NEVER, SICK, make_root, take_boot_packages
from tools.pictures.camera import camera


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        debs = Archive(place / "archive")
        debs.put("hello", files={"/usr/share/hello/text": "hello 1\n"}, postinst="echo setting up hello >&2")
        debs.put("world", files={"/usr/share/world/text": "world 1\n"}, depends="hello")
        recipe = place / "web.toml"
        base = f'[base]\nvariant = "none"\nsuite = "test"\nsources = "{debs.sources.strip()}"\n'
        recipe.write_text(f'packages = ["world"]\n{base}[files."/etc/motd"]\ntext = "hi"\n')
        # A check that never comes to an end is waited for that long, and a kernel under emulation for this.
        patience = {"images.health_s_max": 5.0, "images.boot_s_max": 60.0}
        with boxwork.open(place / "data", settings={"images.index_age_s": 0.0, **patience}) as work:
            work.part("images").builder.build_named(str(recipe), who="ada")
            files: dict[str, str | bytes] = {"/usr/share/hello/text": "hello 2\n"}
            debs.put("hello", "2.0", files=files, postinst="echo setting up hello again >&2")
            with served(work) as node, camera(node.url) as eye:
                with eye.page("/images", height=960) as page:
                    page.get_by_role("button", name="Build").click()
                    page.wait_for_url("**/images/builds/*")
                    page.wait_for_function("() => document.getElementById('state').textContent.startsWith('Done')")
                    eye.shoot(page, "images-build")
                eye.take("images-version", "/images/web/2", whole=True)
                boot_good_and_bad(work, place)
                eye.take("images-machine", "/images/machines/web", width=1100)


def boot_good_and_bad(work: Any, place: Path) -> None:
    """The machine `web`, with a version that is healthy and three that are not: sick, crashing, never content."""
    take_boot_packages(work)
    checks = {"good": None, "sick": SICK, "crashing": CRASHING, "never": NEVER}
    for name, check in checks.items():
        root = make_root(work, place / name) if check is None else make_root(work, place / name, check)
        with passing(work, "web", make_bootable(work, root)):
            pass
