"""Times every hop (metrics, latency histograms).

    from boxwork.pulse import Pulse
    pulse = Pulse()
    record = pulse.series("path", src="ny4", dst="cme").record
    record(nanoseconds)
    pulse.query("path", src="*", last_seconds=60).histogram.quantile(0.99)

Needs numpy alone; sinks other than the memory load their libraries when they are opened.
"""

from boxwork.pulse.histogram import Histogram
from boxwork.pulse.interval import Interval
from boxwork.pulse.query import Answer, Coverage, Live
from boxwork.pulse.recorder import SETTINGS, Pace, Pulse, Series, timed
from boxwork.pulse.series_name import Pattern, SeriesName
from boxwork.pulse.sinks.memory import MemorySink

__all__ = [
    "SETTINGS",
    "Answer",
    "Coverage",
    "Histogram",
    "Interval",
    "Live",
    "MemorySink",
    "Pace",
    "Pattern",
    "Pulse",
    "Series",
    "SeriesName",
    "timed",
]
