"""What can be set about scans."""

from __future__ import annotations

from boxwork import Setting

MiB = 1024 * 1024

SETTINGS = (
    Setting("scans.bytes_max", 512 * MiB, "bytes", "one scan; a phone's room has 1 to 50 MB, a building some hundreds"),
    Setting("scans.at_once", 2, "scans", "sent and not yet on disk, or worked on for who asked; then a 503"),
    Setting("scans.idle_s_max", 30.0, "s", "without a byte of a scan that is being sent; then it is given up"),
    Setting("scans.reading_sd_m", 0.01, "m", "standard deviation of one reading of the scanner; phones: 1 to 2 cm"),
    Setting("scans.relative_sd", 0.005, "share", "standard deviation of the scan's scale; phones: about 1 % of a wall"),
)
