"""Each page is a derivation of what it shows: an edit makes one, a title those that name it, time those it opens."""

from __future__ import annotations

import datetime
from typing import Any

from tests.packs.course.conftest import NAME


def test_the_edit_of_one_text_builds_one_page(empty: Any) -> None:
    first = empty.publish()
    assert (19, 19) == (first["pages"], len(first["rebuilt"]))
    empty.edit("sessions/chains.md", "A torn tail is cut", "A torn tail is cut off")
    assert ["session/chains"] == empty.publish()["rebuilt"]
    empty.edit("pages/venue.md", "doors open by themselves", "the doors open by themselves")
    assert ["page/venue"] == empty.publish()["rebuilt"]
    empty.edit("course.md", "You write code every day.", "You write code most days.")
    assert [""] == empty.publish()["rebuilt"]


def test_a_title_builds_the_pages_that_name_it_and_no_other(stage: Any) -> None:
    stage.edit("sessions/difference.md", "Finding what differs", "What differs?")
    assert ["", "schedule", "session/difference", "session/directories", "session/merge"] == sorted(
        stage.publish()["rebuilt"]
    )


def test_a_new_page_stands_in_every_navigation(stage: Any) -> None:
    (stage.folder / "pages" / "food.md").write_text('+++\ntitle = "Food"\n+++\n\nSoup.\n', "utf-8")
    told = stage.publish()
    assert (20, 20) == (told["pages"], len(told["rebuilt"]))


def test_an_earlier_version_is_put_back_whole_and_builds_nothing(stage: Any) -> None:
    site = stage.office.site(stage.course)
    before = [stage.office.page(site, path)[0] for path, _, _ in site.paths()]
    first = stage.office.overview(NAME).version.tree
    stage.edit("pages/venue.md", "level with the street", "up two steps")
    stage.publish()
    told = stage.office.restore(NAME, first[:19], by="ada", why="a mistake")
    assert (3, str(first), []) == (told["version"], told["tree"], told["rebuilt"])
    site = stage.office.site(stage.course)
    assert before == [stage.office.page(site, path)[0] for path, _, _ in site.paths()]


def test_when_a_handout_comes_out_the_pages_that_show_it_become_others(stage: Any) -> None:
    assert [] == [one.path for one in stage.office.build(stage.course) if one.is_new]
    stage.until(stage.course.moment(2, "14:00") - datetime.timedelta(seconds=1))
    # the first day's handout is out, and the drawing of the second morning
    assert ["materials", "session/what-a-name-is", "session/directories"] == [
        one.path for one in stage.office.build(stage.course) if one.is_new
    ]
    stage.clock.advance(10**9)
    assert ["materials", "session/merge"] == [one.path for one in stage.office.build(stage.course) if one.is_new]
    page = stage.work.get(stage.office.page(stage.office.site(stage.course), "session/merge")[0]).decode()
    assert f'<a href="/course/{NAME}/materials/merge-exercise.md">The exercise</a>' in page
    assert 'materials/merge-answers.md"' not in page
    assert "16:30</time> on" in page


def test_what_an_author_writes_is_escaped_wherever_it_stands(stage: Any) -> None:
    for path, old, new in (
        ("sessions/chains.md", "Chains of digests", '<b>Chains</b> & \\"more\\"'),
        ("course.md", "Adaeze Obi", "<script>x</script>"),
        ("course.md", "House of Computing, Berlin", "<i>here</i>"),
    ):
        stage.edit(path, old, new)
    stage.publish()
    site = stage.office.site(stage.course)
    for path, _, _ in site.paths():
        text = stage.work.get(stage.office.page(site, path)[0]).decode()
        assert not any(tag in text for tag in ("<b>Chains", "<script>x", "<i>here"))
