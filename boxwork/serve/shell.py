"""The page shell: navigation, light and dark, phone and desktop; every page of every pack stands in it.

A pack's page is a fragment of HTML for the middle, and the names of its own style sheets and modules.  Everything
a page loads comes from an installed package under a name with its hash in it, so it may be kept for ever and never
goes stale; the policy allows no inline script and no other origin.
"""

from __future__ import annotations

import importlib.resources
import json
import mimetypes
from collections.abc import Sequence
from html import escape
from importlib.resources.abc import Traversable
from string import Template
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route

from boxwork.errors import BoxworkError, NotFound
from boxwork.keys import ref_of
from boxwork.serve.blobs import FOREVER

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self';"
    " font-src 'self'; media-src 'self' blob:; manifest-src 'self'; form-action 'self'; base-uri 'none';"
    " frame-ancestors 'none'"
)
TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml",
         ".png": "image/png", ".json": "application/json", ".woff2": "font/woff2"}  # fmt: skip
# Characters of the digest in an address: enough that no two versions of a package share one.
DIGEST_LENGTH = 12
# Entries in the navigation that are no pack's; they come last.
OWN_PAGES = (("State", "/state"), ("Pulse", "/pulse"))
ERROR_TITLES = {
    400: "That cannot be read", 403: "Not for everybody", 404: "Nothing here", 422: "That did not work out",
    500: "Something here is broken", 503: "Too much at once", 504: "It took too long",
}  # fmt: skip


class Shell:
    """Pages and what they load.  One for each application."""

    def __init__(self, work: Any) -> None:
        packs = [(page.title, page.path) for pack in work.packs for page in pack.pages]
        packs.sort(key=lambda page: page[1] != "/")  # what stands at the root comes first
        self.pages = [*packs, *OWN_PAGES]
        self.folders: dict[str, dict[str, bytes]] = {}
        self.digests: dict[str, str] = {}
        page = importlib.resources.files("boxwork.serve") / "shell.html"
        self.template = Template(page.read_text("utf-8"))
        self.add_static("shell", "boxwork.serve")
        self.add_static("rooms", "boxwork.serve.rooms")  # room.js: for the pages of every pack that offers rooms

    def add_static(self, name: str, package: str) -> None:
        """Serve the files in `static/` of an installed package under `/static/<name>/`."""
        files: dict[str, bytes] = {}
        _collect(importlib.resources.files(package) / "static", "", files)
        self.folders[name] = files
        whole = b"".join(path.encode() + b"\0" + files[path] for path in sorted(files))
        # one digest for the folder: modules import each other by relative address and must be of one version
        self.digests[name] = ref_of(whole).removeprefix("sha256:")[:DIGEST_LENGTH]

    def address(self, name: str, path: str) -> str:
        """Where the page finds the file, below the root of the application."""
        if path not in self.folders[name]:
            raise NotFound(f"{name} has no static file {path!r}; it has: {', '.join(sorted(self.folders[name]))}")
        return f"/static/{name}/{self.digests[name]}/{path}"

    def page(
        self,
        request: Request,
        title: str,
        main: str,
        *,
        styles: Sequence[str] = (),
        modules: Sequence[str] = (),
        data: Any = None,
        tools: str = "",
        preload: Sequence[str] = (),
        status: int = 200,
    ) -> Response:
        """A whole page around `main` (HTML).

        `styles` and `modules` are addresses (`address`), `tools` is HTML for the right side of the bar, `data`
        is what the page's modules find as JSON in the element `#data`.
        """
        base = escape(request.scope.get("root_path", ""))
        here = request.url.path.removeprefix(request.scope.get("root_path", ""))
        links = "".join(
            f'<a href="{base}{escape(path)}"{" aria-current=page" if _within(here, path) else ""}>{escape(name)}</a>'
            for name, path in self.pages
        )
        sheets = "".join(
            f'<link rel="stylesheet" href="{base}{path}">' for path in (self.address("shell", "shell.css"), *styles)
        )
        scripts = "".join(f'<script type="module" src="{base}{path}"></script>' for path in modules)
        wanted = "".join(f'<link rel="modulepreload" href="{base}{path}">' for path in preload)
        body = self.template.substitute(
            base=base, title=escape(title), icon=self.address("shell", "mark.svg"),
            theme=self.address("shell", "theme.js"), loads=sheets + wanted + scripts, links=links, tools=tools,
            main=main, data=_embed(data),
        )  # fmt: skip
        return HTMLResponse(
            body,
            status,
            headers={
                "content-security-policy": POLICY, "cache-control": "no-cache", "referrer-policy": "same-origin",
                "cross-origin-opener-policy": "same-origin",
            },
        )  # fmt: skip

    def error_page(self, request: Request, error: BoxworkError, name: str) -> Response:
        """What went wrong, for a person; `name` is the id under which the log has the rest."""
        what = ERROR_TITLES.get(error.status, "That did not work")
        start = escape(request.scope.get("root_path", "")) + "/"
        main = (
            f'<section class="trouble" aria-labelledby="trouble"><p class="quiet">{error.status}</p>'
            f'<h1 id="trouble">{what}</h1><p>{escape(error.message[:1].upper() + error.message[1:])}.</p>'
            f'<p class="quiet">Request <code>{escape(name)}</code> · <code>{escape(error.code)}</code></p>'
            f'<p><a class="button" href="{start}">Back to the start</a></p></section>'
        )
        return self.page(request, what, main, status=error.status)


def _within(here: str, path: str) -> bool:
    return here == path or (path != "/" and here.startswith(path + "/"))


def _embed(data: Any) -> str:
    if data is None:
        return ""
    # in a script element only "</" and "<!--" end or change the text
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=False).replace("<", "\\u003c")
    return f'<script type="application/json" id="data">{text}</script>'


def _collect(folder: Traversable, prefix: str, into: dict[str, bytes]) -> None:
    for entry in folder.iterdir():
        if entry.is_dir():
            _collect(entry, f"{prefix}{entry.name}/", into)
        elif any(entry.name.endswith(suffix) for suffix in TYPES):
            into[prefix + entry.name] = entry.read_bytes()


async def static(request: Request) -> Response:
    """`GET /static/{name}/{digest}/{path}`: a file of an installed package."""
    shell: Shell = request.app.state.shell
    name, digest, path = (request.path_params[key] for key in ("name", "digest", "path"))
    data = shell.folders.get(name, {}).get(path)
    if data is None:
        raise NotFound(f"there is no file {path[:80]!r} of {name[:80]!r}")
    suffix = "." + path.rsplit(".", 1)[-1]
    kind = TYPES.get(suffix) or mimetypes.types_map.get(suffix, "application/octet-stream")
    # an old page may ask under an old digest: it gets the present file, but must not keep it under that name
    keep = FOREVER if digest == shell.digests[name] else "no-store"
    return Response(data, 200, {"cache-control": keep, "content-type": kind})


ROUTES: list[BaseRoute] = [Route("/static/{name}/{digest}/{path:path}", static, methods=["GET"])]
