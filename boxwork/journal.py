"""Log lines: readable on a terminal, one JSON object a line otherwise, the request's id on every one.

`configure` is called once, by the command line or by whoever embeds Boxwork; libraries below only call
`logging.getLogger("boxwork.…")`.
"""

from __future__ import annotations

import json
import logging
import sys
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import TextIO

from boxwork.errors import BadInput
from boxwork.settings import Setting

SETTINGS = (
    Setting("log.level", "info", "", "debug shows every request and derivation; warning is quiet"),
    Setting("log.format", "auto", "", "auto: text on a terminal, JSON otherwise; or text, or json"),
)

LEVELS = ("debug", "info", "warning", "error", "critical")
FORMS = ("auto", "text", "json")

request_id: ContextVar[str] = ContextVar("boxwork_request_id", default="")

# What a LogRecord carries by itself: everything else came in by `extra=` and belongs into the line.
_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_COLOURS = {"DEBUG": "2", "INFO": "36", "WARNING": "33", "ERROR": "31", "CRITICAL": "1;31"}


class JsonLines(logging.Formatter):
    """One JSON object a line: time (UTC), level, logger, message, request, and what `extra=` gave."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if request := request_id.get():
            line["request"] = request
        line.update({name: value for name, value in vars(record).items() if name not in _OWN})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)


class TextLines(logging.Formatter):
    """Local time, level, message, then `name=value` of the rest."""

    def __init__(self, *, colour: bool) -> None:
        super().__init__()
        self.colour = colour

    def format(self, record: logging.LogRecord) -> str:
        level = record.levelname.lower()
        if self.colour:
            level = f"\x1b[{_COLOURS.get(record.levelname, '0')}m{level}\x1b[0m"
        rest = {name: value for name, value in vars(record).items() if name not in _OWN}
        if request := request_id.get():
            rest["request"] = request
        time = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S")
        text = f"{time} {level} {record.getMessage()}" + "".join(f" {name}={value}" for name, value in rest.items())
        return f"{text}\n{self.formatException(record.exc_info)}" if record.exc_info else text


def configure(level: str = "info", form: str = "auto", stream: TextIO | None = None) -> None:
    """Send the log of `boxwork` and of the HTTP server to `stream` (default: standard error)."""
    if level.lower() not in LEVELS or form not in FORMS:
        raise BadInput(
            f"log.level is {level!r} and log.format {form!r}: there are {', '.join(LEVELS)} and {', '.join(FORMS)}"
        )
    target = sys.stderr if stream is None else stream
    terminal = target.isatty()
    text = form == "text" or (form == "auto" and terminal)
    handler = logging.StreamHandler(target)
    handler.setFormatter(TextLines(colour=terminal) if text else JsonLines())
    for name in ("boxwork", "uvicorn"):
        logger = logging.getLogger(name)
        logger.handlers[:] = [handler]
        logger.propagate = False
        logger.setLevel(level.upper())
