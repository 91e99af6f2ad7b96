"""The rules of tests/conftest.py hold: each is tried on a small suite of its own."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

CONFTEST = Path(__file__).parents[1] / "conftest.py"

SKIPPING = """
import pytest

def test_that_skips():
    pytest.skip("no browser")

@pytest.mark.skipif(True, reason="no server")
def test_that_is_marked():
    pass

@pytest.mark.optin
def test_that_may():
    pytest.skip("only when asked")

@pytest.mark.xfail(reason="a known gap")
def test_that_is_expected_to_fail():
    assert False

def test_that_passes():
    pass
"""


@pytest.fixture
def suite(pytester: pytest.Pytester) -> pytest.Pytester:
    # Without its first plugin line: the inner run needs no pytester, and its audit hook would be a second one.
    rules = CONFTEST.read_text("utf-8").replace('pytest_plugins = ["pytester"]', "")
    pytester.makeconftest(rules.replace("sys.addaudithook(_stay_on_this_machine)", ""))
    pytester.makeini("[pytest]\nmarkers = optin: may be skipped\naddopts = -p no:cacheprovider -p no:xdist")
    return pytester


def test_a_skip_fails_under_ci_unless_it_is_optin(suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    suite.makepyfile(SKIPPING)
    result = suite.runpytest()
    result.assert_outcomes(passed=1, skipped=1, failed=1, errors=1, xfailed=1)
    result.stdout.fnmatch_lines(["*no browser*", "*A skip is not used here, use*"])


def test_a_skip_is_a_skip_at_home(suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    suite.makepyfile(SKIPPING)
    suite.runpytest().assert_outcomes(passed=1, skipped=3, xfailed=1)


def test_a_module_that_skips_itself_fails_under_ci(suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    suite.makepyfile("import pytest\npytest.importorskip('no_such_module_anywhere')\ndef test_it(): pass")
    suite.runpytest().assert_outcomes(errors=1)


def test_no_test_talks_to_another_machine() -> None:
    with pytest.raises(RuntimeError, match="use a server on 127.0.0.1"):
        socket.getaddrinfo("example.org", 80)
    with socket.socket() as sock, pytest.raises(RuntimeError, match=r"192\.0\.2\.1"):
        sock.connect(("192.0.2.1", 80))
