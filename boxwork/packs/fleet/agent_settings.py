"""What can be set of the agent; every one is also an environment variable (`BOXWORK_FLEET_WAIT_S`) on the host."""

from __future__ import annotations

import os
from collections.abc import Mapping

from boxwork import Setting, errors

AGENT_SETTINGS = (
    Setting(
        "fleet.wait_s", 30.0, "s", "how long a host's question may wait at the server; a change is answered at once"
    ),
    Setting(
        "fleet.drift_s", 60.0, "s", "how often a host looks whether it still is as its version says; 0 never looks"
    ),
    Setting("fleet.drift_action", "show", "", "show: drift is reported; revert: accidental drift is also undone"),
    Setting("fleet.versions_max", 10, "versions", "kept on a host, ready to be switched to without the network"),
    Setting("fleet.tree_bytes_max", 16 * 1024**3, "bytes", "of all files of a version; more is refused unfetched"),
    Setting("fleet.tree_names_max", 1_000_000, "names", "of files and directories of a version; more is refused"),
    Setting("fleet.tries_max", 3, "times", "a change that the agent or the host did not survive is begun, then undone"),
    Setting("fleet.backoff_s_max", 60.0, "s", "the longest pause after a server did not answer; the first is 0.5"),
)


class AgentSettings:
    """The values on this host: defaults, then the environment, then what was given."""

    def __init__(self, given: Mapping[str, object] | None = None, environment: Mapping[str, str] | None = None) -> None:
        """`given` names settings without their `fleet.`."""
        outside = os.environ if environment is None else environment
        self._values: dict[str, bool | int | float | str] = {}
        for setting in AGENT_SETTINGS:
            value = setting.default
            if setting.variable in outside:
                value = setting.parse(outside[setting.variable], setting.variable)
            short = setting.name.removeprefix("fleet.")
            if given and given.get(short) is not None:
                value = setting.parse(given[short], "flag")
            self._values[setting.name] = value
        if (action := self.text("fleet.drift_action")) not in ("show", "revert"):
            raise errors.BadInput(f"fleet.drift_action is {action!r}: there are show and revert")

    def number(self, name: str) -> float:
        return float(self._values[name])

    def integer(self, name: str) -> int:
        return int(self._values[name])

    def text(self, name: str) -> str:
        return str(self._values[name])
