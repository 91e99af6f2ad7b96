"""What the pack answers over HTTP: the public website of each course.  The organiser's pages are in `organiser`.

GET  /course/{name}/                      the start; `schedule`, `materials`, `session/…`, `page/…` beside it
GET  /course/{name}/materials/{file}      a handout, from its time on; before, 403 with the time
GET  /course/{name}/course.ics            the calendar
GET  /course/{name}/register              the form; POST to it registers
GET  /course/{name}/resources?day=        what is free
GET  /course/{name}/me/{token}            somebody's own page; below it:
     sessions, details, cancel, book, unbook (POST), resources, sessions.ics (GET)
"""

from __future__ import annotations

import functools
import mimetypes
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import anyio
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from boxwork import Ref, errors
from boxwork.packs.course import facts, organiser
from boxwork.packs.course.counter import Counter
from boxwork.packs.course.office import Office
from boxwork.packs.course.outline import Course
from boxwork.packs.course.pages import long_time
from boxwork.packs.course.people import PRINCIPAL, BadField
from boxwork.packs.course.replies import filled_reply, form_of, html_reply, one_of

# What a browser may show in its own window; everything else is saved, because it could be a page with scripts.
SHOWN = ("application/pdf", "text/plain", "image/png", "image/jpeg", "image/webp", "video/mp4", "audio/mpeg")
CHUNK_BYTES = 256 * 1024
TITLES = {400: "That cannot be read", 403: "Not for everybody", 404: "Nothing here", 409: "That cannot be done"}

Endpoint = Callable[[Request], Awaitable[Response]]


