"""The pages: images, one image, one version with its difference, a build as it runs.

Written by the server; the modules only press buttons and follow events, so a page can be read without them.
"""

from __future__ import annotations

from datetime import UTC, datetime
from html import escape
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from boxwork import errors
from boxwork.packs.images import difference, progress
from boxwork.packs.images.watching import OVER
from boxwork.packs.images.workshop import Workshop

# Files of a difference on a page.  Unit: rows; `boxwork images diff --files` shows all.
FILES_SHOWN = 500
FILES_OPEN = 40  # so many are shown without asking
BUILDS_SHOWN = 8
HEX_SHOWN = 12  # of a digest in running text


def _shell(request: Request) -> Any:
    shell = request.app.state.shell
    if "images" not in shell.folders:
        shell.add_static("images", "boxwork.packs.images")
    return shell


def _page(request: Request, title: str, main: str, module: str, data: Any = None) -> Response:
    shell = _shell(request)
    modules = [shell.address("images", module)]
    reply: Response = shell.page(
        request,
        title,
        f'<div class="images">{main}</div>',
        styles=[shell.address("images", "images.css")],
        modules=modules,
        data=data,
    )
    return reply


def list_page(request: Request, shop: Workshop) -> Response:
    base = _base(request)
    cards = "".join(_card(base, shop.catalog.version(name)) for name in shop.catalog.names())
    empty = (
        '<div class="card empty"><h2>No image yet</h2><p class="quiet">Write a recipe, then build it:</p>'
        '<pre>cat &gt; web.toml &lt;&lt;END\npackages = ["nginx-light"]\nEND\nboxwork images build web.toml</pre></div>'
    )
    about = "Each is built once per dependency set, and only when something it depends on has changed."
    machines = f'<a class="button" href="{base}/images/machines">Machines</a>'
    main = _head("", "Images", about, machines) + f'<div class="cards">{cards or empty}</div>'
    return _page(request, "Images", main + _builds(base, _known_builds(shop)), "images.js")


def _card(base: str, version: dict[str, Any]) -> str:
    name, number = escape(version["name"]), version["number"]
    holds = f"{version['packages']} packages · {version['files']:,} files · {_size(version['bytes'])}"
    return (
        f'<article class="card image"><h2><a href="{base}/images/{name}">{name}</a>'
        f' <span class="tag">version {number}</span></h2>'
        f'<p class="why">{escape(version["reason"])}</p><p class="quiet">{holds} · {_time(version["at_ns"])}</p>'
        f'<p class="row">{_build_button(base, name)}'
        f'<a class="button" href="{base}/images/{name}/{number}">What is in it</a></p></article>'
    )


def image_page(request: Request, shop: Workshop, name: str) -> Response:
    base = _base(request)
    versions = shop.catalog.versions(name)
    rows = "".join(_version_row(base, version) for version in versions)
    heads = ("Version", "Why", "-Packages", "-Size", "Made", "")
    builds = [build for build in _known_builds(shop) if build["name"] == name]
    happened = "".join(
        f"<tr><td>{_time(at_ns)}</td><td>{escape(what)}</td><td>{number}</td>"
        f'<td class="minor">{escape(who or "–")}</td><td>{escape(why)}</td></tr>'
        for at_ns, what, number, who, why in shop.catalog.log(name)
    )
    main = (
        _head(_crumbs(base), name, "", _build_button(base, escape(name)))
        + _table(heads, rows)
        + _builds(base, builds)
        + f"<section><h2>What happened</h2>{_table(('When', 'What', 'Version', '-Who', 'Why'), happened)}</section>"
    )
    return _page(request, name, main, "images.js")


def _version_row(base: str, version: dict[str, Any]) -> str:
    name, number = escape(version["name"]), version["number"]
    tag, order = ' <span class="tag on">counts</span>', ""
    if not version["current"]:
        tag = ""
        order = (
            f'<button class="button" data-order="{base}/images/{name}/rollback" data-number="{number}"'
            f' data-sure="Let version {number} of {name} count?">Go to {number}</button>'
        )
    return (
        f'<tr><th scope="row"><a href="{base}/images/{name}/{number}">{number}</a>{tag}</th>'
        f'<td>{escape(version["reason"])}</td><td class="minor">{version["packages"]}</td>'
        f'<td class="minor">{_size(version["bytes"])}</td><td>{_time(version["at_ns"])}</td>'
        f'<td class="end">{order}</td></tr>'
    )


