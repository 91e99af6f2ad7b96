"""docs/honest-keys.md lists the matrix as it is.  `python -m tests.derive.honesty.test_page` writes the list."""

from __future__ import annotations

import re
from pathlib import Path

from tests.derive.honesty.cases import CASES

PAGE = Path(__file__).parents[3] / "docs" / "honest-keys.md"
LIST = re.compile(r"(?<=<!-- cases -->\n).*?(?=<!-- end -->)", re.DOTALL)


def listed() -> str:
    rows = ["| what happens between two calls | what follows |", "|---|---|"]
    for group in dict.fromkeys(case.group for case in CASES):
        rows.append(f"| **{group}** | |")
        for case in CASES:
            if case.group == group:
                says = f": `{case.says}`" if case.says.endswith(("[", "=", "]")) else ""
                rows.append(f"| {case.title} | {case.verdict}{says} |")
    return "\n".join(rows) + "\n"


def test_the_page_lists_every_case() -> None:
    found = LIST.search(PAGE.read_text("utf-8"))
    assert found is not None
    assert listed() == found.group()


if __name__ == "__main__":
    PAGE.write_text(LIST.sub(lambda _: listed(), PAGE.read_text("utf-8")), "utf-8")
