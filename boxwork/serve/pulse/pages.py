"""The pages: fragments that stand in the shell, and the modules that make them live."""

from __future__ import annotations

import importlib.resources
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

PACKAGE = "boxwork.serve.pulse"
TITLES = {"/pulse": "Latency", "/pulse/paths": "Paths", "/pulse/machine": "Machine", "/pulse/watch": "Watch"}
MODULES = {
    "latency": (
        "colours.js",
        "format.js",
        "interval.js",
        "live.js",
        "model.js",
        "picture.js",
        "plot.js",
        "ruler.js",
        "spark.js",
        "list.js",
        "pointer.js",
        "table.js",
    ),
    "paths": ("format.js", "spark.js"),
    "watch": ("format.js", "live.js"),
    "machine": ("colours.js", "format.js", "interval.js", "lines.js", "live.js", "ruler.js"),
}


def latency(request: Request, rows: list[dict[str, Any]], total: int) -> Response:
    return _page(request, "Latency", "latency", {"series": rows, "total": total})


def paths(request: Request) -> Response:
    return _page(request, "Paths", "paths", None)


def machine(request: Request) -> Response:
    return _page(request, "Machine", "machine", None)


def watch(request: Request, data: dict[str, Any]) -> Response:
    return _page(request, "Watch", "watch", data)


def _page(request: Request, title: str, name: str, data: Any) -> Response:
    shell = request.app.state.shell
    if "pulse" not in shell.folders:
        shell.add_static("pulse", PACKAGE)
    fragment = (importlib.resources.files(PACKAGE) / f"{name}.html").read_text("utf-8")
    reply: Response = shell.page(
        request,
        f"{title} · Pulse",
        _tabs(request) + fragment,
        styles=[shell.address("pulse", "pulse.css")],
        modules=[shell.address("pulse", f"{name}.js")],
        preload=[shell.address("pulse", module) for module in MODULES[name]],
        data=data,
    )
    return reply


def _tabs(request: Request) -> str:
    base = request.scope.get("root_path", "")
    here = request.url.path.removeprefix(base)
    firing = len(request.app.state.work.alarms.firing())
    marks = {"/pulse/watch": f' <b class="firing" title="rules that fire now">{firing}</b>'} if firing else {}
    links = "".join(
        f'<a href="{base}{path}"{" aria-current=page" if path == here else ""}>{title}{marks.get(path, "")}</a>'
        for path, title in TITLES.items()
    )
    return f'<nav class="tabs" aria-label="Pulse">{links}</nav>'
