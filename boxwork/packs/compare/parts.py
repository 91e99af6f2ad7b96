"""What all pages of the pack are made of."""

from __future__ import annotations

from datetime import UTC, datetime
from html import escape
from typing import Any

from starlette.requests import Request
from starlette.responses import Response


def page(request: Request, title: str, main: str) -> Response:
    shell = request.app.state.shell
    if "compare" not in shell.folders:
        shell.add_static("compare", "boxwork.packs.compare")
    styles = [shell.address("compare", "compare.css")]
    reply: Response = shell.page(request, title, f'<div class="compare">{main}</div>', styles=styles)
    return reply


def base_of(request: Request) -> str:
    return escape(request.scope.get("root_path", ""))


def head(crumbs: str, title: str, about: str = "", tools: str = "") -> str:
    said = f'<p class="quiet">{escape(about)}</p>' if about else ""
    return f'<header class="head"><div>{crumbs}<h1 id="heading">{escape(title)}</h1>{said}</div>{tools}</header>'


def crumbs(base: str, name: str = "", number: int = 0) -> str:
    more = f' / <a href="{base}/compare/{escape(name)}/{number}">{escape(name)} run {number}</a>' if name else ""
    return f'<p class="crumb"><a href="{base}/compare">Compare</a>{more}</p>'


def seconds(times: dict[str, Any], lap: str) -> str:
    return f"{times[lap] / 1e9:,.2f} s" if lap in times else "–"


def time(at_ns: int) -> str:
    at = datetime.fromtimestamp(at_ns / 1e9, UTC)
    return f'<time datetime="{at:%Y-%m-%dT%H:%M:%SZ}">{at:%Y-%m-%d %H:%M} UTC</time>'


def lineage_link(base: str, ref: str) -> str:
    return f'<a href="{base}/why/{ref}"><code>{ref}</code></a>'


def scrolling(label: str, table: str) -> str:
    """A table that scrolls by itself where it is wider than the page; by keyboard, too."""
    return f'<div class="wide" tabindex="0" role="region" aria-label="{label}">{table}</div>'
