"""Checks of services, and one incident for what fails together."""

from __future__ import annotations

from typing import Any

from boxwork import Pack, Page
from boxwork.packs.monitor.decisions import TRANSACTIONS
from boxwork.packs.monitor.described import DESCRIBED
from boxwork.packs.monitor.settings import SETTINGS


def _open(work: Any) -> Any:
    from boxwork.packs.monitor.monitor import Monitor

    return Monitor(work)


def _routes(work: Any) -> list[Any]:
    from boxwork.packs.monitor.routes import routes

    return routes(work)


def _commands(context: Any) -> Any:
    from boxwork.packs.monitor.commands import commands

    return commands(context)


PACK = Pack(
    "monitor",
    "Checks of services, and one incident for what fails together.",
    inner=TRANSACTIONS,
    routes=_routes,
    described=DESCRIBED,
    settings=SETTINGS,
    pages=(Page("Monitor", "/monitor"),),
    commands=_commands,
    opener=_open,
)
