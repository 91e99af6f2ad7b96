"""Taking part: seats, the waiting list, one press twice, personal links, and being forgotten."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from boxwork.errors import BadInput, NotFound, Refused
from boxwork.packs.course import facts
from boxwork.packs.course.office import link_of
from boxwork.packs.course.people import BadField
from tests.packs.course.conftest import NAME


def test_when_all_seats_are_taken_people_wait_and_move_up_in_order(empty: Any) -> None:
    empty.seats(2, waiting=2)
    empty.publish()
    people = [empty.register(name) for name in ("ada", "bob", "cyd", "dan")]
    assert ["enrolled", "enrolled", "waiting", "waiting"] == empty.states()
    with pytest.raises(Refused, match="all seats are taken and the waiting list is full"):
        empty.register("eve")
    assert [1, 2] == [empty.office.ask(facts.place, course=NAME, number=n) for n in (3, 4)]
    empty.office.cancel(NAME, people[0][1].token)
    assert ["cancelled", "enrolled", "enrolled", "waiting"] == empty.states()
    empty.office.cancel(NAME, people[0][1].token)  # twice is once
    assert ["cancelled", "enrolled", "enrolled", "waiting"] == empty.states()
    empty.office.cancel(NAME, people[3][1].token)  # one who waits
    empty.office.cancel(NAME, people[1][1].token)
    overview = empty.office.overview(NAME)
    assert (["cancelled", "cancelled", "enrolled", "cancelled"], 1, 0) == (
        empty.states(), overview.taken, overview.queued,
    )  # fmt: skip
    told = [(one.person, one.kind) for one in empty.office.ask(facts.letters, course=NAME)]
    assert [
        (1, "enrolled"),
        (2, "enrolled"),
        (3, "waiting"),
        (4, "waiting"),
        (1, "cancelled"),
        (3, "moved up"),
    ] == told[:6]


def test_a_larger_course_takes_in_those_who_wait(empty: Any) -> None:
    empty.seats(1)
    empty.publish()
    for name in ("ada", "bob", "cyd", "dan"):
        empty.register(name)
    empty.edit("course.md", "capacity = 1", "capacity = 3")
    empty.publish()
    assert ["enrolled", "enrolled", "enrolled", "waiting"] == empty.states()
    empty.edit("course.md", "capacity = 3", "capacity = 1")
    empty.publish()  # nobody loses a seat
    assert ["enrolled", "enrolled", "enrolled", "waiting"] == empty.states()
    first = empty.office.ask(facts.people, course=NAME)[0]
    empty.office.cancel_number(NAME, first.number)
    assert ["cancelled", "enrolled", "enrolled", "waiting"] == empty.states()


def test_a_thousand_racing_registrations_fill_the_seats_exactly_and_queue_in_order(empty: Any) -> None:
    empty.seats(60, waiting=10_000)
    empty.publish()
    begin = threading.Barrier(32)

    def press(worker: int) -> None:
        begin.wait(20)
        for number in range(worker, 1000, 32):
            name = f"p{number}"
            inputs = {"subject": name, "link": name, "address": name, "details": ""}
            for _ in range(2):  # everybody presses twice
                empty.work.commit(facts.register, course=NAME, once=name, **inputs)

    with ThreadPoolExecutor(32) as pool:
        list(pool.map(press, range(32)))
    people = empty.office.ask(facts.people, course=NAME)
    assert list(range(1, 1001)) == [one.number for one in people]
    assert ["enrolled"] * 60 + ["waiting"] * 940 == [one.state for one in people]
    overview = empty.office.overview(NAME)
    assert (60, 940) == (overview.taken, overview.queued)
    # ten leave at once: the first ten who wait have their seats, each told once
    with ThreadPoolExecutor(10) as pool:
        list(pool.map(lambda one: empty.work.commit(facts.cancel, course=NAME, link=one.link), people[:10]))
    states = empty.states()
    assert ["cancelled"] * 10 + ["enrolled"] * 60 + ["waiting"] * 930 == states
    moved = Counter(one.person for one in empty.office.ask(facts.letters, course=NAME) if one.kind == "moved up")
    assert dict.fromkeys(range(61, 71), 1) == moved


def test_people_who_register_at_once_through_the_office_all_have_their_own_page(empty: Any) -> None:
    empty.seats(5)
    empty.publish()
    with ThreadPoolExecutor(12) as pool:
        found = list(pool.map(empty.register, [f"p{number}" for number in range(12)]))
    assert 12 == len({details.token for _, details in found})
    assert Counter(enrolled=5, waiting=7) == Counter(empty.states())
    for person, details in found:
        assert person.number == empty.office.who(NAME, details.token).number
        assert details == empty.office.people(NAME).details(person.details)


def test_pressing_twice_registers_once_and_leads_to_the_same_page(stage: Any) -> None:
    once = "the same form, sent twice"
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: stage.register("ada", once), range(4)))
    assert 1 == len({(person.number, details.token) for person, details in found})
    assert ["enrolled"] == stage.states()
    with pytest.raises(BadInput, match="this form was sent already"):
        stage.register("bob", once)  # somebody else's press must not lead to ada's page
    assert ["enrolled"] == stage.states()


def test_one_address_registers_once_whatever_its_capitals(stage: Any) -> None:
    _, details = stage.register("ada", address="Ada@example.org")
    with pytest.raises(BadField, match="somebody has registered with this e-mail address"):
        stage.register("ada too", address="ada@example.ORG")
    stage.office.cancel(NAME, details.token)
    assert "enrolled" == stage.register("ada again", address="ada@example.org")[0].state


@pytest.mark.parametrize(
    ("field", "given"),
    [
        ("name", {"who": "  ", "address": "a@example.org"}),
        ("name", {"who": "x" * 101, "address": "a@example.org"}),
        ("address", {"who": "ada", "address": "ada"}),
        ("address", {"who": "ada", "address": "a@example.org, b@example.org"}),
        ("address", {"who": "ada", "address": "a" * 250 + "@example.org"}),
        ("wishes", {"who": "ada", "address": "a@example.org", "wishes": "x" * 1001}),
    ],
)
def test_a_field_that_is_not_right_is_named_and_nobody_is_registered(
    stage: Any, field: str, given: dict[str, str]
) -> None:
    with pytest.raises(BadField) as told:
        stage.office.register(NAME, **{"wishes": "", "once": "some form", **given})
    assert (field, []) == (told.value.field, stage.states())


def test_details_are_changed_and_an_address_of_another_is_refused(stage: Any) -> None:
    person, ada = stage.register("ada")
    stage.register("bob")
    stage.office.amend(NAME, ada.token, who="Ada B.", address="ada.b@example.org", wishes="captions")
    people = stage.office.people(NAME)
    now = stage.office.who(NAME, ada.token)
    assert ("Ada B.", "captions", ada.token) == (
        (changed := people.details(now.details)).name, changed.wishes, changed.token,
    )  # fmt: skip
    assert people.details(person.details) is None  # what was said before is gone
    with pytest.raises(BadField, match="somebody has registered"):
        stage.office.amend(NAME, ada.token, who="Ada", address="BOB@example.org", wishes="")
    assert changed == people.details(stage.office.who(NAME, ada.token).details)
    stage.office.amend(NAME, ada.token, who="Ada B.", address="ada.b@example.org", wishes="captions")  # nothing new
    assert changed == people.details(stage.office.who(NAME, ada.token).details)
    assert "enrolled" == stage.register("carl", address="ada@example.org")[0].state  # the old address is free


def test_what_people_say_of_themselves_stands_nowhere_in_the_clear_and_is_forgotten_with_them(
    stage: Any, tmp_path: Path
) -> None:
    name, address, wish = "Zuzana Unmistakable", "unmistakable@example.org", "no peanuts, unmistakably"
    person, details = stage.office.register(NAME, who=name, address=address, wishes=wish, once="form")
    stage.close()
    for path in (tmp_path / "data").rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            for secret in (name, address, wish, details.token):
                assert secret.encode() not in data, path
    stage.open()
    people = stage.office.people(NAME)
    assert details == people.details(person.details)
    stage.office.cancel(NAME, details.token)
    assert people.details(person.details) is None
    assert "cancelled" == stage.office.who(NAME, details.token).state


def test_a_link_that_was_guessed_leads_to_nobody(stage: Any) -> None:
    _, details = stage.register("ada")
    for token in ("", "0" * 32, details.token[:-1], details.token.upper() + "x", link_of(details.token)):
        with pytest.raises(NotFound, match="this personal link leads to nobody"):
            stage.office.who(NAME, token)
    with pytest.raises(NotFound, match="there is no course 'nothing'"):
        stage.office.who("nothing", details.token)


def test_registration_ends_by_itself_and_is_closed_and_opened_by_the_organiser(stage: Any) -> None:
    stage.work.commit(facts.close, course=NAME, closed=True)
    with pytest.raises(Refused, match="registration is closed"):
        stage.register("ada")
    stage.work.commit(facts.close, course=NAME, closed=False)
    stage.register("ada", once="another form")
    stage.until(stage.course.closes())
    with pytest.raises(Refused, match="registration has ended"):
        stage.register("bob")


def test_publishing_the_same_again_is_refused_and_says_so(stage: Any) -> None:
    with pytest.raises(Refused, match="nothing differs from version 1, which is shown"):
        stage.publish()
    with pytest.raises(NotFound, match="no version of 'hashing-week' called '9'"):
        stage.office.restore(NAME, "9", by="ada", why="x")


def test_everything_is_there_after_a_restart(stage: Any) -> None:
    _, details = stage.register("ada")
    stage.close()
    stage.open()
    assert ("enrolled", 1) == (stage.office.who(NAME, details.token).state, stage.office.overview(NAME).taken)


def test_a_handout_that_is_too_large_is_refused_before_anything_is_kept(empty: Any) -> None:
    (empty.folder / "materials" / "talk.mp4").write_bytes(b"x" * 2000)
    empty.office.material_bytes_max = 1000
    from boxwork.errors import TooLarge

    with pytest.raises(TooLarge, match=r"talk.mp4 has 2,000 bytes; a handout has at most 1,000 \(setting course.mat"):
        empty.publish()
    assert [] == empty.office.names()
