"""Configuration pulled by servers: a host is a pointer to a version."""

from __future__ import annotations

from typing import Any

from boxwork import Pack, Page
from boxwork.packs.fleet.agent_settings import AGENT_SETTINGS
from boxwork.packs.fleet.bundle import BOXES
from boxwork.packs.fleet.decisions import TRANSACTIONS
from boxwork.packs.fleet.described import DESCRIBED
from boxwork.packs.fleet.keyring import REKEYING
from boxwork.packs.fleet.overrides import OVERRIDING
from boxwork.packs.fleet.settings import SERVER_SETTINGS


def _open(work: Any) -> Any:
    from boxwork.packs.fleet.fleet import Fleet

    return Fleet(work)


def _routes(work: Any) -> list[Any]:
    from boxwork.packs.fleet.routes import routes

    return routes(work)


def _door(work: Any) -> Any:
    from boxwork.packs.fleet.admission import door_of

    return door_of(work)


def _commands(context: Any) -> Any:
    from boxwork.packs.fleet.commands import commands

    return commands(context)


PACK = Pack(
    "fleet",
    "Configuration pulled by servers: a host is a pointer to a version.",
    boxes=BOXES,
    inner=(*TRANSACTIONS, *OVERRIDING, *REKEYING),
    routes=_routes,
    described=DESCRIBED,
    settings=(*SERVER_SETTINGS, *AGENT_SETTINGS),
    pages=(Page("Fleet", "/fleet"),),
    commands=_commands,
    opener=_open,
    door=_door,
)
