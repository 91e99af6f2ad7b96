"""The gallery page: the fragment that stands in the shell, and the first rows inside it; and the list of faults."""

from __future__ import annotations

import importlib.resources
import re
from html import escape
from typing import Any

import anyio
from starlette.requests import Request
from starlette.responses import Response

# Rows that come with the page: a large screen full of the smallest cells, so that the first frame is complete.
FIRST_ROWS = 120
# Files in the list of faults: more are a folder of something else.  Unit: files.
FAULTS_SHOWN = 2000


def shell_of(request: Request) -> Any:
    shell = request.app.state.shell
    if "thumbs" not in shell.folders:
        shell.add_static("thumbs", "boxwork.packs.thumbs")
    return shell


async def faults_page(request: Request, studio: Any) -> Response:
    """Plain HTML: it is looked at once, by somebody with a problem."""
    shell = shell_of(request)
    await anyio.to_thread.run_sync(studio.refresh)
    faults = studio.album.faults
    rows = "".join(
        f"<tr><th scope=row>{escape(path)}</th><td>{escape(plain_reason(reason))}</td></tr>"
        for path, reason in faults[:FAULTS_SHOWN]
    )
    more = f"<p>… and {len(faults) - FAULTS_SHOWN:,} more.</p>" if len(faults) > FAULTS_SHOWN else ""
    said = (
        "The files are as they were; one that is mended is taken in by itself."
        if faults
        else "Every file of the inventory can be read."
    )
    table = f"<table><thead><tr><th scope=col>File</th><th scope=col>Why</th></tr></thead><tbody>{rows}</tbody></table>"
    main = (
        f'<section class="gallery faults" aria-labelledby="heading"><div class="head"><div>'
        f'<h1 id="heading">Files that could not be read</h1><p class="quiet">{said}</p></div></div>'
        f"{table if faults else ''}{more}</section>"
    )
    styles = [shell.address("thumbs", "gallery.css")]
    reply: Response = shell.page(request, "Files that could not be read", main, styles=styles)
    return reply


def plain_reason(reason: str) -> str:
    """Without the name of the function and of the kind of error, and when it is tried again: those are for the log."""
    return re.sub(r"^\w+ failed with \w+: | \([\d.]+ s ago; .*\)$", "", reason)


async def gallery_page(request: Request, studio: Any) -> Response:
    shell = shell_of(request)
    folder = importlib.resources.files("boxwork.packs.thumbs")
    version, total, rows = await anyio.to_thread.run_sync(studio.window, "", 0, FIRST_ROWS)
    studio.work_off()
    reply: Response = shell.page(
        request,
        "Gallery",
        folder.joinpath("gallery.html").read_text("utf-8"),
        styles=[shell.address("thumbs", "gallery.css")],
        modules=[shell.address("thumbs", "gallery.js")],
        preload=[shell.address("thumbs", name) for name in ("grid.js", "source.js", "viewer.js", "heart.js")],
        data={"version": version, "total": total, "first": 0, "rows": rows, "faults": len(studio.album.faults)},
        tools=folder.joinpath("search.html").read_text("utf-8"),
    )
    return reply
