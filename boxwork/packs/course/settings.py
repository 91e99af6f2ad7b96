"""What can be set about courses."""

from __future__ import annotations

from boxwork import Setting

MiB = 1024 * 1024

SETTINGS = (
    Setting(
        "course.public",
        False,
        "",
        "true: machines that the guard does not know may see courses and register; organisers' pages stay guarded",
    ),
    Setting(
        "course.address",
        "",
        "",
        "its name outside, as https://course.example.org, in calendars and letters; empty: as it is asked",
    ),
    Setting("course.material_bytes_max", 256 * MiB, "bytes", "one handed-out file; recordings of talks are larger"),
)
