"""The pages of machines: which version each one runs, what came of its last boots, and what it said on its console."""

from __future__ import annotations

from datetime import UTC, datetime
from html import escape
from typing import Any

import anyio
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from boxwork import errors
from boxwork.packs.images.slots import Boot, Slots, State, machines

# The end of a console, which is where the reason stands.  Unit: bytes; the whole log lies in the data directory.
CONSOLE_BYTES_SHOWN = 16 * 1024
HEX_SHOWN = 19  # "sha256:" and twelve digits


def routes(work: Any) -> list[BaseRoute]:
    """`/images/machines` and `/images/machines/{name}`."""

    async def machines_page(request: Request) -> Response:
        states = await anyio.to_thread.run_sync(lambda: [Slots(work, name) for name in machines(work)])
        main = await anyio.to_thread.run_sync(lambda: "".join(_card(request, slots) for slots in states))
        empty = (
            '<div class="card empty"><h2>No machine yet</h2><p class="quiet">Boot an image that was built:</p>'
            "<pre>boxwork images boot web IMAGE</pre></div>"
        )
        about = "A version is on trial until it was booted and said that it is healthy; else the one before comes back."
        head = _head(_images(request.scope.get("root_path", "")), "Machines", about)
        return _page(request, "Machines", head + f'<div class="cards">{main or empty}</div>')

    async def machine_page(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in await anyio.to_thread.run_sync(machines, work):
            raise errors.NotFound(f"there is no machine {name[:80]!r}: `boxwork images boot NAME IMAGE` makes one")
        main = await anyio.to_thread.run_sync(_machine, request, Slots(work, name))
        return _page(request, name, main)

    return [
        Route("/images/machines", machines_page, methods=["GET"]),
        Route("/images/machines/{name}", machine_page, methods=["GET"]),
    ]


def _card(request: Request, slots: Slots) -> str:
    state, name = slots.state(), escape(slots.name)
    last = state.history[-1] if state.history else None
    said = f"{_verdict(last)} {_time(last.at_ns)}" if last else "never booted"
    address = f"{request.scope.get('root_path', '')}/images/machines/{name}"
    runs = _short(state.versions[state.good]) if state.good else "no version was healthy yet"
    return (
        f'<article class="card"><h2><a href="{address}">{name}</a></h2>'
        f'<p>{runs}</p><p class="quiet">{said}</p></article>'
    )


def _machine(request: Request, slots: Slots) -> str:
    state = slots.state()
    base = request.scope.get("root_path", "")
    kept = "".join(
        f"<tr><td>{slot}</td><td>{_short(ref)}</td><td>{_role(state, slot)}</td></tr>"
        for slot, ref in sorted(state.versions.items())
    )
    refused = "".join(
        f"<tr><td>{_short(ref)}</td><td>{escape(reason)}</td></tr>" for ref, reason in reversed(state.refused.items())
    )
    boots = "".join(_boot(slots, boot, not at) for at, boot in enumerate(reversed(state.history)))
    return (
        _head(f'{_images(base)} / <a href="{base}/images/machines">Machines</a>', slots.name)
        + _section("Slots", ("Slot", "Version", "State"), kept)
        + _section("Refused", ("Version", "Why"), refused)
        + f'<section><h2>Boots</h2><div class="row">{boots or "none yet"}</div></section>'
    )


def _role(state: State, slot: str) -> str:
    if slot == state.good:
        return '<span class="tag on">runs</span>'
    if slot == state.trial:
        return f'<span class="tag now">on trial, tried {state.tries} times</span>'
    return '<span class="tag">was good before</span>'


def _boot(slots: Slots, boot: Boot, opened: bool) -> str:
    console = escape(slots.console(boot, CONSOLE_BYTES_SHOWN)) or "It said nothing."
    about = f"slot {boot.slot} · {boot.duration_ms / 1000:.1f} s · {_time(boot.at_ns)}"
    reason = f"Its disk is <code>{escape(boot.reason)}</code>" if boot.verdict == "healthy" else escape(boot.reason)
    return (
        f'<details class="card"{" open" if opened else ""}><summary>{boot.number} {_verdict(boot)}'
        f' {_short(boot.version)} <span class="quiet">{about}</span></summary>'
        f"<p>{reason}</p><pre>{console}</pre></details>"
    )


def _verdict(boot: Boot) -> str:
    return f'<span class="tag {"on" if boot.verdict == "healthy" else "bad"}">{escape(boot.verdict)}</span>'


def _head(crumb: str, title: str, about: str = "") -> str:
    said = f'<p class="quiet">{escape(about)}</p>' if about else ""
    return f'<header><p class="crumb">{crumb}</p><h1>{escape(title)}</h1>{said}</header>'


def _images(base: str) -> str:
    return f'<a href="{base}/images">Images</a>'


def _section(title: str, heads: tuple[str, ...], rows: str) -> str:
    if not rows:
        return ""
    head = "".join(f'<th scope="col">{each}</th>' for each in heads)
    table = f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
    return f"<section><h2>{title}</h2>{table}</section>"


def _short(ref: str) -> str:
    return f'<code title="{escape(ref)}">{escape(ref[:HEX_SHOWN])}…</code>'


def _time(at_ns: int) -> str:
    at = datetime.fromtimestamp(at_ns / 1e9, UTC)
    return f'<time datetime="{at.isoformat()}">{at:%Y-%m-%d %H:%M:%S}Z</time>'


def _page(request: Request, title: str, main: str) -> Response:
    shell = request.app.state.shell
    if "images" not in shell.folders:
        shell.add_static("images", "boxwork.packs.images")
    reply: Response = shell.page(
        request, title, f'<div class="images">{main}</div>', styles=[shell.address("images", "images.css")]
    )
    return reply
