"""The book: what it says, and that every mistake is told with its line and what to write instead."""

from __future__ import annotations

import pytest

from boxwork.packs.monitor.book import BadBook, read_book

GOOD = """\
[defaults]
every_s = 10
needs = ["router"]

[checks.router]
tcp = "10.0.0.1:22"

[checks.web]
http = "https://shop.example/"
status = 200
certificate_days = 14
runbook = "restart"

[checks."a.b"]
plugin = ["/usr/lib/nagios/plugins/check_load", "-w", "5"]
every_s = 60

[runbooks.restart]
command = ["systemctl", "restart", "web"]
"""


def test_defaults_hold_for_checks_that_do_not_say_otherwise() -> None:
    book = read_book(GOOD)
    assert [10, 10, 60] == [check.every_s for check in book.checks.values()]
    assert [[], ["router"], ["router"]] == [check.needs for check in book.checks.values()]
    assert ([200], "http") == (book.checks["web"].status, book.checks["web"].kind)


def test_what_is_above_is_found_through_all_levels() -> None:
    book = read_book(GOOD.replace("[checks.web]", '[checks.web]\nneeds = ["a.b"]'))
    assert ["a.b", "router"] == book.above("web")


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("every_s = 60", "evry_s = 60", "line 16: checks.a.b has no 'evry_s': it has http, status"),
        ("every_s = 60", 'every_s = "60"', "line 16: checks.a.b: every_s = '60': Expected `float`, got `str`"),
        ("every_s = 60", "every_s = 0.1", "line 16: checks.a.b: every_s = 0.1: Expected `float` >= 0.5"),
        ("status = 200", "status = 2000", "line 10: checks.web: status = [2000]: Expected `int` <= 599"),
        ('runbook = "restart"', 'runbook = "reboot"', "line 12: check web: there is no runbook 'reboot': there are"),
        ('needs = ["router"]', 'needs = ["ruter"]', "which is no check of this book"),
        ('tcp = "10.0.0.1:22"', 'tcp = "10.0.0.1"', "line 6: check router: '10.0.0.1' is no address: write host:port"),
        ('tcp = "10.0.0.1:22"', 'about = "x"', "check router has nothing: one of http, tcp, plugin and shell"),
        ('tcp = "10.0.0.1:22"', 'tcp = "a:1"\nhttp = "http://a/"', "line 6: check router has http and tcp: one of"),
        ("https://shop.example/", "shop.example", "line 9: check web: 'shop.example' is no address: write http://"),
        ("[checks.web]", "[chekcs.web]", "there is no table [chekcs]: there are defaults, checks"),
        ("every_s = 10", "every_s = = 10", "line 2: Invalid value (column 11): it is no TOML"),
        ('[checks."a.b"]', '[checks."a b"]', "line 14: 'a b' is no name"),
        ('needs = ["router"]', 'needs = ["web"]', "check web"),
        ("command = [", "commando = [", "line 19: runbooks.restart has no 'commando': it has command, timeout_s"),
    ],
)
def test_a_mistake_is_told_with_its_line_and_the_remedy(old: str, new: str, told: str) -> None:
    assert old in GOOD
    if told == "check web":  # needs of all: what everything needs does not need itself, so this one is good
        assert [] == read_book(GOOD.replace(old, new)).checks["web"].needs
        return
    with pytest.raises(BadBook) as caught:
        read_book(GOOD.replace(old, new, 1))
    assert told in caught.value.message


def test_several_mistakes_are_told_at_once() -> None:
    with pytest.raises(BadBook) as caught:
        read_book('[checks.a]\nx = 1\n[checks.b]\ntcp = "b"\n[notify.c]\n')
    assert 3 == len(caught.value.details["mistakes"])


def test_a_circle_of_needs_is_refused() -> None:
    with pytest.raises(BadBook, match="line 3: check a needs itself, through b"):
        read_book('[checks.a]\ntcp = "a:1"\nneeds = ["b"]\n[checks.b]\ntcp = "b:1"\nneeds = ["a"]\n')
