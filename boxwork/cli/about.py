"""Commands about the installation: packs, settings, version."""

from __future__ import annotations

import platform
from typing import Any

from cyclopts import App

import boxwork
from boxwork.cli.program import Context
from boxwork.pack import find_packs


def version() -> str:
    """What `--version` prints."""
    return f"boxwork {boxwork.__version__} on Python {platform.python_version()}"


def register(app: App, context: Context) -> None:
    """Add the commands of this file, and the command groups of the packs."""
    output = context.output
    packs = find_packs()

    @app.command(name="packs")
    def list_packs() -> None:
        """List the packs that are installed."""
        output.table(
            ["pack", "about", "boxes"],
            (
                {"pack": pack.name, "about": pack.summary, "boxes": ", ".join(box.name for box in pack.boxes)}
                for pack in packs
            ),
            "no packs",
        )

    @app.command
    def settings(prefix: str = "") -> None:
        """List every setting with its value, where that comes from, its unit and its reason."""
        from boxwork.app.node import CONFIGURATION, all_settings
        from boxwork.settings import merge

        declared = all_settings(packs)
        merged = merge(declared, file=context.directory / CONFIGURATION, flags=context.flags)

        def row(setting: Any) -> dict[str, Any]:
            return {
                "setting": setting.name,
                "value": merged[setting.name],
                "unit": setting.unit,
                "from": merged.where(setting.name),
                "reason": setting.reason,
            }

        found = (row(setting) for setting in declared if setting.name.startswith(prefix))
        output.table(["setting", "value", "unit", "from", "reason"], found, f"no setting begins with {prefix!r}")

    for pack in packs:
        if pack.commands is not None:
            app.command(pack.commands(context), name=pack.name)
