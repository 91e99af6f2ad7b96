"""How this project starts a Chromium to test, measure and picture pages."""

from __future__ import annotations

# Headless, and silent towards everybody but the page that is looked at.
CHROMIUM_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)
