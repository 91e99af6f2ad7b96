"""Take the named pictures, or all: docs/pictures/*.png.  Each subject serves a temporary node of its own."""

from __future__ import annotations

import importlib
import sys

SUBJECTS = ("gallery", "pulse", "state", "fleet", "images")


def main(names: list[str]) -> int:
    unknown = set(names) - set(SUBJECTS)
    if unknown:
        print(f"there are no pictures of {', '.join(sorted(unknown))}: name some of {', '.join(SUBJECTS)}")
        return 2
    for name in names or SUBJECTS:
        importlib.import_module(f"tools.pictures.{name}").main()
    return 0


sys.exit(main(sys.argv[1:]))
