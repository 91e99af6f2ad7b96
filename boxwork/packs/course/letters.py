"""What would be mailed, in words.

Nothing is: this pack has no mail server.  People read it on their page, and the organiser has the list of it.
"""

from __future__ import annotations

from boxwork.packs.course.facts import Letter

SUBJECTS = {
    "enrolled": "You have a seat",
    "waiting": "You are on the waiting list",
    "moved up": "A seat has become free: it is yours",
    "cancelled": "Your registration is cancelled",
}
_TEXTS = {
    "enrolled": "You are registered for {course}. Your page: {link}",
    "waiting": (
        "All seats of {course} are taken. You are on the waiting list, and move up when somebody cancels. Your page:"
        " {link}"
    ),
    "moved up": (
        "A seat has become free, and it is yours: you are registered for {course} now. If you cannot come any more,"
        " cancel on your page, so that the next one can: {link}"
    ),
    "cancelled": "Your registration for {course} is cancelled. What you had said of yourself is forgotten.",
}


def subject(letter: Letter) -> str:
    return SUBJECTS[letter.kind]


def text(letter: Letter, course: str, name: str, link: str) -> str:
    """The letter to somebody who is called `name`, with the address of their page."""
    return f"Dear {name},\n\n" + _TEXTS[letter.kind].format(course=course, link=link)
