"""A spreadsheet as a source: the CSV that a URL answers with, as Google Sheets publishes one, or a file."""

from __future__ import annotations

import csv
import io
import threading
from email.message import Message
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, build_opener

from boxwork.packs.fleet.sources.source import Limits, Reading, SourceFailed
from boxwork.packs.fleet.table import Raw

# Pieces in which a body is read: small enough that the limits are looked at often.  Unit: bytes.
PIECE_BYTES = 64 * 1024


class Sheet:
    """A URL.  It is asked with `If-None-Match` and `If-Modified-Since`, so that an unchanged sheet costs one line."""

    def __init__(self, url: str, limits: Limits) -> None:
        self.url = url
        self.limits = limits
        self._known: dict[str, str] = {}
        self._opener = build_opener()

    def read(self) -> Reading:
        request = Request(self.url, headers={"accept": "text/csv", "user-agent": "boxwork-fleet", **self._known})
        answer: list[Reading | SourceFailed] = []
        # The deadline is for the whole answer: a socket's own timeout starts anew with every byte of a slow one.
        reader = threading.Thread(target=lambda: answer.append(self._answer(request)), daemon=True)
        reader.start()
        reader.join(self.limits.timeout_s)
        if not answer:
            raise SourceFailed(f"the sheet did not answer within {self.limits.timeout_s:g} s")
        if isinstance(answer[0], SourceFailed):
            raise answer[0]
        return answer[0]

    def _answer(self, request: Request) -> Reading | SourceFailed:
        try:
            with self._opener.open(request, timeout=self.limits.timeout_s) as response:
                data = self._body(response)
                rows = rows_of(data)
                self._remember(response.headers)
                return Reading(data, rows)
        except HTTPError as fault:
            if fault.code == 304:
                return Reading(unchanged=True)
            return SourceFailed(f"the sheet answered {fault.code} {fault.reason}: is it published, and as CSV?")
        except SourceFailed as fault:
            return fault
        except (URLError, OSError, ValueError) as fault:
            return SourceFailed(f"the sheet cannot be fetched: {getattr(fault, 'reason', fault)}")

    def _body(self, response: io.BufferedIOBase) -> bytes:
        pieces, size = [], 0
        while piece := response.read(PIECE_BYTES):
            size += len(piece)
            if size > self.limits.bytes_max:
                raise SourceFailed(
                    f"the sheet has more than {self.limits.bytes_max:,} bytes (setting fleet.source_bytes_max)"
                )
            pieces.append(piece)
        return b"".join(pieces)

    def _remember(self, headers: Message) -> None:
        pairs = (("etag", "if-none-match"), ("last-modified", "if-modified-since"))
        self._known = {asked: headers[told] for told, asked in pairs if headers.get(told)}


class SheetFile:
    """The same, in a file."""

    def __init__(self, path: str, limits: Limits) -> None:
        self.path = Path(path).expanduser()
        self.limits = limits
        self._seen: tuple[int, int, int] | None = None

    def read(self) -> Reading:
        try:
            stat = self.path.stat()
            seen = (stat.st_size, stat.st_mtime_ns, stat.st_ino)
            if seen == self._seen:
                return Reading(unchanged=True)
            if stat.st_size > self.limits.bytes_max:
                raise SourceFailed(
                    f"{self.path} has {stat.st_size:,} bytes; at most {self.limits.bytes_max:,} are read"
                    " (setting fleet.source_bytes_max)"
                )
            data = self.path.read_bytes()
        except OSError as fault:
            raise SourceFailed(f"{self.path} cannot be read: {fault.strerror}") from None
        rows = rows_of(data)
        self._seen = seen
        return Reading(data, rows)


def rows_of(data: bytes) -> tuple[Raw, ...]:
    """The rows of a CSV text with a header line; a row is found again by the number of its line."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        raise SourceFailed(f"the sheet is no UTF-8: {fault.reason} at byte {fault.start}") from None
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [name.strip() for name in next(lines, [])]
        if "host" not in header:
            begins = text[:60].splitlines()[0] if text.strip() else ""
            raise SourceFailed(f"the first line names no column 'host'; it is {begins!r} (a login page, perhaps?)")
        doubled = sorted({name for name in header if name and header.count(name) > 1})
        if doubled:
            raise SourceFailed(f"the column {doubled[0]!r} stands twice in the first line")
        rows = []
        for values in lines:
            if not any(value.strip() for value in values):
                continue
            if len(values) > len(header) and any(value.strip() for value in values[len(header) :]):
                raise SourceFailed(f"line {lines.line_num} has {len(values)} values for {len(header)} columns")
            pairs = zip(header, values, strict=False)
            rows.append(Raw(f"line {lines.line_num}", {name: value for name, value in pairs if name}))
        return tuple(rows)
    except csv.Error as fault:
        raise SourceFailed(f"line {lines.line_num} is no CSV: {fault}") from None