def version_page(request: Request, shop: Workshop, name: str, number: int) -> Response:
    base = _base(request)
    version = shop.catalog.version(name, number)
    numbers = [one["number"] for one in shop.catalog.versions(name)]
    asked = request.query_params.get("against", "")
    against = int(asked) if asked.isdecimal() else max((one for one in numbers if one < number), default=0)
    here = f"{base}/images/{escape(name)}/{number}"
    links = "".join(
        f'<a href="{here}?against={other}"{" aria-current=true" if other == against else ""}>{other}</a>'
        for other in sorted(numbers)
        if other != number
    )
    pick = '<nav class="pick" aria-label="Compare with version"><span class="quiet">Compared with</span> '
    bill = f'<a class="button" href="{here}/sbom" download>Bill of materials</a>'
    main = (
        _head(_crumbs(base, name), f"{name} version {number}", version["reason"], bill)
        + _facts(shop, version)
        + _steps(version)
        + f"<section><h2>What differs</h2>{f'{pick}{links}</nav>' if links else ''}"
        + f"{_difference(shop, version, against)}</section>{_packages(shop, version)}"
    )
    return _page(request, f"{name} version {number}", main, "images.js")


def _facts(shop: Workshop, version: dict[str, Any]) -> str:
    try:
        shop.signer.verify(version)
        signed = '<span class="tag on">signed by this node</span>'
    except errors.Forbidden:
        signed = '<span class="tag bad">not signed by this node</span>'
    rows = (
        ("Tree", f"<code>{version['tree']}</code>"),
        ("Dependency set", f"<code>{version['set']}</code>"),
        ("Signature", signed),
        ("Holds", f"{version['packages']} packages, {version['files']:,} files, {_size(version['bytes'])}"),
        ("Made", f"{_time(version['at_ns'])} by {escape(version['who'] or 'nobody in particular')}"),
    )
    listed = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in rows)
    return f'<dl class="card facts">{listed}</dl>'


def _steps(version: dict[str, Any]) -> str:
    rows = "".join(
        f'<li><span class="kind">{escape(step["kind"])}</span><span>{escape(step["title"])}</span>'
        f'<code class="quiet">{step["tree"][7 : 7 + HEX_SHOWN]}</code></li>'
        for step in version["steps"]
    )
    return f'<section><h2>Steps</h2><ol class="card steps">{rows}</ol></section>'


def _difference(shop: Workshop, version: dict[str, Any], against: int) -> str:
    if not against:
        return '<p class="quiet">This is the first version.</p>'
    before = shop.catalog.version(version["name"], against)
    work = shop.work
    packages = difference.packages_between(work.get(before["set"]), work.get(version["set"]))
    files = difference.files_between(work.tree(before["tree"]), work.tree(version["tree"]))
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(was) or "–"}</td><td>{escape(now) or "–"}</td></tr>'
        for name, was, now in packages
    )
    table = _table(("Package", "Before", "After"), rows) if packages else '<p class="quiet">The same packages.</p>'
    listed = "".join(
        f'<li class="{row["kind"]}"><span class="visually-hidden">{row["kind"]} </span>'
        f'<code>{escape(row["path"])}</code><span class="quiet">{escape(row["after"] or row["before"])}</span></li>'
        for row in files[:FILES_SHOWN]
    )
    more = f'<p class="quiet">… and {len(files) - FILES_SHOWN:,} more.</p>' if len(files) > FILES_SHOWN else ""
    opened = " open" if len(files) <= FILES_OPEN else ""
    summary = f"<summary>{len(files):,} paths differ</summary>"
    return f'{table}<details{opened}>{summary}<ul class="paths">{listed}</ul>{more}</details>'


def _packages(shop: Workshop, version: dict[str, Any]) -> str:
    packages = difference.packages_of(shop.work.get(version["set"]))
    rows = "".join(
        f"<li><code>{escape(name)}</code> <span class='quiet'>{escape(number)}</span></li>"
        for name, number in packages.items()
    )
    summary = f"<summary>{len(packages)} packages</summary>"
    return f'<section><details>{summary}<ul class="packages">{rows}</ul></details></section>'


