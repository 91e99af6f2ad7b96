"""A course folder is read as a whole, and every mistake in it is told with its file."""

from __future__ import annotations

from pathlib import Path

import pytest

from boxwork.errors import BadInput
from boxwork.packs.course.office import checked, gather
from boxwork.packs.course.outline import read_course
from boxwork.packs.course.sampling import write_sample

DECEMBER_2026_NS = 1_796_000_000 * 10**9


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_sample(tmp_path / "course", DECEMBER_2026_NS)
    return tmp_path / "course"


def mistakes(folder: Path) -> list[str]:
    with pytest.raises(BadInput) as told:
        checked(*gather(folder, 1024 * 1024))
    found: list[str] = told.value.details["mistakes"]
    return found


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), "utf-8")


def test_the_sample_is_a_course_of_five_days_that_is_still_to_come(folder: Path) -> None:
    course = checked(*gather(folder, 1024 * 1024))
    assert (5, 60, 14, 2) == (
        len(course.head.days), course.head.capacity, len(course.sessions), len(course.pages),
    )  # fmt: skip
    first = course.head.days[0].date
    assert 0 == first.weekday()
    assert course.moment(1, "09:00").timestamp() > DECEMBER_2026_NS / 1e9 + 13 * 86400
    assert DECEMBER_2026_NS / 1e9 < course.closes().timestamp() < course.moment(1, "00:00").timestamp()
    assert ["what-a-name-is", "collisions", "first-store"] == [one.name for one in course.sessions[:3]]


def test_a_folder_that_is_there_is_not_written_over(folder: Path) -> None:
    with pytest.raises(BadInput, match="is there and not empty"):
        write_sample(folder, DECEMBER_2026_NS)


@pytest.mark.parametrize(
    ("file", "old", "new", "told"),
    [
        ("course.md", 'name = "hashing-week"', 'name = "Hashing Week"', "name = 'Hashing Week': small letters"),
        ("course.md", "Europe/Berlin", "Europe/Atlantis", "timezone = 'Europe/Atlantis': there is no such zone"),
        ("course.md", "capacity = 60", "capacity = 0", "capacity = 0: from 1 to 100,000, please"),
        ("course.md", "capacity = 60", 'capacity = "sixty"', "Expected `int`, got `str` - at `capacity`"),
        ("course.md", "capacity = 60", "capasity = 60", "The head contains unknown field `capasity`"),
        ("course.md", "capacity = 60", "capacity = ", "the head is not TOML: Invalid value (at line 8, column 12)"),
        ("course.md", 'id = "lab"', 'id = "desk-1"', "resources: two of them have the id 'desk-1'"),
        ("course.md", "step_min = 60", "step_min = 7", "09:00 to 18:00 is no whole number of steps of 7 minutes"),
        (
            "course.md",
            "longest_min = 180",
            "longest_min = 90",
            "resource lab: longest_min = 90: a multiple of step_min",
        ),
        ("sessions/merge.md", "day = 2", "day = 6", "day = 6: the course has the days 1 to 5"),
        ("sessions/merge.md", '"16:30"', '"13:30"', "it ends at 13:30, and begins at 14:00"),
        ("sessions/merge.md", '"16:30"', '"4 pm"', "start = '14:00', end = '4 pm': times are written 09:00"),
        (
            "sessions/merge.md",
            '"mira"',
            '"nobody"',
            "the speaker 'nobody' is not in course.md; there are: mira, jon, adaeze",
        ),
        ("sessions/merge.md", "merge-answers.md", "answers.md", "materials/answers.md is not there"),
        (
            "sessions/merge.md",
            'release = "end"',
            'release = "soon"',
            "release of merge-answers.md = 'soon': write it as",
        ),
        ("sessions/derivations.md", "session/what-a-name-is", "session/what", "it links to 'session/what', which"),
        ("pages/venue.md", "+++", "---", "it has no head: begin with a line `+++`"),
    ],
)
def test_a_mistake_is_told_with_its_file_and_what_to_do(folder: Path, file: str, old: str, new: str, told: str) -> None:
    change(folder / file, old, new)
    found = mistakes(folder)
    assert any(one.startswith(f"{file}: ") and told in one for one in found), found


def test_all_mistakes_are_told_at_once(folder: Path) -> None:
    change(folder / "sessions/merge.md", "day = 2", "day = 6")
    change(folder / "sessions/order.md", '"Hall"', "Hall")
    (folder / "pages" / "Where.md").write_text('+++\ntitle = "x"\n+++\n', "utf-8")
    (folder / "pages" / "broken.md").write_bytes(b"\xff\xfe")
    assert ["pages/Where.md", "pages/broken.md", "sessions/merge.md", "sessions/order.md"] == sorted(
        one.split(":")[0] for one in mistakes(folder)
    )


def test_a_folder_without_a_course_says_where_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="course.md: it is not there; a course begins with it"):
        read_course({}, {})
    with pytest.raises(BadInput, match="is no folder"):
        gather(tmp_path / "nothing", 1)


def test_times_are_local_ones_also_when_summer_begins_within_the_course(folder: Path) -> None:
    text = (folder / "course.md").read_text("utf-8")
    start = text.index("[[days]]")
    days = "[[days]]\ndate = 2027-03-27\n[[days]]\ndate = 2027-03-28\n"
    (folder / "course.md").write_text(text[:start] + days + text[text.index("[[speakers]]") :], "utf-8")
    for path in (folder / "sessions").iterdir():
        change(path, "day = ", "day = 1 # ")
    course = checked(*gather(folder, 1024 * 1024))
    assert ["2027-03-27T09:30:00+01:00", "2027-03-28T09:30:00+02:00"] == [
        course.moment(day, "09:30").isoformat() for day in (1, 2)
    ]
