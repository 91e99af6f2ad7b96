"""Rules fire after their time, clear below their lower mark, and decide nothing on too little."""

from __future__ import annotations

import html
import itertools
import re
import tomllib
from pathlib import Path

import pytest
from _clock import fake_clock

from boxwork.clock import SECOND_NS
from boxwork.errors import BadInput
from boxwork.pulse import Pulse
from boxwork.pulse.rule import Rule
from boxwork.pulse.watch import RULES_MAX, SETTINGS, Event, Watch, rules_in
from boxwork.settings import merge
from boxwork.testing.clock import FakeClock


def second(pulse: Pulse, clock: FakeClock, *samples: int, name: str = "path") -> None:
    for sample in samples:
        pulse.series(name).record(sample)
    clock.advance(SECOND_NS)
    pulse.tick()


def watched(rule: str) -> tuple[Pulse, FakeClock, list[Event], Watch]:
    clock = fake_clock()
    pulse = Pulse(clock=clock, threaded=False)
    pulse.series("path")
    events: list[Event] = []
    watch = Watch(pulse, rule).start()
    watch.subscribe(events.append)
    return pulse, clock, events, watch


def test_a_quantile_rule_fires_after_its_time_and_clears_below_its_lower_mark() -> None:
    pulse, clock, events, watch = watched("p99(path) > 250us over 1s for 3s clear 200us")
    for _ in range(5):
        second(pulse, clock, 100_000)
    for _ in range(3):
        second(pulse, clock, 300_000)
    assert [] == events
    for _ in range(3):
        second(pulse, clock, 300_000)
    assert ["fired"] == [event.kind for event in events]
    assert 300_000 == pytest.approx(events[0].value, rel=0.006)
    assert 1 == len(watch.firing())
    for _ in range(9):
        second(pulse, clock, 230_000)  # below the mark, above the lower one: still firing
    assert 1 == len(events)
    for _ in range(6):
        second(pulse, clock, 100_000)
    assert ["fired", "cleared"] == [event.kind for event in events]
    assert [] == watch.firing()


def test_a_short_peak_does_not_fire() -> None:
    pulse, clock, events, _ = watched("max(path) > 1ms over 1s for 3s")
    for turn in range(20):
        second(pulse, clock, 5_000_000 if turn % 3 == 0 else 10)
    assert [] == events


@pytest.mark.parametrize(
    ("rule", "samples", "fires"),
    [
        ("share(path > 5ms) > 10% over 5s", [6_000_000, 1, 1, 1], True),
        ("share(path > 5ms) > 30% over 5s", [6_000_000, 1, 1, 1], False),
        ("negative(path) > 0.1 over 5s", [-5, 1, 1], True),
        ("burn(path > 5ms, 99%) > 14.4 over 5s", [6_000_000, 1, 1, 1], True),
        ("burn(path > 5ms, 99%) > 26 over 5s", [6_000_000, 1, 1, 1], False),
        ("p50(path) < 10ns over 5s", [3], True),
        ("count(path) > 2 over 2s", [1, 1, 1], True),
        ("mean(path) > 1us over 5s and coverage > 0.9", [2000], True),
    ],
)
def test_every_kind_of_rule_measures_what_it_says(rule: str, samples: list[int], fires: bool) -> None:
    pulse, clock, events, _ = watched(rule)
    for _ in range(8):
        second(pulse, clock, *samples)
    assert fires is bool(events)


def test_loss_and_missing_coverage_can_be_watched() -> None:
    pulse, clock, events, watch = watched("lost(path) > 0 over 5s")
    watch.add("coverage(path) < 0.5 over 10s for 1s")
    for _ in range(10):
        second(pulse, clock, 5)
    fired = [event.rule.kind for event in events if event.kind == "fired"]
    assert ["coverage"] == fired  # before the first second there was nobody
    assert "cleared" == events[-1].kind
    pulse.series("path").lose(1)
    second(pulse, clock, 5)
    second(pulse, clock, 5)
    assert "lost" == events[-1].rule.kind


def test_silence_and_too_little_coverage_decide_nothing() -> None:
    pulse, clock, events, _ = watched("p99(path) > 1us over 2s and coverage > 0.9")
    second(pulse, clock, 5000)
    clock.advance(600 * SECOND_NS)
    for _ in range(3):
        second(pulse, clock)
    assert [] == [event for event in events if event.kind == "cleared"]


def test_a_subscriber_that_raises_harms_nobody() -> None:
    pulse, clock, events, watch = watched("p99(path) > 1us over 2s")
    stop = watch.subscribe(lambda event: 1 / 0)
    watch.subscribe(events.append)
    for _ in range(3):
        second(pulse, clock, 5000)
    assert 2 == len(events)
    stop()
    watch.close()
    assert {"kind", "rule", "text", "value", "at_ns", "coverage"} == set(events[0].as_json())


