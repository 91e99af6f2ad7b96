"""The command line: every call of the platform, typed by a person or a script."""

from __future__ import annotations


def main() -> None:
    """The entry point `boxwork`; everything is imported when it is called."""
    from boxwork.cli.program import run

    raise SystemExit(run())
