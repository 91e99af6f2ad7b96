"""The pages: the scans, and one scan with its plan, its measures, what did not come along, and how it came about.

Written by the server; the one module sends a scan that is dropped or chosen.  Everything else can be read without it.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from html import escape
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from boxwork import Ref, errors
from boxwork.packs.scans.measuring import rows_of
from boxwork.packs.scans.package import SUFFIXES
from boxwork.packs.scans.picture import plan_svg
from boxwork.packs.scans.shelf import Scan, Shelf

PATHS_SHOWN = 12  # of one kind of loss; the report has more
HEX_SHOWN = 12


def gather(shelf: Shelf, ref: Ref) -> dict[str, Any]:
    """Everything a scan's page shows; what could not be derived is a message in its place.  Runs in a thread."""
    told: dict[str, Any] = {"lineage": []}

    def part(name: str, make: Any) -> None:
        try:
            made = make(ref)
        except errors.NotFound:
            raise
        except errors.BoxworkError as fault:
            told[f"{name}_fault"] = reason(fault)
            return
        told[name] = shelf.work.get(made)
        told["lineage"].append(shelf.lineage(made))

    part("glb", shelf.glb)
    if "glb" in told:
        told["glb_bytes"] = len(told.pop("glb"))
        part("report", shelf.report)
        part("measures", shelf.measures)
        part("view", shelf.view)
    return told


def reason(fault: errors.BoxworkError) -> str:
    """What is wrong with a scan, without the name of the box and of Python's class."""
    return fault.message.split("ValueError: ", 1)[-1]


def list_page(request: Request, scans: list[Scan]) -> Response:
    base = _base(request)
    cards = "".join(_card(base, scan) for scan in scans)
    empty = (
        '<div class="card empty"><h2>No scan yet</h2><p class="quiet">Send one above, or make some to try:</p>'
        '<pre tabindex="0">boxwork scans sample\nboxwork scans add samples/flat.usdz samples/room-mesh.usdz</pre></div>'
    )
    accept = ",".join(SUFFIXES)
    send = (
        f'<form class="card send" id="send" data-to="{base}/scans"><label for="file">Send a scan</label>'
        f'<input id="file" type="file" accept="{accept}" aria-describedby="kinds">'
        '<p class="quiet" id="kinds">USDZ, USDC or USDA, as RoomPlan and scanner apps export it.</p>'
        '<p id="said" role="status"></p></form>'
    )
    head = '<header class="head"><div><h1>Scans</h1><p class="quiet">Rooms as GLB, and measured.</p></div></header>'
    return _page(request, "Scans", head + send + f'<div class="shelf">{cards or empty}</div>')


def _card(base: str, scan: Scan) -> str:
    return (
        f'<a class="card scan" href="{base}/scans/{scan.ref.hex}"><strong>{escape(scan.name)}</strong>'
        f'<span class="quiet">{size(scan.bytes)} · {_time(scan.at_ns)}</span></a>'
    )


def scan_page(request: Request, scan: Scan, told: dict[str, Any]) -> Response:
    base = _base(request)
    here = f"{base}/scans/{scan.ref.hex}"
    original = f'<a class="button" href="{base}/blobs/{scan.ref}" download="{escape(scan.name)}">Original</a>'
    if "glb_fault" in told:
        main = _head(base, scan, original) + _trouble("This scan cannot be read", told["glb_fault"])
        return _page(request, scan.name, main)
    buttons = (
        f'<a class="button first" href="{here}.glb" download>GLB</a>'
        f'<a class="button" href="{here}.glb?profile=unity" download>GLB for Unity</a>'
        f'<a class="button" href="{here}/measures?format=csv" download="measures.csv">Measures</a>{original}'
    )
    report = json.loads(told["report"])
    main = _head(base, scan, buttons) + _warning(report)
    if "measures" in told:
        found = json.loads(told["measures"])
        main += _pictures(plan_svg(found), told.get("view", b"").decode()) + _measures(found)
    else:
        main += _trouble("It cannot be measured", told.get("measures_fault", "there are no measures"))
    return _page(request, scan.name, main + _report(report, told["glb_bytes"]) + _lineage(base, told["lineage"]))


