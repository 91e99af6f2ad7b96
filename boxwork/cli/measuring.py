"""Commands that measure: `boxwork pulse top | show | export`, and `boxwork agent`."""

from __future__ import annotations

from cyclopts import App

from boxwork.cli.program import Context
from boxwork.pack import find_packs
from boxwork.pulse import commands
from boxwork.pulse.recorder import history_of
from boxwork.settings import merge


def register(app: App, context: Context) -> None:
    """Add the group and the command of `boxwork.pulse`."""

    def history() -> str:
        from boxwork.app.node import CONFIGURATION, all_settings

        settings = merge(all_settings(find_packs()), file=context.directory / CONFIGURATION, flags=context.flags)
        return history_of(settings, context.directory)

    app.command(commands.commands(history, as_json=context.output.as_json))
    app.command(commands.agent)
