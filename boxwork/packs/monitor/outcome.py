"""What one look found: a state as check plugins have it, words, and figures.

The output of a plugin is `text | label=value[unit];warn;crit;min;max …`, more lines may follow (Nagios plugin
development guidelines, "Plugin Output for Nagios" and "Performance data").
"""

from __future__ import annotations

import math
import re

import msgspec

OK, WARNING, CRITICAL, UNKNOWN = 0, 1, 2, 3
WORDS = ("ok", "warning", "critical", "unknown")

# The first line is shown in tables, the rest on the page of a check.  Unit: characters.
TEXT_MAX = 500
LONG_MAX = 8_000
# Figures of one result; each is a series of its own.  Unit: figures.
FIGURES_MAX = 50

# unit of a plugin → unit of a series, and the factor to it
UNITS = {
    "s": ("ns", 1e9), "ms": ("ns", 1e6), "us": ("ns", 1e3), "ns": ("ns", 1.0),
    "B": ("bytes", 1.0), "KB": ("bytes", 1e3), "MB": ("bytes", 1e6), "GB": ("bytes", 1e9), "TB": ("bytes", 1e12),
    "KiB": ("bytes", 2.0**10), "MiB": ("bytes", 2.0**20), "GiB": ("bytes", 2.0**30), "TiB": ("bytes", 2.0**40),
    "%": ("ppm", 1e4), "c": ("count", 1.0), "": ("1/1000", 1e3),
}  # fmt: skip
_NUMBER = r"[-+]?(?:\d+(?:[.,]\d*)?|[.,]\d+)(?:[eE][-+]?\d+)?"
_FIGURE = re.compile(
    rf"\s*(?:'((?:[^']|'')+)'|([^\s='][^\s=]*))=(U|{_NUMBER})([^\s;]*)"
    r"(?:;([^\s;]*))?(?:;([^\s;]*))?(?:;([^\s;]*))?(?:;([^\s;]*))?;*(?=\s|$)"
)


class Figure(msgspec.Struct, frozen=True):
    """One value of the performance data, as the plugin said it."""

    label: str
    value: float
    unit: str = ""
    warn: str = ""
    crit: str = ""
    low: str = ""
    high: str = ""

    @property
    def sample(self) -> tuple[str, int] | None:
        """The unit of its series and the whole number that goes there; None for a unit that nobody knows."""
        found = UNITS.get(self.unit)
        if found is None:
            return None
        amount = self.value * found[1]
        return (found[0], round(amount)) if abs(amount) < 2**62 else None


class Outcome(msgspec.Struct, frozen=True):
    """The result of one look.  `at_ns` is when it began, `took_ns` how long it took."""

    state: int
    text: str
    at_ns: int = 0
    took_ns: int = 0
    long: str = ""
    figures: tuple[Figure, ...] = ()

    @property
    def word(self) -> str:
        return WORDS[self.state]


def read_plugin(code: int, output: str) -> Outcome:
    """What a plugin said with its exit code and its output."""
    text, long, figures = _split(output)
    if code in (OK, WARNING, CRITICAL, UNKNOWN):
        return Outcome(code, text or f"({WORDS[code]}, and the plugin said nothing)", long=long, figures=figures)
    if code < 0:
        why = f"the plugin was ended by signal {-code}"
    elif code in (126, 127):
        why = f"the plugin could not be run (exit code {code}): is it there, and executable?"
    else:
        why = f"the plugin ended with {code}, and 0 to 3 mean something"
    return Outcome(UNKNOWN, f"{why}: {text}"[:TEXT_MAX] if text else why, long=long, figures=figures)


def _split(output: str) -> tuple[str, str, tuple[Figure, ...]]:
    """First line, further text, figures: behind the `|` of the first line, and of the further text."""
    first, _, rest = output.strip("\r\n").partition("\n")
    text, _, data = first.partition("|")
    long, _, more = rest.partition("|")
    figures = [*read_figures(data), *read_figures(more.replace("\n", " "))][:FIGURES_MAX]
    return text.strip()[:TEXT_MAX], long.strip()[:LONG_MAX], tuple(figures)


def read_figures(data: str) -> list[Figure]:
    """The figures of performance data; what is none is left out, and the next one is read."""
    found: list[Figure] = []
    at = 0
    while at < len(data):
        match = _FIGURE.match(data, at)
        if match is None:
            gap = re.compile(r"\s").search(data, at + 1)
            if gap is None:
                break
            at = gap.start()
            continue
        at = match.end()
        quoted, bare, value, unit, warn, crit, low, high = match.groups(default="")
        amount = math.nan if value == "U" else float(value.replace(",", "."))
        if math.isfinite(amount):  # U: the plugin could not tell
            label = quoted.replace("''", "'") if quoted else bare
            found.append(Figure(label[:100], amount, unit[:20], warn[:40], crit[:40], low[:40], high[:40]))
    return found