def build_page(request: Request, shop: Workshop, id: str) -> Response:
    record = progress.build_of(shop.work, id)
    if record is None:
        raise errors.NotFound(f"nobody knows a build {id[:40]!r}: it is over for long, or was another node's")
    main = (
        _head(_crumbs(_base(request), record["name"]), f"Build of {record['name']}")
        + f'<p id="state" class="quiet" role="status">{escape(record["state"])}</p>'
        + '<ol id="steps" class="card steps"></ol><p id="message" class="card bad" hidden></p>'
        + '<section><h2>Log</h2><pre id="log" tabindex="0" aria-label="Log of the build"></pre></section>'
    )
    data = {"id": id, "base": request.scope.get("root_path", ""), "build": record}
    return _page(request, f"Build of {record['name']}", main, "build.js", data)


# --- parts


def _base(request: Request) -> str:
    return escape(request.scope.get("root_path", ""))


def _head(crumbs: str, title: str, about: str = "", tools: str = "") -> str:
    said = f'<p class="quiet">{escape(about)}</p>' if about else ""
    return f'<header class="head"><div>{crumbs}<h1 id="heading">{escape(title)}</h1>{said}</div>{tools}</header>'


def _crumbs(base: str, name: str = "") -> str:
    more = f' / <a href="{base}/images/{escape(name)}">{escape(name)}</a>' if name else ""
    return f'<p class="crumb"><a href="{base}/images">Images</a>{more}</p>'


def _build_button(base: str, name: str) -> str:
    return f'<button class="button first" data-order="{base}/images/{name}/build">Build</button>'


def _table(heads: tuple[str, ...], rows: str) -> str:
    """A table that scrolls by itself; a head that begins with a dash is of a column a phone does without."""
    cells = "".join(
        f'<th scope="col"{" class=minor" if head.startswith("-") else ""}>{head.removeprefix("-")}</th>'
        if head
        else '<th scope="col"><span class="visually-hidden">Order</span></th>'
        for head in heads
    )
    return f'<div class="wide"><table><thead><tr>{cells}</tr></thead><tbody>{rows}</tbody></table></div>'


def _known_builds(shop: Workshop) -> list[dict[str, Any]]:
    """Those that run and those that are over, each once, the newest first."""
    found = {build["id"]: build for build in (*progress.past(shop.work), *progress.running(shop.work))}
    return sorted(found.values(), key=lambda build: -int(build["began_ns"]))


def _builds(base: str, builds: list[dict[str, Any]]) -> str:
    if not builds:
        return ""
    rows = "".join(_build_row(base, build) for build in builds[:BUILDS_SHOWN])
    return f"<section><h2>Builds</h2>{_table(('Image', 'State', 'Began', '-Took', 'Said'), rows)}</section>"


def _build_row(base: str, build: dict[str, Any]) -> str:
    said = build["message"].splitlines()[0] if build["message"] else build["reason"]
    return (
        f'<tr><th scope="row"><a href="{base}/images/builds/{build["id"]}">{escape(build["name"])}</a></th>'
        f'<td><span class="tag {_tone(build["state"])}">{escape(build["state"])}</span></td>'
        f'<td>{_time(build["began_ns"])}</td><td class="minor">{_took(build)}</td><td>{escape(said)}</td></tr>'
    )


def _tone(state: str) -> str:
    return {"done": "on", "failed": "bad", "unchanged": ""}.get(state, "now")


def _took(build: dict[str, Any]) -> str:
    if build["state"] not in OVER:
        return "…"
    return f"{(build['ended_ns'] - build['began_ns']) / 1e9:.1f} s"


def _size(count: int) -> str:
    return f"{count / 1e6:,.0f} MB" if count >= 1e6 else f"{count / 1e3:,.1f} kB"


def _time(at_ns: int) -> str:
    at = datetime.fromtimestamp(at_ns / 1e9, UTC)
    return f'<time datetime="{at:%Y-%m-%dT%H:%M:%SZ}">{at:%Y-%m-%d %H:%M} UTC</time>'
