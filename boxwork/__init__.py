"""Boxwork: everything is a hashing problem.

The front door: it re-exports, lazily, and does nothing else.  `import boxwork.pulse` needs numpy alone.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# name -> module; what stands here is public, everything else may move
_EXPORTS = {
    "Boxwork": "boxwork.app",
    "Work": "boxwork.app",
    "open": "boxwork.app",
    "asgi": "boxwork.serve.http",
    "Blob": "boxwork.derive.handles",
    "File": "boxwork.derive.handles",
    "Tree": "boxwork.content.tree",
    "TreeEntry": "boxwork.content.tree",
    "tree": "boxwork.content.tree",
    "open_content": "boxwork.content.standalone",
    "sweep": "boxwork.content.standalone",
    "clock": "boxwork.clock",
    "journal": "boxwork.journal",
    "derivation": "boxwork.box",
    "Derivation": "boxwork.box",
    "transaction": "boxwork.transactions",
    "Transaction": "boxwork.transactions",
    "Ref": "boxwork.keys",
    "ref_of": "boxwork.keys",
    "ref_of_file": "boxwork.keys",
    "Setting": "boxwork.settings",
    "Pack": "boxwork.pack",
    "Page": "boxwork.pack",
    "Rooms": "boxwork.live.offer",
    "Elsewhere": "boxwork.serve.elsewhere",
    "whole_body": "boxwork.serve.bodies",
    "BoxworkError": "boxwork.errors",
    "errors": "boxwork.errors",
}

__all__ = ["__version__", *_EXPORTS]


def __getattr__(name: str) -> Any:
    module = _EXPORTS.get(name)
    if module is None:
        raise AttributeError(f"module 'boxwork' has no attribute {name!r}; it has: {', '.join(sorted(_EXPORTS))}")
    loaded = importlib.import_module(module)
    value = loaded if module.rsplit(".", 1)[-1] == name else getattr(loaded, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


if TYPE_CHECKING:
    from boxwork import clock as clock
    from boxwork import errors as errors
    from boxwork import journal as journal
    from boxwork.app import Boxwork as Boxwork
    from boxwork.app import Work as Work
    from boxwork.app import open as open
    from boxwork.box import Derivation as Derivation
    from boxwork.box import derivation as derivation
    from boxwork.content import tree as tree
    from boxwork.content.standalone import open_content as open_content
    from boxwork.content.standalone import sweep as sweep
    from boxwork.content.tree import Tree as Tree
    from boxwork.content.tree import TreeEntry as TreeEntry
    from boxwork.derive.handles import Blob as Blob
    from boxwork.derive.handles import File as File
    from boxwork.errors import BoxworkError as BoxworkError
    from boxwork.keys import Ref as Ref
    from boxwork.keys import ref_of as ref_of
    from boxwork.keys import ref_of_file as ref_of_file
    from boxwork.live.offer import Rooms as Rooms
    from boxwork.pack import Pack as Pack
    from boxwork.pack import Page as Page
    from boxwork.serve.bodies import whole_body as whole_body
    from boxwork.serve.elsewhere import Elsewhere as Elsewhere
    from boxwork.serve.http import asgi as asgi
    from boxwork.settings import Setting as Setting
    from boxwork.transactions import Transaction as Transaction
    from boxwork.transactions import transaction as transaction