class Website:
    """The endpoints, over one office."""

    def __init__(self, work: Any) -> None:
        self.work = work
        self.office: Office = work.part("course")
        self.counter = Counter(self.office)

    # --- pages

    async def page(self, request: Request) -> Response:
        """`GET /course/{name}/…`: a page as it is now; the same page has the same ETag."""
        name = request.path_params["name"]
        path = request.scope["path"].removeprefix(root_of(request)).removeprefix(f"/course/{name}/")
        ref, text = await _thread(self._page, name, path, root_of(request))
        return html_reply(request, text, etag=ref.hex)

    def _page(self, name: str, path: str, root: str) -> tuple[Ref, str]:
        course = self._course(name)
        ref, _ = self.office.page(self.office.site(course, root), path)
        return ref, self.work.get(ref).decode()

    def _course(self, name: str) -> Course:
        return self.office.course(self.office.overview(name).version.tree)

    async def material(self, request: Request) -> Response:
        """`GET /course/{name}/materials/{file}`: a handout; before its time 403, with the time."""
        name, file = request.path_params["name"], request.path_params["file"]
        course = await _thread(self._course, name)
        handed = [(session, one) for session in course.sessions for one in session.head.materials if one.file == file]
        if not handed:
            raise errors.NotFound(f"nothing called {file[:100]!r} is handed out in this course")
        site = self.office.site(course, root_of(request))
        times = [course.release_of(session, one) for session, one in handed]
        early = [time for time in times if time is not None]
        if len(early) == len(times) and min(early) > site.now:
            title = next((one.title for _, one in handed if one.title), file)
            shown = {
                **site.frame("materials", title),
                "from": long_time(min(early)),
                "from_iso": min(early).isoformat(),
                "timezone": course.head.timezone,
            }
            return filled_reply(request, "later", shown, 403)
        material = course.materials[file]
        space = self.office.people(name).space
        opened = await _thread(space.open, Ref.parse(material.ref), principal=PRINCIPAL)
        kind = mimetypes.guess_type(file)[0] or "application/octet-stream"
        place = "inline" if kind in SHOWN else "attachment"
        headers = {
            "content-length": str(material.bytes),
            "content-disposition": f'{place}; filename="{file}"',
            "cache-control": "no-cache",
            "content-security-policy": "sandbox; default-src 'none'",
        }
        return StreamingResponse(_chunks(opened), 200, headers, media_type=kind)

    async def calendar(self, request: Request) -> Response:
        """`GET /course/{name}/course.ics`: all sessions of the course."""
        name = request.path_params["name"]
        data = await _thread(self.office.calendar, name, self.address(request))
        return ics_reply(data, name)

    def address(self, request: Request) -> str:
        """How this server is called outside."""
        told: str = self.work.settings.text("course.address").rstrip("/")
        return (told or str(request.base_url).rstrip("/").removesuffix(root_of(request))) + root_of(request)

    # --- registering

    async def form(self, request: Request) -> Response:
        """`GET /course/{name}/register`: how many seats are free, and the form."""
        return await self._form(request, {}, {}, "", 200)

    async def _form(
        self, request: Request, values: dict[str, str], faults: dict[str, str], said: str, status: int, once: str = ""
    ) -> Response:
        name = request.path_params["name"]
        shown = await _thread(self.counter.form, name, root_of(request), values, faults, said, once)
        return filled_reply(request, "register", shown, status)

    async def register(self, request: Request) -> Response:
        """`POST /course/{name}/register`, a form with `name`, `address`, `wishes`, `once`; leads to one's page."""
        form = await form_of(request)
        values = {name: one_of(form, name) for name in ("name", "address", "wishes")}
        once, course = one_of(form, "once"), request.path_params["name"]
        if not (16 <= len(once) <= 64 and once.isascii() and once.isalnum()):
            raise errors.BadInput("once: 16 to 64 letters and digits, as the form has them; open the form again")
        try:
            _, details = await _thread(
                functools.partial(
                    self.office.register,
                    course,
                    who=values["name"],
                    address=values["address"],
                    wishes=values["wishes"],
                    once=once,
                )
            )
        except BadField as fault:
            return await self._form(request, values, {fault.field: sentence(fault.message)}, "", 400, once)
        except errors.Refused as refusal:
            return await self._form(request, values, {}, sentence(refusal.message), 409, once)
        return see(request, f"/course/{course}/me/{details.token}")

    # --- somebody's own page

    async def me(self, request: Request) -> Response:
        """`GET /course/{name}/me/{token}`"""
        return await self._me(request, request.query_params.get("done", ""))

    async def _me(
        self,
        request: Request,
        done: str = "",
        values: dict[str, str] | None = None,
        faults: dict[str, str] | None = None,
        said: str = "",
        status: int = 200,
    ) -> Response:
        name, token = request.path_params["name"], request.path_params["token"]
        shown = await _thread(
            self.counter.me, name, token, root_of(request), self.address(request), done, values, faults or {}, said
        )
        return filled_reply(request, "me", shown, status)

    async def sessions(self, request: Request) -> Response:
        """`POST …/sessions`: the sessions that somebody goes to."""
        form = await form_of(request)
        chosen = tuple(value for key, value in form if key == "session")
        return await self._do(request, "sessions", facts.choose, sessions=chosen)

    async def details(self, request: Request) -> Response:
        """`POST …/details`: another name, address or wish."""
        form = await form_of(request)
        name, token = request.path_params["name"], request.path_params["token"]
        values = {key: one_of(form, key) for key in ("name", "address", "wishes")}
        try:
            await _thread(
                functools.partial(
                    self.office.amend,
                    name,
                    token,
                    who=values["name"],
                    address=values["address"],
                    wishes=values["wishes"],
                )
            )
        except BadField as fault:
            return await self._me(request, "", values, {fault.field: sentence(fault.message)}, "", 400)
        except errors.Refused as refusal:
            return await self._me(request, said=sentence(refusal.message), status=409)
        return see(request, self._mine(request, "?done=details"))

    async def cancel(self, request: Request) -> Response:
        """`POST …/cancel`: the place goes to the next who waits."""
        name, token = request.path_params["name"], request.path_params["token"]
        await _thread(self.office.who, name, token)
        await _thread(self.office.cancel, name, token)
        return see(request, self._mine(request, "?done=cancelled"))

    async def book(self, request: Request) -> Response:
        """`POST …/book`, a form with `slot` (resource, a bar, the minute), `day` and `length`."""
        form = await form_of(request)
        day, (resource, start) = one_of(form, "day"), slot_of(one_of(form, "slot"))
        length = whole(one_of(form, "length"), "length")
        inputs: dict[str, Any] = {"resource": resource, "date": day, "start": start, "length": length}
        try:
            await _thread(functools.partial(self._commit, request, facts.book, **inputs))
        except errors.Refused as refusal:
            return await self._grid(request, day, sentence(refusal.message), "", 409, length)
        return see(request, self._mine(request, f"/resources?day={day}&done=booked&length={length}"))

    async def unbook(self, request: Request) -> Response:
        """`POST …/unbook`, a form with `slot` and `day`."""
        form = await form_of(request)
        resource, start = slot_of(one_of(form, "slot"))
        return await self._do(
            request, "given-back", facts.unbook, resource=resource, date=one_of(form, "day"), start=start
        )

    async def _do(self, request: Request, done: str, box: Any, **inputs: Any) -> Response:
        try:
            await _thread(functools.partial(self._commit, request, box, **inputs))
        except errors.Refused as refusal:
            return await self._me(request, said=sentence(refusal.message), status=409)
        return see(request, self._mine(request, f"?done={done}"))

    def _commit(self, request: Request, box: Any, **inputs: Any) -> Any:
        name = request.path_params["name"]
        person = self.office.who(name, request.path_params["token"])
        return self.work.commit(box, course=name, link=person.link, **inputs)

    def _mine(self, request: Request, rest: str) -> str:
        return f"/course/{request.path_params['name']}/me/{request.path_params['token']}{rest}"

    async def my_calendar(self, request: Request) -> Response:
        """`GET …/sessions.ics`: the sessions that somebody goes to, and what they booked."""
        name, token = request.path_params["name"], request.path_params["token"]
        person = await _thread(self.office.who, name, token)
        data = await _thread(self.office.calendar, name, self.address(request), person)
        return ics_reply(data, f"{name}-mine")

    # --- what can be booked

    async def resources(self, request: Request) -> Response:
        """`GET /course/{name}/resources?day=`, and below somebody's page: what is free on a day."""
        query = request.query_params
        length = query.get("length", "")
        return await self._grid(
            request,
            query.get("day", ""),
            "",
            query.get("done", ""),
            200,
            int(length) if length.isascii() and length.isdigit() and len(length) < 5 else 0,
        )

    async def _grid(self, request: Request, day: str, said: str, done: str, status: int, length: int = 0) -> Response:
        name, token = request.path_params["name"], request.path_params.get("token", "")
        shown = await _thread(self.counter.grid, name, token, root_of(request), day, said, done, length)
        return filled_reply(request, "resources", shown, status)

    # --- what went wrong, in the course's own clothes

    def kindly(self, endpoint: Endpoint) -> Endpoint:
        """For a person, an error is a page of the course that was asked for; programs get the usual JSON."""

        @functools.wraps(endpoint)
        async def answer(request: Request) -> Response:
            try:
                return await endpoint(request)
            except errors.BoxworkError as fault:
                if "text/html" not in request.headers.get("accept", "") or fault.status >= 500:
                    raise
                try:
                    course = await _thread(self._course, request.path_params["name"])
                except errors.BoxworkError:
                    raise fault from None
                site = self.office.site(course, root_of(request))
                title = TITLES.get(fault.status, "That did not work")
                shown = {**site.frame("", title), "said": sentence(fault.message)}
                return filled_reply(request, "trouble", shown, fault.status)

        return answer


