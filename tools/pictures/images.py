"""The pages of images: a build that is watched, and what two versions differ in.

The packages come from an archive that the tests make, so this needs the tools of a build (mmdebstrap, dpkg-dev) and no
network.  The page of a machine wants boots under QEMU, as docs/images-boot.md has them.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import boxwork
from boxwork.testing.served import served
from tests.packs.images.archive_of_debs import Archive
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
        with boxwork.open(place / "data", settings={"images.index_age_s": 0.0}) as work:
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
