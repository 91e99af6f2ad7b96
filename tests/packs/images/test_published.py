"""From a recipe to somebody else's tools: an image that was built is pulled by podman, and boots."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from boxwork.packs.images.boot_commands import as_text, make_bootable, root_of_image
from boxwork.packs.images.debs import deb
from boxwork.packs.images.gate import passing
from boxwork.packs.images.initrd import busybox_of
from boxwork.packs.images.workshop import Workshop
from boxwork.testing.served import served
from tests.packs.images.archive_of_debs import Archive
from tests.packs.images.conftest import recipe_of
from tests.packs.images.roots import take_boot_packages

pytestmark = [
    pytest.mark.servers,
    pytest.mark.timeout(600),
    *(
        pytest.mark.skipif(shutil.which(program) is None, reason=f"needs {program}")
        for program in ("mmdebstrap", "dpkg-scanpackages", "podman", "skopeo", "qemu-system-x86_64", "tar2sqfs")
    ),
]


@pytest.fixture
def at(work: Any) -> Iterator[str]:
    with served(work) as server:
        yield server.url.removeprefix("http://")


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stderr}"
    return done.stdout


def test_an_image_that_was_built_is_pulled_by_podman_with_its_bill_and_signature(
    debs: Archive, work: Any, workshop: Workshop, at: str, tmp_path: Path
) -> None:
    workshop.builder.build(recipe_of(debs, 'packages = ["world"]'))
    made = workshop.publish("small")
    with tempfile.TemporaryDirectory() as short:  # podman takes no runroot of more than 50 characters
        storage = ("--root", str(tmp_path / "storage"), "--runroot", short, "--storage-driver", "vfs")
        run("podman", *storage, "pull", "--tls-verify=false", f"{at}/small:latest")
        [told] = json.loads(run("podman", *storage, "image", "inspect", f"{at}/small:latest"))
    assert told["Digest"] == made["manifest"]
    copied = ("copy", "--src-tls-verify=false", f"docker://{at}/small:1", f"oci:{tmp_path}/copied:1")
    run("skopeo", "--insecure-policy", *copied)
    blobs = {f"sha256:{path.name}" for path in (tmp_path / "copied/blobs/sha256").iterdir()}
    assert made["manifest"] in blobs
    found = httpx.get(f"http://{at}/v2/small/referrers/{made['manifest']}").json()["manifests"]
    assert {each["artifactType"] for each in found} == {
        "application/vnd.cyclonedx+json", "application/vnd.boxwork.image.signature.v1+json"
    }  # fmt: skip


RECIPE = """\
packages = ["shell"]

[files."/bin/sh"]
link = "busybox"

[files."/etc/boxwork/health.d/10-shell"]
text = "#!/bin/sh\\ngrep -q shell /var/lib/dpkg/status || exit 2\\n"
mode = "0755"
"""


def test_an_image_that_was_built_boots_and_says_that_it_is_healthy(
    debs: Archive, work: Any, workshop: Workshop
) -> None:
    take_boot_packages(work)
    shell = busybox_of(work.get(deb(work, "busybox-static")))
    applets = {f"/bin/{name}": shell for name in ("busybox", "grep")}
    debs.put("shell", files=dict(applets), modes=dict.fromkeys(applets, 0o755))
    workshop.builder.build(recipe_of(debs, RECIPE))
    version = make_bootable(work, root_of_image(work, "small:1"))
    with passing(work, "small", version, tell=lambda text: None) as (passage, _):
        assert [boot.verdict for boot in passage.boots] == ["healthy"]
        assert str(version.ref) in as_text(passage)
