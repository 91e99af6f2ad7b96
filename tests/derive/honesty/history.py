"""Fingerprints of the cases that import inside, in a process with one history of imports: prints them as JSON.

    python history.py HISTORY DIRECTORY

HISTORY says what is loaded before a box is looked at: `nothing`, `partly` (the outermost package), `fully`, or `run`:
the box itself has run.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[3]))
sys.dont_write_bytecode = True

from boxwork.derive.fingerprint import Fingerprinter  # noqa: E402
from tests.derive.honesty.cases import IMPORTS, Case  # noqa: E402
from tests.derive.honesty.stage import Stage  # noqa: E402

HISTORIES = ("nothing", "partly", "fully", "run")


def digests(case: Case, history: str, directory: Path) -> dict[str, Any]:
    """The digest before the box runs here and after, and whether it then is asked without another look."""
    directory.mkdir()
    with Stage(case, directory).imported("before", case.before) as module:
        for name in {"partly": case.loads[:1], "fully": case.loads}.get(history, ()):
            importlib.import_module(name)
        if history == "run":
            module.box(3)
        seen = Fingerprinter()
        loaded = set(sys.modules)
        before = seen.of(module.box)
        imported = sorted(set(sys.modules) - loaded)
        module.box(3)
        after = seen.of(module.box)
        return {
            "before": before.digest.hex(),
            "after": after.digest.hex(),
            "settled": seen.of(module.box) is after,
            "imported": imported,
        }


def forked(case: Case, history: str, directory: Path) -> dict[str, Any]:
    """In a child of this process, so that what one case loads is not there for the next."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            with open(writer, "w") as out:
                out.write(json.dumps(digests(case, history, directory)))
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    os.close(writer)
    with open(reader) as answer:
        told = answer.read()
    if os.waitpid(child, 0)[1]:
        raise RuntimeError(f"{case.title} with {history} loaded")
    found: dict[str, Any] = json.loads(told)
    return found


def main() -> None:
    history, directory = sys.argv[1:]
    cases = [case for case in IMPORTS if case.loads]
    print(json.dumps({case.title: forked(case, history, Path(directory) / str(n)) for n, case in enumerate(cases)}))


if __name__ == "__main__":
    main()
