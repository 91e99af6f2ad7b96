"""A directory as a value: the front of five files.

`tree_value` says what a tree is, `tree_commit` takes directories in, `tree_system` with all that an operating system
keeps of them, `tree_checkout` brings them back, `tree_index` remembers what need not be read again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import BinaryIO, Protocol

from boxwork.content.staging import remove, take_place
from boxwork.content.tree_checkout import CopyMode, checkout, leads_out, switch
from boxwork.content.tree_commit import commit
from boxwork.content.tree_index import TABLES, TreeIndex
from boxwork.content.tree_system import attributes_of
from boxwork.content.tree_value import (
    DEPTH_MAX,
    HEADERS,
    Change,
    Tree,
    TreeEntry,
    compose,
    decode,
    diff,
    encode,
    held_in,
    is_tree,
    references,
)
from boxwork.errors import BlobCorrupt, TooLarge
from boxwork.keys import Ref, ref_of

__all__ = [
    "DEPTH_MAX",
    "TABLES",
    "Change",
    "CopyMode",
    "Tree",
    "TreeEntry",
    "TreeIndex",
    "attributes_of",
    "checkout",
    "commit",
    "compose",
    "decode",
    "diff",
    "encode",
    "follower",
    "held_in",
    "is_tree",
    "leads_out",
    "references",
    "remove",
    "switch",
    "take_place",
]


class Openable(Protocol):
    def open(self, ref: Ref) -> BinaryIO: ...


def follower(content: Openable) -> Callable[[Ref], Iterable[Ref]]:
    """What `Content.add_follower` wants: the refs inside a blob if it is a tree, nothing if it is not.

    Anybody may put bytes that begin like a tree and are none: those hold nothing.  Bytes that are not what their
    name promises raise `BlobCorrupt`, and absent ones `BlobMissing`: a sweep that does not know what a tree held
    must not go on.
    """

    def follow(ref: Ref) -> Iterable[Ref]:
        with content.open(ref) as file:
            header = file.read(len(HEADERS[0]))
            if header not in HEADERS:
                return ()
            data = header + file.read()
        try:
            return list(references(data, ref))
        except (BlobCorrupt, TooLarge):
            if ref_of(data) != ref:
                raise
            return ()

    return follow
