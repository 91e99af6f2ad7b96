"""Commands that measure: `boxwork pulse top | show | export`, and `boxwork agent`."""

from __future__ import annotations

from cyclopts import App

from boxwork.cli.program import Context
from boxwork.pulse import commands
from boxwork.pulse.recorder import history_of


def register(app: App, context: Context) -> None:
    """Add the group and the command of `boxwork.pulse`."""

    def history() -> str:
        return history_of(context.settings, context.directory)

    app.command(commands.commands(history, as_json=context.output.as_json))
    app.command(commands.agent)
