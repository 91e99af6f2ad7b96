"""A selection of pictures as one ZIP file, written while it is sent: nothing is held but one piece."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs

from starlette.concurrency import iterate_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from boxwork import Ref, errors, whole_body
from boxwork.packs.thumbs.album import Album

# Unit: bytes, of the form with the refs: 65 characters each.
FORM_BYTES_MAX = 200_000
PIECE_BYTES = 256 * 1024


class Outlet(io.RawIOBase):
    """What the ZIP is written into: it remembers the position and hands over what was written."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.position = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        piece = bytes(data)
        self.pieces.append(piece)
        self.position += len(piece)
        return len(piece)

    def tell(self) -> int:
        return self.position

    def take(self) -> bytes:
        whole = b"".join(self.pieces)
        self.pieces.clear()
        return whole


async def zip_reply(request: Request, work: Any, album: Album) -> Response:
    form = await whole_body(request, FORM_BYTES_MAX)
    fields = parse_qs(form.decode("ascii", "replace"))
    refs = [Ref.parse(text) for text in ",".join(fields.get("refs", [])).split(",") if text]
    files_max = work.settings.integer("thumbs.zip_files_max")
    if not 0 < len(refs) <= files_max:
        raise errors.BadInput(
            f"a download has 1 to {files_max} pictures, not {len(refs)} (setting thumbs.zip_files_max)"
        )
    for ref in refs:
        work.size(ref)  # raises now, while there is still an answer to say so
    names = {shot.ref: shot.name for shot in album.shots}
    headers = {
        "content-type": "application/zip", "cache-control": "no-store",
        "content-disposition": 'attachment; filename="pictures.zip"',
    }  # fmt: skip
    pieces = zip_pieces(work, [(ref, names.get(ref, f"{ref.hex[:12]}.bin")) for ref in refs])
    return StreamingResponse(iterate_in_threadpool(pieces), 200, headers)


def zip_pieces(work: Any, wanted: list[tuple[Ref, str]]) -> Iterator[bytes]:
    """The file in pieces.  Names that occur twice get a number; none can lead out of the folder it is unpacked in."""
    outlet = Outlet()
    taken: set[str] = set()
    with zipfile.ZipFile(outlet, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for ref, name in wanted:
            plain = name.replace("\\", "_").replace("/", "_").lstrip(".") or "picture"
            stem, dot, suffix = plain.rpartition(".")
            number = 2
            while plain in taken:
                plain = f"{stem or suffix} ({number}){dot if stem else ''}{suffix if stem else ''}"
                number += 1
            taken.add(plain)
            with work.open(ref) as source, archive.open(zipfile.ZipInfo(plain), "w", force_zip64=True) as entry:
                while piece := source.read(PIECE_BYTES):
                    entry.write(piece)
                    yield outlet.take()
    yield outlet.take()
