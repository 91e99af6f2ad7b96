"""A text of an author as HTML.  What authors write in HTML is shown as it stands: no tag of theirs reaches a reader.

Links without a scheme are addresses inside the course (`session/trees`, `page/venue`), wherever the text is shown.
"""

from __future__ import annotations

import functools
from typing import Any

from boxwork import derivation

# A page has one h1, its title, so an author's `#` is an h2.
LEVELS_DOWN = 1


@derivation(name="course.html")
def html(source: str, base: str) -> str:
    """Markdown as HTML; `base` is where the course is, and ends with a slash."""
    made: str = _parser().render(source, {"base": base})
    return made


@derivation(name="course.links")
def links(source: str) -> list[str]:
    """The addresses inside the course that a text links to."""
    found = set()
    for token in _parser().parse(source):
        for inner in token.children or ():
            href = inner.attrs.get("href") if inner.type == "link_open" else None
            if isinstance(href, str) and is_inside(href):
                found.add(href.split("#")[0].split("?")[0])
    return sorted(found)


def is_inside(href: str) -> bool:
    """Does it lead to this course: no scheme, no host, not only a place on the same page."""
    return not (href.startswith(("/", "#", "?")) or ":" in href.split("/")[0] or not href)


@functools.lru_cache(maxsize=1)
def _parser() -> Any:
    from markdown_it import MarkdownIt

    # No images: a page loads nothing but what belongs to this server.
    parser = MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")
    for rule in (_heading_open, _heading_close, _link_open, _table_open, _table_close):
        parser.add_render_rule(rule.__name__.removeprefix("_"), rule)
    return parser


def _lowered(tokens: Any, at: int) -> None:
    tokens[at].tag = f"h{min(int(tokens[at].tag[1]) + LEVELS_DOWN, 6)}"


def _heading_open(self: Any, tokens: Any, at: int, options: Any, env: Any) -> str:
    _lowered(tokens, at)
    opened: str = self.renderToken(tokens, at, options, env)
    return opened


def _heading_close(self: Any, tokens: Any, at: int, options: Any, env: Any) -> str:
    _lowered(tokens, at)
    closed: str = self.renderToken(tokens, at, options, env)
    return closed


def _link_open(self: Any, tokens: Any, at: int, options: Any, env: Any) -> str:
    href = str(tokens[at].attrGet("href") or "")
    if is_inside(href):
        tokens[at].attrSet("href", env["base"] + href)
    elif not href.startswith("#"):
        tokens[at].attrSet("rel", "noopener")
    opened: str = self.renderToken(tokens, at, options, env)
    return opened


def _table_open(self: Any, tokens: Any, at: int, options: Any, env: Any) -> str:
    # On a phone a wide table is moved sideways, also by keyboard: so it takes the focus and has a name.
    return '<div class="wide" role="region" aria-label="Table" tabindex="0"><table>\n'


def _table_close(self: Any, tokens: Any, at: int, options: Any, env: Any) -> str:
    return "</table></div>\n"