def _head(base: str, scan: Scan, buttons: str) -> str:
    about = f"{size(scan.bytes)} · {_time(scan.at_ns)}" if scan.at_ns else size(scan.bytes)
    return (
        f'<header class="head"><div><p class="crumb"><a href="{base}/scans">Scans</a></p><h1>{escape(scan.name)}</h1>'
        f'<p class="quiet">{about} · <code title="{scan.ref}">{scan.ref.hex[:HEX_SHOWN]}</code></p></div>'
        f'<div class="row">{buttons}</div></header>'
    )


def _trouble(title: str, said: str) -> str:
    said = escape(said[:1].upper() + said[1:])
    return f'<section class="card bad" role="alert"><h2>{title}</h2><p>{said}.</p></section>'


def _warning(report: dict[str, Any]) -> str:
    count = sum(entry["count"] for entry in report["lost"])
    if not count:
        return '<p class="verdict good">Everything in the scan is in the GLB.</p>'
    things = "thing" if count == 1 else "things"
    return f'<p class="verdict">{count} {things} did not come along: <a href="#report">see which</a>.</p>'


def _pictures(plan: str, view: str) -> str:
    figures = []
    if plan:
        figures.append(f'<figure class="card"><figcaption>Plan, lengths in metres</figcaption>{plan}</figure>')
    if view:
        figures.append(f'<figure class="card"><figcaption>From above</figcaption>{view}</figure>')
    return f'<div class="pictures">{"".join(figures)}</div>'


def _measures(found: dict[str, Any]) -> str:
    body, last = [], ""
    for what, name, value, doubt, unit, how, _ in rows_of({**found, "walls": (), "openings": (), "objects": ()}):
        shown = "" if what == last else escape(what)
        group = "" if what == last else ' class="begins"'
        last = what
        body.append(
            f'<tr{group}><th scope="row">{shown}</th><td>{escape(name.replace("_", " "))}</td>'
            f'<td class="number">{value:,.3f} {unit}</td><td class="number quiet">± {doubt:,.3f}</td>'
            f'<td class="minor quiet">{escape(how)}</td></tr>'
        )
    sensor = found["sensor"]
    checks = "".join(f"<li>{escape(check[:1].upper() + check[1:])}.</li>" for check in found["checks"])
    said = (
        f"± holds the truth in 95 of 100 cases for a scanner with a standard deviation of"
        f" {sensor['reading_sd_m'] * 1000:g} mm a reading and {sensor['relative_sd']:.1%} of the whole"
        " (settings scans.reading_sd_m, scans.relative_sd)."
    )
    form = "by the walls that the scanner made out" if found["form"] == "parametric" else "as a surface"
    return (
        f'<section><h2>Measures <span class="tag">{form}</span></h2>'
        f'{f"""<ul class="checks card">{checks}</ul>""" if checks else ""}'
        '<div class="wide" tabindex="0" role="region" aria-label="Measures"><table><thead><tr><th>What</th>'
        '<th>Measure</th><th class="number">Value</th><th class="number">±</th><th class="minor">How it was found</th>'
        f'</tr></thead><tbody>{"".join(body)}</tbody></table></div>{_elements(found)}<p class="quiet small">{said}</p>'
        "</section>"
    )


def _elements(found: dict[str, Any]) -> str:
    """Walls, openings and objects, one a row."""
    tables = ""
    for kind, names in (
        ("walls", ("length", "height", "area", "net_area")),
        ("openings", ("width", "height", "area")),
        ("objects", ("length", "width", "height")),
    ):
        parts = found.get(kind, ())
        if not parts:
            continue
        heads = "".join(f'<th class="number">{name.replace("_", " ")}</th>' for name in names)
        rows = ""
        for part in parts:
            beside = part.get("openings") if kind == "walls" else part.get("walls", [])
            cells = "".join(_cell(part[name]) for name in names)
            rows += (
                f'<tr class="begins"><th scope="row" title="{escape(part["uuid"])}">{escape(part["id"])}</th>{cells}'
                f'<td class="minor quiet">{escape(", ".join(beside or ()))}</td></tr>'
            )
        title = kind.capitalize()
        also = {"walls": "Openings in it", "openings": "In", "objects": ""}[kind]
        tables += (
            f'<h3>{title}</h3><div class="wide" tabindex="0" role="region" aria-label="{title}">'
            f'<table><thead><tr><th>Name</th>{heads}<th class="minor">{also}</th></tr></thead><tbody>{rows}</tbody>'
            "</table></div>"
        )
    return tables


