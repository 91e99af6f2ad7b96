"""What authors write becomes HTML, and no tag, script or picture of theirs reaches a reader."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest

from boxwork.packs.course.text import html, is_inside, links

BASE = "/course/x/"


class Reader(HTMLParser):
    """What a browser takes for elements, with their attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


@pytest.mark.parametrize(
    "source",
    [
        "<script>alert(1)</script>", "a <img src=x onerror=alert(1)> b", "[x](javascript:alert(1))",
        "![x](https://example.org/pixel.gif)", "[x](data:text/html,<b>)", "<a href='javascript:alert(1)'>x</a>",
        "[x](JaVaScRiPt:alert(1))", "[x](vbscript:x)", '[x](https://example.org "\\" onclick=\\"alert(1)")',
    ],
)  # fmt: skip
def test_nothing_that_runs_or_loads_comes_through(source: str) -> None:
    reader = Reader()
    reader.feed(html(source, BASE))
    for tag, attributes in reader.found:
        assert tag in ("p", "a"), tag
        assert set(attributes) <= {"href", "rel", "title"}, attributes
        assert str(attributes.get("href", "https:")).startswith("https:"), attributes


def test_headings_of_authors_stand_below_the_title_of_the_page() -> None:
    assert "<h2>One</h2>\n<h3>Two</h3>\n<h6>Six</h6>\n" == html("# One\n\n## Two\n\n###### Six\n", BASE)


def test_links_inside_the_course_work_from_every_page() -> None:
    assert '<p><a href="/course/x/page/venue#lift">v</a></p>\n' == html("[v](page/venue#lift)", BASE)
    assert '<a href="#lift">' in html("[v](#lift)", BASE)
    assert '<a href="https://example.org" rel="noopener">' in html("[v](https://example.org)", BASE)
    assert ["page/venue", "session/a"] == links("[v](page/venue#lift) [a](session/a) [o](mailto:a@example.org) [r](/x)")
    assert not is_inside("")


def test_a_wide_table_takes_the_focus_so_that_the_keyboard_moves_it() -> None:
    made = html("| a |\n|---|\n| 1 |\n", BASE)
    assert '<div class="wide" role="region" aria-label="Table" tabindex="0"><table>' in made
    assert made.count("</table></div>") == 1
