"""What /openapi.json says is what happens: schemathesis calls every operation and finds nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import boxwork
from boxwork.testing.served import served

pytestmark = [pytest.mark.servers, pytest.mark.timeout(320)]

# The same seed always asks the same; a failure can be looked at again.  Unit: cases of each operation.
SEED, CASES = 7, 15
# A whole run takes 60 s on a loaded machine.  Unit: seconds.
PATIENCE_S = 300

# What a schema cannot say: fields that must fit each other, a name of something that is there, bytes that are a scan.
RULES_BETWEEN_FIELDS = ("POST /fleet/source", "POST /fleet/versions", "POST /scans")
NOT_ACCEPTED = "checks.positive_data_acceptance.enabled = false"


def publish_fleet(work: Any, root: Path) -> None:
    """A version to give orders about: with nothing published, every order would be refused before it is looked at."""
    (root / "hosts.csv").write_text("host,workers\nweb1,4\nweb2,8\n")
    release = root / "release"
    release.mkdir()
    (release / "release.toml").write_text('[columns.workers]\ntype = "integer"\n')
    (release / "app.conf.j2").write_text("workers = {{ workers }}\n")
    work.part("fleet").publish(release, author="a test", reason="the first")


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(3):
        Image.new("RGB", (60, 40), (number * 60, 9, 9)).save(folder / f"{number}.jpg")
    settings = {"fleet.source": f"csv:{tmp_path}/hosts.csv"}
    with boxwork.open(tmp_path / "data", settings=settings) as work:
        list(work.inventory.scan(folder))
        publish_fleet(work, tmp_path)
        with served(work) as server:
            yield server.url


def test_schemathesis_finds_nothing(url: str, tmp_path: Path) -> None:
    # 422: the box ran and says that these bytes are no picture, which no schema can tell; 3xx lead to what was meant
    (tmp_path / "schemathesis.toml").write_text(
        "[checks.positive_data_acceptance]\n"
        'expected-statuses = ["2xx", "3xx", "401", "403", "404", "409", "422", "5xx"]\n'
        + "".join(f'[[operations]]\ninclude-name = "{name}"\n{NOT_ACCEPTED}\n' for name in RULES_BETWEEN_FIELDS)
    )
    places = [os.path.dirname(sys.executable), os.environ.get("PATH", "")]
    program = shutil.which("schemathesis", path=os.pathsep.join(places))
    assert program is not None, "pip install schemathesis"
    command = [
        program, "run", f"{url}/openapi.json", "--seed", str(SEED), "--max-examples", str(CASES), "--no-color",
        "--phases", "examples,coverage,fuzzing", "--request-timeout", "20",
        # it names folders of this machine, and would take them in; tests/serve/test_items.py asks it instead
        "--exclude-name", "POST /items",
    ]  # fmt: skip
    found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert found.returncode == 0, found.stdout[-6000:] + found.stderr[-2000:]
