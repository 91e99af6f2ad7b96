"""Wires every layer together; decides nothing."""

from __future__ import annotations

from boxwork.app.awaiting import Boxwork
from boxwork.app.work import Work, open

__all__ = ["Boxwork", "Work", "open"]
