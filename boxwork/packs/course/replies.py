"""Pages of a course as answers: the head that browsers get, what a page loads, and forms as they come in."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl

import anyio
from starlette.requests import Request
from starlette.responses import Response

from boxwork import errors
from boxwork.packs.course.pages import fill, layout_of

MARK = "<!--looks-->"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; form-action 'self';"
    " base-uri 'none'; frame-ancestors 'none'"
)
# A form that was filled in.  Unit: bytes.  Reason: the longest field has 1,000 characters, a course 400 sessions.
FORM_BYTES_MAX = 64 * 1024
# A whole form comes within this.  Unit: s.
FORM_S_MAX = 20.0
FIELDS_MAX = 1000


def looks_of(request: Request) -> str:
    """The elements that load the house's style and this pack's.

    They are put in when a page leaves, because their addresses change with every version of the program: a page that is
    derived does not depend on them.
    """
    shell = request.app.state.shell
    if "course" not in shell.folders:
        shell.add_static("course", "boxwork.packs.course")
    root = request.scope.get("root_path", "")
    icon, theme = shell.address("shell", "mark.svg"), shell.address("shell", "theme.js")
    sheets = (shell.address("shell", "shell.css"), shell.address("course", "course.css"))
    return (
        f'<link rel="icon" href="{root}{icon}" type="image/svg+xml"><script src="{root}{theme}"></script>'
        + "".join(f'<link rel="stylesheet" href="{root}{sheet}">' for sheet in sheets)
        + f'<script type="module" src="{root}{shell.address("course", "grid.js")}"></script>'
    )


def html_reply(request: Request, text: str, status: int = 200, *, etag: str = "") -> Response:
    """A page.  One that is derived has an ETag; one of this moment is kept by nobody."""
    headers = {
        "content-security-policy": POLICY,
        "cross-origin-opener-policy": "same-origin",
        # Other sites never learn an address of this one, which may be somebody's own.  Not "no-referrer": a browser
        # then sends forms without their origin, and the guard must see it.
        "referrer-policy": "same-origin",
        "cache-control": "no-cache" if etag else "no-store",
    }
    looks = looks_of(request)
    if etag:
        shell = request.app.state.shell
        headers["etag"] = f'"{etag[:32]}-{shell.digests["shell"]}-{shell.digests["course"]}"'
        if request.headers.get("if-none-match") == headers["etag"]:
            return Response(None, 304, headers)
    return Response(text.replace(MARK, looks, 1), status, headers, media_type="text/html; charset=utf-8")


def filled_reply(request: Request, name: str, shown: dict[str, Any], status: int = 200) -> Response:
    """A page of this moment."""
    return html_reply(request, fill(layout_of(name), name, shown), status)


async def form_of(request: Request) -> list[tuple[str, str]]:
    """The fields of a form in order.  Raises `BadInput`, `TooLarge`, `Timeout`."""
    if request.headers.get("content-type", "").split(";")[0].strip() != "application/x-www-form-urlencoded":
        raise errors.BadInput("send a form: content-type application/x-www-form-urlencoded")
    data = bytearray()
    try:
        with anyio.fail_after(FORM_S_MAX):
            async for chunk in request.stream():
                data += chunk
                if len(data) > FORM_BYTES_MAX:
                    raise errors.TooLarge(f"the form has more than {FORM_BYTES_MAX:,} bytes")
    except TimeoutError:
        raise errors.Timeout(f"the form did not come whole within {FORM_S_MAX:g} s") from None
    try:
        return parse_qsl(data.decode("utf-8"), keep_blank_values=True, max_num_fields=FIELDS_MAX, errors="strict")
    except ValueError as fault:
        raise errors.BadInput(f"the form cannot be read: {fault}") from None


def one_of(form: list[tuple[str, str]], name: str) -> str:
    return next((value for key, value in form if key == name), "")
