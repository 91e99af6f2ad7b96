"""Log lines: for people on a terminal, for machines elsewhere, with the id of the request on every one."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from boxwork.journal import configure, request_id


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def loggers_as_they_were() -> Iterator[None]:
    names = ("boxwork", "uvicorn")
    before = [(log, log.handlers[:], log.propagate, log.level) for log in (logging.getLogger(name) for name in names)]
    yield
    for log, handlers, propagate, level in before:
        log.handlers[:] = handlers
        log.propagate = propagate
        log.setLevel(level)


@pytest.fixture
def log() -> logging.Logger:
    return logging.getLogger("boxwork.test")


def test_elsewhere_than_on_a_terminal_a_line_is_one_json_object(log: logging.Logger) -> None:
    stream = io.StringIO()
    configure(stream=stream)
    log.info("took %d photos in", 3, extra={"folder": "Bilder — süß", "odd": object})
    line = json.loads(stream.getvalue())
    assert ["time", "level", "logger", "message", "folder", "odd"] == list(line)
    assert ("info", "boxwork.test", "took 3 photos in") == (line["level"], line["logger"], line["message"])
    assert line["time"].endswith("+00:00")
    assert "Bilder — süß" in stream.getvalue()


def test_on_a_terminal_a_line_is_for_people(log: logging.Logger) -> None:
    stream = Terminal()
    configure(stream=stream)
    log.warning("slow", extra={"ms": 12})
    assert stream.getvalue().rstrip().endswith("\x1b[33mwarning\x1b[0m slow ms=12")


@pytest.mark.parametrize(("form", "stream", "is_json"), [("json", Terminal(), True), ("text", io.StringIO(), False)])
def test_the_form_can_be_chosen(log: logging.Logger, form: str, stream: io.StringIO, is_json: bool) -> None:
    configure(form=form, stream=stream)
    log.error("no")
    assert is_json == stream.getvalue().startswith("{")
    assert "\x1b" not in stream.getvalue()


@pytest.mark.parametrize("form", ["json", "text"])
def test_the_request_is_named_on_every_line(log: logging.Logger, form: str) -> None:
    stream = io.StringIO()
    configure(form=form, stream=stream)
    token = request_id.set("r-17")
    try:
        log.info("inside")
    finally:
        request_id.reset(token)
    log.info("outside")
    inside, outside = stream.getvalue().splitlines()
    assert "r-17" in inside
    assert "r-17" not in outside


@pytest.mark.parametrize("form", ["json", "text"])
def test_an_exception_is_told_with_its_place(log: logging.Logger, form: str) -> None:
    stream = io.StringIO()
    configure(form=form, stream=stream)
    try:
        raise ValueError("what went wrong")
    except ValueError:
        log.exception("failed")
    assert "ValueError: what went wrong" in stream.getvalue()
    assert "test_journal.py" in stream.getvalue()
    assert (1 if form == "json" else 5) <= len(stream.getvalue().splitlines())
    if form == "json":
        assert "what went wrong" in json.loads(stream.getvalue())["exception"]


def test_the_level_says_what_is_kept(log: logging.Logger) -> None:
    stream = io.StringIO()
    configure("warning", stream=stream)
    log.info("quiet")
    log.warning("loud")
    assert 1 == len(stream.getvalue().splitlines())


def test_configuring_twice_does_not_say_everything_twice(log: logging.Logger) -> None:
    stream = io.StringIO()
    configure(stream=stream)
    configure(stream=stream)
    log.info("once")
    assert 1 == len(stream.getvalue().splitlines())
