"""The three pages: fragments that stand in the shell, and the modules that make them live."""

from __future__ import annotations

import importlib.resources
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from boxwork.serve.commits import about

PACKAGE = "boxwork.serve.state"
# Tabs, figures and panels look as they do there.
STYLED_LIKE = "boxwork.serve.pulse"
TITLES = {"/state": "Live", "/state/playground": "Playground", "/state/commits": "Commits"}
MODULES = {
    "live": ("parts.js", "lanes.js", "entries.js", "stream.js"),
    "playground": ("parts.js", "form.js", "code.js", "outcome.js"),
    "commits": ("parts.js", "entries.js", "outcome.js", "stream.js"),
}


def live(request: Request) -> Response:
    return _page(request, "Transactions", "live", None)


def playground(request: Request) -> Response:
    work = request.app.state.work
    boxes = [about(box) for _, box in sorted(work.offered_transactions.items())]
    return _page(request, "Playground", "playground", {"transactions": boxes, "data": str(work.node.root)})


def commits(request: Request) -> Response:
    return _page(request, "Commits", "commits", None)


def _page(request: Request, title: str, name: str, data: Any) -> Response:
    shell = request.app.state.shell
    for folder, package in (("pulse", STYLED_LIKE), ("state", PACKAGE)):
        if folder not in shell.folders:
            shell.add_static(folder, package)
    fragment = (importlib.resources.files(PACKAGE) / f"{name}.html").read_text("utf-8")
    reply: Response = shell.page(
        request,
        f"{title} · State",
        _tabs(request) + fragment,
        styles=[shell.address("pulse", "pulse.css"), shell.address("state", "state.css")],
        modules=[shell.address("state", f"{name}.js")],
        preload=[shell.address("state", module) for module in MODULES[name]],
        data=data,
    )
    return reply


def _tabs(request: Request) -> str:
    base = request.scope.get("root_path", "")
    here = request.url.path.removeprefix(base)
    links = "".join(
        f'<a href="{base}{path}"{" aria-current=page" if path == here else ""}>{title}</a>'
        for path, title in TITLES.items()
    )
    return f'<nav class="tabs" aria-label="State">{links}</nav>'
