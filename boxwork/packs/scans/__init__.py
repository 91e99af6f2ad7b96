"""Scans of rooms: from USDZ to GLB with nothing lost silently, and measured with their uncertainty."""

from __future__ import annotations

from typing import Any

from boxwork import Derivation, Pack, Page, Ref
from boxwork.packs.scans.converting import scan_report, scan_to_glb
from boxwork.packs.scans.described import DESCRIBED
from boxwork.packs.scans.measuring import measures_table, scan_measures
from boxwork.packs.scans.package import SUFFIXES
from boxwork.packs.scans.picture import scan_view
from boxwork.packs.scans.settings import SETTINGS


def _open(work: Any) -> Any:
    from boxwork.packs.scans.shelf import Shelf

    return Shelf(work)


def _prepare(scan: Ref) -> tuple[Derivation[..., Any], dict[str, Any]]:
    """What the page will ask for first of a scan."""
    return scan_to_glb, {"scan": scan, "profile": "gltf"}


def _routes(work: Any) -> list[Any]:
    from boxwork.packs.scans.routes import routes

    return routes(work)


def _commands(context: Any) -> Any:
    from boxwork.packs.scans.commands import commands

    return commands(context)


PACK = Pack(
    "scans",
    "Scans of rooms: from USDZ to GLB with nothing lost silently, and measured with their uncertainty.",
    boxes=(scan_to_glb, scan_report, scan_measures, measures_table, scan_view),
    routes=_routes,
    described=DESCRIBED,
    settings=SETTINGS,
    pages=(Page("Scans", "/scans"),),
    commands=_commands,
    opener=_open,
    suffixes=SUFFIXES,
    prepare=_prepare,
)
