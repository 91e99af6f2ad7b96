"""A receipt: where a commit stands in the log, so that anybody can check that it still does."""

from __future__ import annotations

from dataclasses import dataclass

from boxwork.errors import BadInput


@dataclass(frozen=True, slots=True)
class Receipt:
    """(epoch, position, digest): the position is the entry's version and the index of the call in it.

    The digest is the entry's, which covers all entries before: whoever has the receipt and the log can check every
    bit of the history up to the commit.  A call that only read names the entry whose state it saw, index -1.
    """

    epoch: int
    version: int
    index: int
    digest: bytes

    def __str__(self) -> str:
        return f"{self.epoch}.{self.version}.{self.index}.{self.digest.hex()}"

    @classmethod
    def parse(cls, text: str) -> Receipt:
        try:
            epoch, version, index, digest = text.strip().split(".")
            receipt = cls(int(epoch), int(version), int(index), bytes.fromhex(digest))
        except ValueError:
            receipt = None
        if receipt is None or len(receipt.digest) != 32:
            raise BadInput(
                f"{text[:100]!r} is not a receipt: expected epoch.version.index.digest, as"
                " `commit(receipt=True)` gave it"
            )
        return receipt
