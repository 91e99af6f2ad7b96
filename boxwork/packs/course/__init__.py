"""A course's website: pages from text, registration, materials by their time, booking, calendars."""

from __future__ import annotations

from typing import Any

from boxwork import Pack, Page
from boxwork.packs.course.agenda import agenda
from boxwork.packs.course.described import DESCRIBED
from boxwork.packs.course.facts import TRANSACTIONS
from boxwork.packs.course.pages import page
from boxwork.packs.course.settings import SETTINGS
from boxwork.packs.course.text import html, links


def _open(work: Any) -> Any:
    from boxwork.packs.course.office import Office

    return Office(work)


def _routes(work: Any) -> list[Any]:
    from boxwork.packs.course.routes import routes

    return routes(work)


def _door(work: Any) -> Any:
    from boxwork.packs.course.door import door_of

    return door_of(work)


def _commands(context: Any) -> Any:
    from boxwork.packs.course.commands import commands

    return commands(context)


PACK = Pack(
    "course",
    "A course's website: pages from text, registration, materials by their time, booking, calendars.",
    inner=(html, links, page, agenda, *TRANSACTIONS),
    routes=_routes,
    described=DESCRIBED,
    settings=SETTINGS,
    pages=(Page("Courses", "/courses"),),
    commands=_commands,
    opener=_open,
    door=_door,
)
