"""Runs one moment of one case through a memo library, in a process of its own: prints what the caller gets.

    python run_case.py PEER CASE MOMENT DIRECTORY

PEER is `boxwork`, `joblib`, `diskcache` or `plain` (no memo at all); MOMENT is 0 or 1.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import logging
import sys
import threading
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[3]))
sys.dont_write_bytecode = True

from tests.derive.honesty.cases import CASES, Case  # noqa: E402
from tests.derive.honesty.stage import write  # noqa: E402


def through(peer: str, box: Any, directory: Path, args: tuple[Any, ...], inputs: dict[str, Any]) -> Any:
    if peer == "boxwork":
        import boxwork

        with boxwork.open(directory / "boxwork") as work:
            return work.call(box, *args, **inputs)
    function = box.function
    if peer == "joblib":
        from joblib import Memory

        return Memory(directory / "joblib", verbose=0).cache(function)(*args, **inputs)
    if peer == "diskcache":
        from diskcache import Cache

        with Cache(str(directory / "diskcache")) as cache:
            return cache.memoize(typed=True)(function)(*args, **inputs)
    return function(*args, **inputs)


def run(peer: str, case: Case, moment: int, directory: Path) -> dict[str, Any]:
    data = directory / "data"
    data.mkdir(parents=True, exist_ok=True)
    for name, text in case.data[moment].items():
        (data / name).write_text(text)
    root = directory / "code"  # the same place both times: peers tell functions apart by their path
    write(root, case.before | (case.after if moment else {}), data)
    sys.path.insert(0, str(root))
    module = importlib.import_module("m")
    if moment and case.patch:
        exec(compile(case.patch, "<patch>", "exec"), vars(module))
    spelled = (case.then if moment and case.then else case.call).replace("{data}", str(data))
    args, inputs = eval(f"(lambda *a, **k: (a, k))({spelled})")
    ran = []
    code = module.box.function.__code__

    def profile(frame: Any, event: str, argument: Any) -> None:
        if event == "call" and frame.f_code is code:
            ran.append(True)

    threading.setprofile(profile)
    sys.setprofile(profile)
    try:
        value = through(peer, module.box, directory, args, inputs)
    except Exception as error:
        return {"refused": f"{type(error).__name__}: {error}", "ran": bool(ran), "value": None}
    finally:
        sys.setprofile(None)
    return {"refused": "", "ran": bool(ran), "value": repr(value)}


def main() -> None:
    logging.disable(logging.CRITICAL)
    peer, number, moment, directory = sys.argv[1:]
    with contextlib.suppress(AttributeError):
        time.tzset()
    print(json.dumps(run(peer, CASES[int(number)], int(moment), Path(directory))))


if __name__ == "__main__":
    main()
