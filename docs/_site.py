"""How mkdocs builds the site: the order of the pages, and the pages that lie at the root of the repository.

Nobody lists pages by hand.  A new page under docs/ stands in the guide, under the title of its first heading.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent

# Pages at the root of the repository, and what they are called in the site.
FROM_ROOT = {"ARCHITECTURE.md": "architecture.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}

FIRST = ["index.md", "install.md"]
REFERENCE = ["settings.md", "errors.md", "hops.md"]
HOUSE = ["architecture.md", "contributing.md", "changelog.md"]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of the root, with their links as seen from docs/."""
    for name, page in FROM_ROOT.items():
        text = (ROOT / name).read_text("utf-8")
        text = re.sub(r"\]\(docs/", "](", text)
        # What lies outside docs/ is no page: only its name stays.
        text = re.sub(r"\[([^\]]+)\]\((?!https?:)(?:changes|tests|bench|boxwork|examples)/[^)]*\)", r"\1", text)
        for other, target in FROM_ROOT.items():
            text = text.replace(f"]({other})", f"]({target})")
        files.append(File.generated(config, page, content=text))
    # The mark of the running service is the mark of the site.
    mark = ROOT / "boxwork" / "serve" / "static" / "mark.svg"
    files.append(File.generated(config, "pictures/mark.svg", abs_src_path=str(mark)))
    config.nav = order([file.src_uri for file in files.documentation_pages()])
    return files


def order(pages: list[str]) -> list[Any]:
    """The navigation: the first steps, the guide, the reference, the house, the decisions."""
    there = set(pages)
    placed = {*FIRST, *REFERENCE, *HOUSE}
    decisions = sorted(page for page in pages if page.startswith("decisions/"))
    guide = sorted(page for page in pages if page not in placed and page not in decisions)
    sections = [("Guide", guide), ("Reference", REFERENCE), ("The house", HOUSE), ("Decisions", decisions)]
    return [*FIRST, *({title: rows} for title, listed in sections if (rows := [row for row in listed if row in there]))]
