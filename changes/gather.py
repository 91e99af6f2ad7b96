"""Gather the fragments of this folder into CHANGELOG.md.

python changes/gather.py            show what the next release says
python changes/gather.py 0.2.0      write it under that version, with the day of the last commit, and remove them
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
CHANGELOG = FOLDER.parent / "CHANGELOG.md"
# In the order of how urgently somebody should know.
KINDS = {"safety": "Safety", "feature": "Features", "speed": "Speed", "fix": "Fixes"}


def fragments(folder: Path = FOLDER) -> dict[str, list[Path]]:
    """Kind -> its fragments, by name; a file of no known kind is an error."""
    found: dict[str, list[Path]] = {kind: [] for kind in KINDS}
    for path in sorted(folder.glob("*.md")):
        if path.name == "README.md":
            continue
        parts = path.name.split(".")
        if len(parts) != 3 or parts[1] not in KINDS:
            raise SystemExit(f"{path.name}: name it <slug>.<kind>.md, where the kind is one of {', '.join(KINDS)}")
        found[parts[1]].append(path)
    return found


def gathered(found: dict[str, list[Path]]) -> str:
    """The fragments as a list under each kind."""
    out = []
    for kind, paths in found.items():
        if paths:
            out.append(f"### {KINDS[kind]}\n")
            out.extend("- " + "\n  ".join(path.read_text("utf-8").strip().splitlines()) for path in paths)
            out.append("")
    return "\n".join(out)


def main(arguments: list[str]) -> None:
    found = fragments()
    text = gathered(found)
    if not arguments:
        sys.stdout.write(text or "nothing yet\n")
        return
    day = subprocess.run(
        ["git", "log", "-1", "--format=%cs"], cwd=FOLDER, capture_output=True, text=True, check=True
    ).stdout.strip()
    head, newest, older = CHANGELOG.read_text("utf-8").partition("\n## ")
    CHANGELOG.write_text(f"{head.rstrip()}\n\n## {arguments[0]} ({day})\n\n{text}{newest}{older}", "utf-8")
    for paths in found.values():
        for path in paths:
            path.unlink()


if __name__ == "__main__":
    main(sys.argv[1:])
