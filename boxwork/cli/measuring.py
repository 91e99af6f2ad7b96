"""Commands that measure: `boxwork pulse top | show | export`, and `boxwork agent`."""

from __future__ import annotations

from cyclopts import App

from boxwork.cli.program import Context
from boxwork.pulse import commands


def register(app: App, context: Context) -> None:
    """Add the group and the command of `boxwork.pulse`."""
    app.command(commands.commands(str(context.directory / "pulse"), as_json=context.output.as_json))
    app.command(commands.agent)