async def _thread(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return await anyio.to_thread.run_sync(functools.partial(function, *args, **kwargs))


def _chunks(file: Any) -> Iterator[bytes]:
    with file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


def root_of(request: Request) -> str:
    root: str = request.scope.get("root_path", "")
    return root


def see(request: Request, path: str) -> Response:
    """After something was done: look there.  Going back or reloading does nothing twice."""
    return RedirectResponse(
        root_of(request) + path, 303, {"cache-control": "no-store", "referrer-policy": "same-origin"}
    )


def ics_reply(data: bytes, name: str) -> Response:
    headers = {"cache-control": "no-cache", "content-disposition": f'attachment; filename="{name}.ics"'}
    return Response(data, 200, headers, media_type="text/calendar; charset=utf-8")


def sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "?", "!")) else ".")


def slot_of(text: str) -> tuple[str, int]:
    resource, _, start = text.partition("|")
    return resource, whole(start, "slot")


def whole(text: str, name: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 4):
        raise errors.BadInput(f"{name}={text[:20]!r}: a number of minutes, please")
    return int(text)


async def bare(request: Request) -> Response:
    """`GET /course/{name}`: the start has a slash at its end, so that links in it stay inside the course."""
    return RedirectResponse(f"{root_of(request)}/course/{request.path_params['name']}/", 308)


def routes(work: Any) -> list[BaseRoute]:
    site = Website(work)
    kindly = site.kindly
    base, me = "/course/{name}", "/course/{name}/me/{token}"
    return [
        Route(base, bare, methods=["GET"], include_in_schema=False),
        Route(f"{base}/course.ics", kindly(site.calendar), methods=["GET"]),
        Route(f"{base}/materials/{{file}}", kindly(site.material), methods=["GET"]),
        Route(f"{base}/register", kindly(site.form), methods=["GET"]),
        Route(f"{base}/register", kindly(site.register), methods=["POST"]),
        Route(f"{base}/resources", kindly(site.resources), methods=["GET"]),
        Route(me, kindly(site.me), methods=["GET"]),
        Route(f"{me}/resources", kindly(site.resources), methods=["GET"], include_in_schema=False),
        Route(f"{me}/sessions.ics", kindly(site.my_calendar), methods=["GET"]),
        Route(f"{me}/sessions", kindly(site.sessions), methods=["POST"]),
        Route(f"{me}/details", kindly(site.details), methods=["POST"]),
        Route(f"{me}/cancel", kindly(site.cancel), methods=["POST"]),
        Route(f"{me}/book", kindly(site.book), methods=["POST"]),
        Route(f"{me}/unbook", kindly(site.unbook), methods=["POST"]),
        Route(f"{base}/", kindly(site.page), methods=["GET"]),
        Route(f"{base}/{{page}}", kindly(site.page), methods=["GET"]),
        Route(f"{base}/session/{{session}}", kindly(site.page), methods=["GET"]),
        Route(f"{base}/page/{{page}}", kindly(site.page), methods=["GET"]),
        *organiser.routes(site),
    ]