def _cell(one: dict[str, Any]) -> str:
    return (
        f'<td class="number" title="{escape(one["how"])}">{one["value"]:,.3f} {one["unit"]}'
        f' <span class="quiet">± {one["plus_minus"]:,.3f}</span></td>'
    )


def _report(report: dict[str, Any], glb_bytes: int) -> str:
    holds = report["holds"]
    names = ("triangles", "points", "meshes", "instances", "nodes", "materials", "pictures")
    facts = "".join(f"<div><dt>{name}</dt><dd>{holds[name]:,}</dd></div>" for name in names if holds[name])
    facts += f"<div><dt>size</dt><dd>{size(glb_bytes)}</dd></div>"
    lists = _entries("Did not come along", report["lost"]) + _entries("Came along changed", report["changed"])
    return f'<section id="report"><h2>In the GLB</h2><dl class="card holds">{facts}</dl>{lists}</section>'


def _entries(title: str, entries: list[dict[str, Any]]) -> str:
    if not entries:
        return ""
    rows = ""
    for entry in entries:
        paths = "".join(f"<li><code>{escape(path)}</code></li>" for path in entry["paths"][:PATHS_SHOWN])
        more = entry["count"] - min(PATHS_SHOWN, len(entry["paths"]))
        rest = f'<li class="quiet">and {more:,} more</li>' if more else ""
        rows += (
            f'<details class="loss"><summary><span class="tag">{entry["count"]:,} × {escape(entry["what"])}</span> '
            f"{escape(entry['why'])}</summary><ul>{paths}{rest}</ul></details>"
        )
    return f'<h3>{title}</h3><div class="card losses">{rows}</div>'


def _lineage(base: str, outputs: list[dict[str, Any]]) -> str:
    rows = ""
    for one in outputs:
        inputs = ", ".join(f"{escape(name)} = {escape(text[:60])}" for name, text in one["inputs"].items())
        rows += (
            f'<tr><th scope="row">{escape(one["box"])}</th><td class="number">{one["duration_ms"]:,.0f} ms</td>'
            f'<td><a href="{base}/blobs/{one["ref"]}"><code>{one["ref"].hex[:HEX_SHOWN]}</code></a></td>'
            f'<td class="minor"><code>{one["key"][:HEX_SHOWN]}</code></td><td class="minor quiet">{inputs}</td></tr>'
        )
    return (
        '<section><h2>How it came about</h2><div class="wide" tabindex="0" role="region" aria-label="Lineage"><table>'
        '<thead><tr><th>Box</th><th class="number">Ran</th><th>Output</th><th class="minor">Key</th>'
        f'<th class="minor">Inputs</th></tr></thead><tbody>{rows}</tbody></table></div></section>'
    )


def _page(request: Request, title: str, main: str) -> Response:
    shell = request.app.state.shell
    if "scans" not in shell.folders:
        shell.add_static("scans", "boxwork.packs.scans")
    reply: Response = shell.page(
        request,
        title,
        f'<div class="scans">{main}</div>',
        styles=[shell.address("scans", "scans.css")],
        modules=[shell.address("scans", "send.js")],
    )
    return reply


def _base(request: Request) -> str:
    return escape(request.scope.get("root_path", ""))


def _time(at_ns: int) -> str:
    when = datetime.fromtimestamp(at_ns / 1e9, UTC)
    return f'<time datetime="{when.isoformat()}">{when:%Y-%m-%d %H:%M} UTC</time>'


def size(count: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"
