"""What plugins say, as their guidelines have it and as real ones write it."""

from __future__ import annotations

import pytest

from boxwork.packs.monitor.outcome import Figure, read_figures, read_plugin


def test_text_long_text_and_figures_of_both_places_are_told_apart() -> None:
    found = read_plugin(
        1,
        "DISK WARNING - / 9% free | /=7400MB;7000;7800;0;8212\nfirst of more\nsecond of more | /boot=68MB;88;93\n"
        "/home=69357MB;253404;253409;0;253414\n",
    )
    assert (1, "DISK WARNING - / 9% free", "first of more\nsecond of more") == (found.state, found.text, found.long)
    assert ["/", "/boot", "/home"] == [one.label for one in found.figures]
    assert Figure("/", 7400.0, "MB", "7000", "7800", "0", "8212") == found.figures[0]


@pytest.mark.parametrize(
    ("data", "figures"),
    [
        ("time=0.003215s;;;0.000000;10.000000 size=152B;;;0", [("time", 0.003215, "s"), ("size", 152, "B")]),
        ("load1=0.350;5.000;10.000;0; load5=0.3;4;6;0;", [("load1", 0.35, ""), ("load5", 0.3, "")]),
        ("rta=0.043ms;100.000;500.000;0 pl=0%;20;60;0", [("rta", 0.043, "ms"), ("pl", 0, "%")]),
        ("'it''s free'=12%;@10:20;~:5", [("it's free", 12, "%")]),
        ("offset=-0.000201s;0.5;1", [("offset", -0.000201, "s")]),
        ("users=U;20;50 procs=104", [("procs", 104, "")]),
        ("nonsense a=1 =3 b=x c=2", [("a", 1, ""), ("c", 2, "")]),
        ("sum=1,5s", [("sum", 1.5, "s")]),
        ("big=1.5e3c", [("big", 1500, "c")]),
        ("", []),
    ],
)
def test_figures_as_plugins_write_them(data: str, figures: list[tuple[str, float, str]]) -> None:
    assert figures == [(one.label, one.value, one.unit) for one in read_figures(data)]


@pytest.mark.parametrize(
    ("value", "unit", "sample"),
    [
        (0.5, "s", ("ns", 500_000_000)),
        (12.0, "%", ("ppm", 120_000)),
        (3.0, "KB", ("bytes", 3000)),
        (0.35, "", ("1/1000", 350)),
        (7.0, "c", ("count", 7)),
        (1.0, "parsec", None),
        (1e300, "s", None),
    ],
)
def test_a_figure_is_a_whole_number_of_its_series(value: float, unit: str, sample: object) -> None:
    assert sample == Figure("x", value, unit).sample


@pytest.mark.parametrize(
    ("code", "says"),
    [(127, "could not be run"), (-9, "ended by signal 9"), (4, "ended with 4, and 0 to 3 mean something")],
)
def test_any_other_exit_code_is_unknown_and_says_why(code: int, says: str) -> None:
    found = read_plugin(code, "")
    assert "unknown" == found.word
    assert says in found.text


def test_a_silent_plugin_is_what_its_code_says() -> None:
    assert ("critical", True) == (read_plugin(2, "").word, "said nothing" in read_plugin(2, "\n").text)
