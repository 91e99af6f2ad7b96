"""Strangers at the website of a course: with `course.public` they may come in, but only there.

A machine that the guard does not know gets the pages of courses and what they load; what changes something must come
from a page of this site.  Organisers' pages are under another address, and the guard's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

# What course pages load: the house's style sheet and theme, and this pack's.
LOADED = ("/static/shell/", "/static/course/")


def door_of(work: Any) -> Callable[[Any], bool]:
    """The door of this node."""
    is_public = work.settings.flag("course.public")

    def may_come_in(connection: Any) -> bool:
        scope = connection.scope
        if not is_public or scope["type"] != "http":
            return False
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        if scope["method"] in ("GET", "HEAD"):
            return bool(path.startswith(("/course/", *LOADED)))
        return scope["method"] == "POST" and path.startswith("/course/") and is_from_here(connection.headers)

    return may_come_in


def is_from_here(headers: Any) -> bool:
    """Was it sent by a page of this site, or by no page at all."""
    origin = headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != headers.get("host", ""):
        return False
    return headers.get("sec-fetch-site", "same-origin") in ("same-origin", "none")