def test_rules_read_as_they_are_written() -> None:
    rule = Rule.parse("p99.9(path{src=ny4,dst=*}) > 250us over 30s for 10s clear 200us and coverage > 90%")
    expected = Rule(
        "path{src=ny4,dst=*}",
        "quantile",
        True,
        250_000,
        share=0.999,
        over_seconds=30,
        for_seconds=10,
        clear=200_000,
        coverage_min=0.9,
        name=rule.name,
    )
    assert expected == rule
    assert 0.999 == pytest.approx(Rule.parse("p999(a) > 1ms").share)
    assert (1e9, 0.99) == (Rule.parse("burn(a > 1s, 99%) > 2").limit, Rule.parse("burn(a > 1s, 99%) > 2").goal)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "p99(path)",
        "p99(path) > 5parsecs",
        "sum(path) > 5",
        "share(path) > 1%",
        "p99(path > 5ms) > 1ms",
        "p99(path) > 5ms whenever",
        "burn(path > 1ms, 100%) > 2",
        "p99() > 5",
        "p99(path) > 5ms for 10",
        "p99(path) > 5ms over 30%",
        "p99(path) > 5ms over 0s",
        "p99(path) > 5ms for -1s",
    ],
)
def test_a_rule_that_makes_no_sense_is_refused_with_an_example_or_a_reason(text: str) -> None:
    with pytest.raises(BadInput):
        Rule.parse(text)


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("slow pages: p99(http{route=/t}) > 250ms", "slow pages", 250e6),
        ("p99(http) > 250ms", "p99(http) > 250ms", 250e6),
        ("mean(machine.cpu{what=busy}) > 90% clear 80%", "mean(machine.cpu{what=busy}) > 90% clear 80%", 900_000),
        ("full: min(machine.memory{what=available}) < 2GiB", "full", 2**31),
        ("lossy: share(http > 50ms) > 1%", "lossy", 0.01),
    ],
)
def test_a_rule_may_have_a_name_and_the_unit_of_its_series(text: str, name: str, value: float) -> None:
    rule = Rule.parse(text)
    assert name == rule.name
    assert value == pytest.approx(rule.value)
    assert rule.text == text.removeprefix(f"{name}: ")


def test_a_pattern_that_is_none_is_refused_when_the_rule_is_made() -> None:
    with pytest.raises(BadInput, match="label=value"):
        Rule.parse("p99(http{route}) > 1ms")


def test_rules_come_from_the_settings_one_a_line() -> None:
    text = "\n# what pages may take\nslow: p99(path) > 1ms over 1s; lost(path) > 0\n\nnegative(path{dst=a;b}) > 1%\n"
    settings = merge(SETTINGS, environment={"BOXWORK_PULSE_WATCH": text})
    with Pulse(threaded=False) as pulse:
        watch = Watch.from_settings(pulse, settings)
        assert ["slow", "lost(path) > 0", "negative(path{dst=a;b}) > 1%"] == [one["rule"] for one in watch.rules()]
        bad = merge(SETTINGS, environment={"BOXWORK_PULSE_WATCH": "p99(path) ~ 3"})
        with pytest.raises(BadInput, match="BOXWORK_PULSE_WATCH.*is not a rule"):
            Watch.from_settings(pulse, bad)


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("p99(a) > 250us", "ns"),
        ("max(a) > 2GiB", "bytes"),
        ("mean(a) > 95%", "ppm"),
        ("max(a) > 8", ""),
        ("lost(a) > 5", ""),
    ],
)
def test_a_limit_has_its_unit_before_there_is_a_series(text: str, unit: str) -> None:
    (shown,) = Watch(Pulse(threaded=False), text).rules()
    assert (0, unit) == (shown["series"], shown["unit"])


def test_a_page_sees_how_each_rule_stands_and_the_log_what_changed(caplog: pytest.LogCaptureFixture) -> None:
    clock = fake_clock()
    pulse = Pulse(clock=clock, threaded=False)
    rule = {"BOXWORK_PULSE_WATCH": "slow: p99(path) > 250us over 1s for 2s"}
    watch = Watch.from_settings(pulse, merge(SETTINGS, environment=rule)).start()
    conditions = []
    for sample in [*[100_000] * 2, *[300_000] * 6, *[100_000] * 6]:
        second(pulse, clock, sample)
        conditions.append(watch.rules()[0]["condition"])
    assert ["quiet", "pending", "firing", "clearing", "quiet"] == [one for one, _ in itertools.groupby(conditions)]
    (shown,) = watch.rules()
    assert ("slow", "ns", 1, 250_000) == (shown["rule"], shown["unit"], shown["series"], shown["threshold"])
    assert "path" == shown["example"]
    assert ["fired", "cleared"] == [event.kind for event in watch.events]
    assert ["fired: slow", "cleared: slow"] == [record.message for record in caplog.records]


@pytest.mark.parametrize("page", ["docs/pulse.md", "boxwork/serve/pulse/watch.html"])
def test_the_rules_that_people_are_shown_are_rules(page: str) -> None:
    text = html.unescape((Path(__file__).parents[2] / page).read_text("utf-8"))
    (block,) = re.findall(r"^(?:<pre><code>)?(\[pulse\]\n.*?\"\"\"\n.*?\"\"\")", text, re.DOTALL | re.MULTILINE)
    rules = rules_in(tomllib.loads(block)["pulse"]["watch"])
    assert 4 <= len(rules)
    assert all(rule.name != rule.text for rule in rules)


def test_the_number_of_rules_has_a_limit() -> None:
    with Pulse(threaded=False) as pulse:
        watch = Watch(pulse, *[f"p99(path) > {number}ms" for number in range(RULES_MAX)])
        with pytest.raises(BadInput, match="200 rules"):
            watch.add("p99(path) > 1s")
