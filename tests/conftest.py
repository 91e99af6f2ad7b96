"""Rules that hold for every test: a missing tool is no excuse under CI, and nobody leaves this machine.

And the one thing that tests of all pages share: a real Chromium.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import sys
from collections.abc import Callable, Generator, Iterator
from typing import Any

import pytest

from boxwork.testing.chromium import CHROMIUM_FLAGS

pytest_plugins = ["pytester"]

LOOPBACK = ("127.", "::1", "localhost", "0.0.0.0", "::ffff:127.")


def _no_excuse(reason: str) -> str:
    return (
        f"skipped under CI: {reason}\n"
        "A skip is not used here, use `.ci/run` to install what the test needs, or mark the test `optin`."
    )


@pytest.fixture(autouse=True)
def log_ends_with_its_test() -> Iterator[None]:
    """A command that a test runs sends the log to a stream that the test closes; what runs on would write into it."""
    loggers = [logging.getLogger(name) for name in ("boxwork", "uvicorn")]
    before = [(one, one.handlers[:], one.propagate, one.level) for one in loggers]
    yield
    for one, handlers, propagate, level in before:
        one.handlers[:], one.propagate = handlers, propagate
        one.setLevel(level)


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


# --- Chromium


@pytest.fixture(scope="module")
def launch() -> Iterator[Callable[..., Any]]:
    """Start a Chromium with these flags more; all are closed in the end.

    Of a module and not of the session: Playwright holds an event loop in the thread, where other tests run their own.
    """
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("needs Debian's chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play, contextlib.ExitStack() as started:

        def start(*more: str) -> Any:
            one = play.chromium.launch(executable_path=path, args=[*CHROMIUM_FLAGS, *more])
            started.callback(one.close)
            return one

        yield start


@pytest.fixture(scope="module")
def browser(launch: Callable[..., Any]) -> Any:
    """One Chromium for the tests of a module; each opens a context or page of its own."""
    return launch()


@pytest.fixture
def open_page(browser: Any) -> Iterator[Callable[..., Any]]:
    """Open a page in a context of its own, made with these options.

    What the browser complains of (an uncaught error, an error in the console) fails the test, but for messages that
    have a word of `allowed` in them.
    """
    faults: list[str] = []
    with contextlib.ExitStack() as opened:

        def start(*, allowed: tuple[str, ...] = (), timeout_s: float = 15, **options: Any) -> Any:
            def complain(message: str) -> None:
                if not any(word in message for word in allowed):
                    faults.append(message)

            context = browser.new_context(**options)
            opened.callback(context.close)
            page = context.new_page()
            page.set_default_timeout(1000 * timeout_s)
            page.on("pageerror", lambda fault: complain(str(fault)))
            page.on("console", lambda said: complain(said.text) if said.type == "error" else None)
            return page

        yield start
    assert [] == faults


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "launch" in getattr(item, "fixturenames", ()):
            # Playwright leaves an event loop of its own behind.
            item.add_marker(pytest.mark.filterwarnings("default::ResourceWarning"))
            item.add_marker(pytest.mark.filterwarnings("default::pytest.PytestUnraisableExceptionWarning"))
