"""Rules that hold for every test: a missing tool is no excuse under CI, and nobody leaves this machine."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator
from typing import Any

import pytest

pytest_plugins = ["pytester"]

LOOPBACK = ("127.", "::1", "localhost", "0.0.0.0", "::ffff:127.")


def _no_excuse(reason: str) -> str:
    return (
        f"skipped under CI: {reason}\n"
        "A skip is not used here, use `.ci/run` to install what the test needs, or mark the test `optin`."
    )


def _under_ci() -> bool:
    return os.environ.get("CI", "").lower() in {"1", "true", "yes"}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Under CI a skipped test has failed; expected failures and tests marked `optin` are left alone."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and _under_ci() and item.get_closest_marker("optin") is None:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        report.outcome = "failed"
        report.longrepr = _no_excuse(reason)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """The same for a module that skips itself while it is imported (`pytest.importorskip`)."""
    report = yield
    if report.skipped and _under_ci():
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        report.outcome = "failed"
        report.longrepr = f"{collector.nodeid} {_no_excuse(reason)}"
    return report


def _stay_on_this_machine(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "socket.connect":
        address = arguments[1]
        host = address[0] if isinstance(address, tuple) else None  # a path or an abstract name: a Unix socket
    elif event == "socket.getaddrinfo":
        host = arguments[0]
    else:
        return
    if isinstance(host, bytes):
        host = host.decode(errors="replace")
    if isinstance(host, str) and host and not host.startswith(LOOPBACK):
        raise RuntimeError(f"the network is not used here, use a server on 127.0.0.1 (a test asked for {host!r})")


# An audit hook sees every socket of this process, whichever library opens it; child processes are not seen.
sys.addaudithook(_stay_on_this_machine)
