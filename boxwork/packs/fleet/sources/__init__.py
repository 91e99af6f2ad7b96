"""What may stand behind the facade: folders, a spreadsheet's CSV, SQL tables."""

from __future__ import annotations

from boxwork.packs.fleet.sources.source import Reading, Source, open_source

__all__ = ["Reading", "Source", "open_source"]
