"""What can be set about a monitor; what is looked at stands in its book."""

from __future__ import annotations

from boxwork import Setting

SETTINGS = (
    Setting(
        "monitor.book",
        "monitor.toml",
        "",
        "the file with the checks; a relative path begins at the data directory, and without the file nothing runs",
    ),
    Setting("monitor.book_poll_s", 1.0, "s", "between two looks at whether the book was edited; one costs a stat"),
    Setting(
        "monitor.at_once",
        64,
        "checks",
        "that run at the same time; one that hangs keeps its place until its timeout, and a plugin is a process",
    ),
    Setting(
        "monitor.results_kept_h",
        24.0,
        "h",
        "so long every single result is kept, 0.7 KiB each (200 checks of ten seconds: 1.1 GiB a day);"
        " durations and figures stay in pulse for years",
    ),
    Setting("monitor.output_kept_h", 2160.0, "h", "so long the output of a runbook is kept: a quarter of a year"),
    Setting("monitor.notices_at_once", 8, "notices", "that are on their way at the same time; the others wait"),
    Setting(
        "monitor.url",
        "",
        "",
        "where people reach this node, as https://node.example.org: notices link to the incident's page there",
    ),
)
