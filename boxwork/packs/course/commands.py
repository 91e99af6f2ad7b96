"""The command group `boxwork course`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cyclopts import App


def commands(context: Any) -> App:
    """The group, for one call of the command line."""
    app = App(name="course", help="A course's website: pages from text, registration, materials, booking, calendars.")
    _add_writing(app, context)
    _add_versions(app, context)
    _add_people(app, context)
    return app


def _add_writing(app: App, context: Any) -> None:
    output = context.output

    @app.command
    def sample(folder: Path) -> None:
        """Write the five-day sample course into a folder, to begin with."""
        from boxwork import clock
        from boxwork.packs.course.sampling import write_sample

        count = write_sample(folder, clock.SystemClock().now_ns())
        output.answer({"folder": str(folder), "files": count}, f"{count} files are in {folder}: begin with course.md")

    @app.command
    def check(folder: Path) -> None:
        """Read a course folder and tell every mistake; nothing is kept."""
        from boxwork.packs.course.office import checked, gather

        course = checked(*gather(folder, context.settings.integer("course.material_bytes_max")))
        told = {
            "course": course.head.name,
            "days": len(course.head.days),
            "sessions": len(course.sessions),
            "pages": len(course.pages),
            "materials": len(course.materials),
        }
        output.answer(told, f"{course.head.name} is good: " + counted(told))

    @app.command
    def publish(folder: Path, *, reason: str, author: str = "") -> None:
        """Check a course folder, build what changed, and show it.

        Parameters
        ----------
        folder: the folder with course.md
        reason: why; it stands in the list of versions
        author: who; the default is the user of this machine
        """
        with context.work() as work:
            told = work.part("course").publish(folder, by=author or context.user, why=reason)
        output.answer(told, said(told))


def counted(told: dict[str, Any]) -> str:
    return ", ".join(f"{told[what]} {what}" for what in ("days", "sessions", "pages", "materials"))


def said(told: dict[str, Any]) -> str:
    """What a publication did, in words."""
    rebuilt = told["rebuilt"]
    named = ": " + ", ".join(path or "start" for path in rebuilt[:5]) if 0 < len(rebuilt) <= 5 else ""
    return (
        f"version {told['version']} of {told['course']} is shown at /course/{told['course']}/ ({told['tree'][:19]}…)\n"
        f"{len(rebuilt)} of {told['pages']} pages were built{named}"
    )


def _add_versions(app: App, context: Any) -> None:
    output = context.output

    @app.command(name="list")
    def list_() -> None:
        """The courses of this node."""
        with context.work() as work:
            office = work.part("course")
            found = [(name, office.overview(name)) for name in office.names()]
        rows = (
            {
                "course": name,
                "title": one.version.title,
                "seats": one.version.rules.capacity,
                "taken": one.taken,
                "waiting": one.queued,
                "registration": "closed" if one.closed else "open",
            }
            for name, one in found
        )
        output.table(["course", "title", "seats", "taken", "waiting", "registration"], rows, "no course is published")

    @app.command
    def versions(course: str) -> None:
        """The versions of a course, the newest first, by number and name."""
        from boxwork.packs.course import facts

        with context.work() as work:
            office = work.part("course")
            office.overview(course)
            found = office.ask(facts.versions, course=course)
        rows = (
            {"number": one.number, "tree": str(one.tree), "by": one.by, "why": one.why, "at_ns": one.at_ns}
            for one in found
        )
        output.table(["number", "tree", "by", "why"], rows)

    @app.command
    def restore(course: str, version: str, *, reason: str = "put back", author: str = "") -> None:
        """Show an earlier version again.

        Parameters
        ----------
        course: the name of the course
        version: its number, its name (sha256:…), or the beginning of that
        reason: why; it stands in the list of versions
        author: who; the default is the user of this machine
        """
        with context.work() as work:
            told = work.part("course").restore(course, version, by=author or context.user, why=reason)
        output.answer(told, said(told))


def _add_people(app: App, context: Any) -> None:
    output = context.output

    @app.command
    def participants(course: str, *, csv: bool = False) -> None:
        """Who has a seat, and who waits, in order.

        Parameters
        ----------
        course: the name of the course
        csv: as a table for spreadsheets
        """
        from boxwork.packs.course.organiser import COLUMNS, csv_of, rows_of

        with context.work() as work:
            rows = rows_of(work.part("course"), course)
        if csv:
            output.answer({"csv": csv_of(rows)}, csv_of(rows).replace("\r\n", "\n").rstrip())
        else:
            output.table(COLUMNS, ({key: row[key] for key in COLUMNS} for row in rows), "nobody has registered yet")

    @app.command
    def letters(course: str, *, address: str = "") -> None:
        """What would have been mailed, the newest first. Nothing is sent.

        Parameters
        ----------
        course: the name of the course
        address: how the site is called, as https://course.example.org; the default is the setting course.address
        """
        from boxwork.packs.course.organiser import post_of

        with context.work() as work:
            rows = post_of(work.part("course"), course, (address or work.settings.text("course.address")).rstrip("/"))
        output.table(["at", "person", "to", "subject", "text"], rows, "no letter yet")

    @app.command
    def close(course: str) -> None:
        """Close registration."""
        _closed(course, True)

    @app.command(name="open")
    def open_(course: str) -> None:
        """Open registration again."""
        _closed(course, False)

    def _closed(course: str, closed: bool) -> None:
        from boxwork.packs.course import facts

        with context.work() as work:
            work.part("course").overview(course)
            work.commit(facts.close, course=course, closed=closed)
        output.answer(
            {"course": course, "closed": closed}, f"registration of {course} is {'closed' if closed else 'open'}"
        )

    @app.command
    def cancel(course: str, number: int) -> None:
        """Cancel somebody's registration; the first who waits moves up.

        Parameters
        ----------
        course: the name of the course
        number: of the person, as `boxwork course participants` shows it
        """
        with context.work() as work:
            work.part("course").overview(course)
            work.part("course").cancel_number(course, number)
        output.answer({"course": course, "cancelled": number}, f"the registration of no. {number} is cancelled")
