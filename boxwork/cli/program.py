"""The program `boxwork`: finds the command, opens nothing itself, turns errors into messages and exit codes.

Exit codes: 0 done, 1 Boxwork said no (the message says why), 2 the call itself is wrong, 130 interrupted.
"""

from __future__ import annotations

import getpass
import os
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, CycloptsError, Parameter

from boxwork.app.work import Work, open
from boxwork.cli.output import Output
from boxwork.errors import BadInput, BoxworkError
from boxwork.journal import configure
from boxwork.pack import Pack, find_packs
from boxwork.settings import Settings, merge

DATA_VARIABLE = "BOXWORK_DATA"


@dataclass(frozen=True, slots=True)
class Context:
    """What every command gets: where the data is, what was set by flags, and how to answer."""

    directory: Path
    output: Output
    flags: dict[str, str] = field(default_factory=dict)

    def work(self, *, must_exist: bool = False, packs: Sequence[Pack] = ()) -> AbstractContextManager[Work]:
        """The node on the data directory."""
        if must_exist:
            self.must_exist()
        return open(self.directory, packs=packs, settings=self.flags)

    @property
    def settings(self) -> Settings:
        """All settings as they are here, without opening a node."""
        from boxwork.app.node import CONFIGURATION, all_settings

        return merge(all_settings(find_packs()), file=self.directory / CONFIGURATION, flags=self.flags)

    @property
    def user(self) -> str:
        """Who sits here, for histories."""
        try:
            return getpass.getuser()
        except (KeyError, OSError):  # a container whose user has no name
            return "somebody"

    def must_exist(self) -> None:
        """Refuse a directory that is no data directory."""
        if not (self.directory / "FORMAT").exists():
            raise BadInput(
                f"{self.directory} is no data directory: give --data DIR, set {DATA_VARIABLE}, or make one with"
                " `boxwork up` or `boxwork put`",
                directory=str(self.directory),
            )


def build(context: Context) -> App:
    """The whole command tree for one call."""
    from boxwork.cli import about, bench, boxes, keeping, measuring, transactions, up

    app = App(
        name="boxwork",
        help="Everything is a hashing problem: keep bytes, derive bytes from bytes once, serve them.",
        help_format="markdown",
        help_epilogue=(
            "With every command: `--data DIR` the data directory (or BOXWORK_DATA; default `data`), `--json` answers"
            " for scripts, `--set name=value` a setting for this call (see `boxwork settings`)."
        ),
        version=about.version,
        result_action="return_value",
    )
    for module in (up, keeping, boxes, transactions, measuring, bench, about):
        module.register(app, context)
    return app


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the answer is the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    output = Output(as_json="--json" in given)
    launcher = App(name="boxwork", help_flags=[], version_flags=[], result_action="return_value")

    @launcher.default
    def launch(
        *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
        data: Annotated[Path | None, Parameter(env_var=DATA_VARIABLE)] = None,
        json: Annotated[bool, Parameter(negative="")] = False,
        set: Annotated[tuple[str, ...], Parameter(negative="", consume_multiple=False)] = (),
    ) -> int:
        flags: dict[str, str] = {}
        for pair in set:
            name, equals, value = pair.partition("=")
            if not equals:
                raise BadInput(f"--set {pair!r}: write --set name=value, for example --set log.level=debug")
            flags[name] = value
        context = Context((data or Path("data")).expanduser(), output, flags)
        configure(flags.get("log.level", os.environ.get("BOXWORK_LOG_LEVEL", "warning")))
        app = build(context)
        result: Any = app(tokens, exit_on_error=False, print_error=not output.as_json)
        return result if isinstance(result, int) else 0

    try:
        return int(launcher(given, exit_on_error=False) or 0)
    except CycloptsError as error:
        if output.as_json:
            output.fail(BadInput(str(error)))
        return 2
    except BoxworkError as error:
        output.fail(error)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader of our pipe has left, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
