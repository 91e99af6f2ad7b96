"""The Range header: which bytes of a body were asked for.

RFC 9110, section 14.  A malformed or unknown header is ignored (the whole body is the right answer then), as is
a request for several ranges that do not touch: section 14.2 lets a server ignore the header, every client has to
cope, and multipart answers are a classic way to make a server work hard for little (CVE-2011-3192).
"""

from __future__ import annotations

from dataclasses import dataclass

# More pieces than this are not even looked at.  Unit: ranges.
RANGES_MAX = 16


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes from `start` up to, not including, `stop`."""

    start: int
    stop: int

    @property
    def length(self) -> int:
        return self.stop - self.start

    def content_range(self, size: int) -> str:
        return f"bytes {self.start}-{self.stop - 1}/{size}"


class Unsatisfiable(Exception):
    """Well-formed, but no byte of it exists: 416."""


def parse_range(header: str, size: int) -> Span | None:
    """The one span to send, or None to send everything.  Raises `Unsatisfiable`."""
    unit, equals, wanted = header.partition("=")
    if not equals or unit.strip().lower() != "bytes":
        return None
    pieces = wanted.split(",")
    if len(pieces) > RANGES_MAX:
        return None
    spans: list[Span] = []
    for piece in pieces:
        first, dash, last = (part.strip() for part in piece.strip().partition("-"))
        if not dash or not _digits(first) or not _digits(last) or (not first and not last):
            return None
        if first and last and int(last) < int(first):
            return None
        if first:
            start, stop = int(first), min(int(last) + 1, size) if last else size
        else:
            start, stop = max(0, size - int(last)), size
        if start < stop:
            spans.append(Span(start, stop))
    if not spans:
        raise Unsatisfiable
    spans.sort(key=lambda span: span.start)
    merged = spans[0]
    for span in spans[1:]:
        if span.start > merged.stop:
            return None
        merged = Span(merged.start, max(merged.stop, span.stop))
    return merged


def _digits(text: str) -> bool:
    # str.isdigit alone takes '²', and int() takes 4,300 digits; a size of 18 digits is an exabyte
    return text.isascii() and (text == "" or text.isdigit()) and len(text) <= 18


def parse_etags(header: str) -> frozenset[str] | None:
    """The names in If-None-Match, without `W/` and quotes; None stands for `*`."""
    if header.strip() == "*":
        return None
    tags = (tag.strip() for tag in header.split(","))
    return frozenset(tag.removeprefix("W/").strip('"') for tag in tags if tag)
