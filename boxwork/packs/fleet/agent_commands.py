"""The command group `boxwork fleet agent`: the agent itself, and what a person does to one host by hand."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from boxwork import errors

ROOT_VARIABLE = "BOXWORK_FLEET_ROOT"
ROOT = "/var/lib/boxwork-fleet"

Root = Annotated[Path, Parameter(help="Where this host's versions lie.")]
Flag = Annotated[bool, Parameter(negative="")]


def agent_app(context: Any) -> App:
    """The group, for one call of the command line."""
    app = App(name="agent", help="A host: becomes what its server says, and stays so. Also: its commands by hand.")
    default_root = Path(os.environ.get(ROOT_VARIABLE, ROOT))
    _add_run(app, default_root)
    _add_looks(app, context.output, default_root)
    _add_changes(app, context.output, default_root)
    return app


def _add_run(app: App, default_root: Path) -> None:
    """The agent itself."""

    @app.default
    def run(
        *,
        server: Annotated[list[str], Parameter(negative="")],
        host: str,
        key: str,
        root: Root = default_root,
        token_file: str = "",
        authority: str = "",
        wait_s: float | None = None,
        drift_s: float | None = None,
        drift_action: str | None = None,
        once: Flag = False,
    ) -> None:
        """Be the agent of this host until a signal comes.

        Parameters
        ----------
        server: URL of a server; several are asked in turn when one does not answer
        host: the name under which the server knows this host
        key: the server's public key, 64 hexadecimal digits (`boxwork fleet key`), or a file that holds it
        token_file: a file with what `boxwork fleet token HOST` said; not needed on the server's own machine
        authority: certificates that are believed for https instead of the system's
        wait_s: how long a question may wait at the server
        drift_s: how often to look for drift; 0 never
        drift_action: show or revert
        once: one question and what follows from it, then end
        """
        from boxwork.packs.fleet.agent_process import Orders, read_key
        from boxwork.packs.fleet.agent_settings import AgentSettings

        given = {"wait_s": wait_s, "drift_s": drift_s, "drift_action": drift_action}
        settings = {name: value for name, value in given.items() if value is not None}
        AgentSettings(settings)
        orders = Orders(
            servers=server,
            host=host,
            root=str(root.absolute()),
            key=read_key(key).hex(),
            token_file=str(Path(token_file).absolute()) if token_file else "",
            authority=authority,
            settings=settings,
            once=once,
        )
        become(orders)


def _add_looks(app: App, output: Any, default_root: Path) -> None:
    """What a person sees of a host, on it."""

    @app.command
    def status(*, root: Root = default_root) -> None:
        """What runs on this host, what differs, what waits for the server."""
        found = _hand(root).status()
        lines = [f"host {found['host']}: " + (f"release {found['release']} runs" if found["release"] else "no version")]
        lines += [f"changing to {found['changing_to']}"] if found["changing_to"] else []
        lines += [f"not taken: {found['refused']}"] if found["refused"] else []
        lines.append(f"{found['drift']} paths differ" if found["drift"] else "no drift")
        lines.append(
            f"{found['drains']} drains ({found['downtime_ms'] / 1000:.1f} s down), {found['drains_avoided']} avoided"
            f" ({found['saved_ms'] / 1000:.1f} s saved); {found['reports_waiting']} reports wait for the server"
        )
        output.answer(found, "\n".join(lines))

    @app.command
    def versions(*, root: Root = default_root) -> None:
        """Which versions lie ready on this host."""
        hand = _hand(root)
        current = hand.status()["current"]
        rows = (
            {
                "release": version.release,
                "position": version.position,
                "tree": version.tree,
                "good": "yes" if version.good else "no",
                "runs": "runs" if version.name == current else "",
            }
            for version in hand.versions()
        )
        output.table(["release", "position", "tree", "good", "runs"], rows, "no version lies ready")

    @app.command
    def drift(*, root: Root = default_root) -> None:
        """Look now what differs from the version that runs."""
        _show(output, _hand(root).drift())


def _add_changes(app: App, output: Any, default_root: Path) -> None:
    """What a person does to a host by hand."""

    @app.command
    def rollback(release: int, *, root: Root = default_root) -> None:
        """Run an earlier release that lies ready here: no network, one rename. It holds until the next one comes."""
        report = _hand(root).rollback(release)
        if report.state != "applied":
            raise errors.Refused(report.reason)
        text = f"release {report.release} runs ({report.effect}); switched in {report.switch_ms:.2f} ms"
        output.answer({"release": report.release, "switch_ms": report.switch_ms, "effect": report.effect}, text)

    @app.command
    def accept(*, root: Root = default_root) -> None:
        """What differs now is right on this host, until the next version comes."""
        _show(output, _hand(root).accept())

    @app.command
    def edit(*, minutes: float = 30.0, root: Root = default_root) -> None:
        """Open a local edit session: what differs meanwhile is meant and left alone. 0 minutes end it."""
        _hand(root).edit(minutes)
        text = f"what is changed in the next {minutes:g} minutes is left alone" if minutes else "the session has ended"
        output.answer({"minutes": minutes}, text)

    @app.command
    def adopt(epoch: str, *, root: Root = default_root) -> None:
        """Follow a server with other facts (a new one, or one that was set up again)."""
        _hand(root).adopt(epoch)
        output.answer({"epoch": epoch}, f"this host follows {epoch} from its next question on")


def become(orders: Any) -> None:
    """Replace this process by the small one: what the command line needed is gone from memory."""
    import msgspec

    sys.stdout.flush()
    sys.stderr.flush()
    module = "boxwork.packs.fleet.agent_process"
    os.execv(sys.executable, [sys.executable, "-m", module, msgspec.json.encode(orders).decode()])


def _hand(root: Path) -> Any:
    from boxwork.packs.fleet.agent_hand import Hand

    return Hand(root)


def _show(output: Any, found: list[Any]) -> None:
    rows = ({"path": drift.path, "kind": drift.kind, "intent": drift.intent} for drift in found)
    output.table(["path", "kind", "intent"], rows, "nothing differs")
