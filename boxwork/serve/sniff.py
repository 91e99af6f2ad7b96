"""What kind of bytes is this: by their first bytes, and never something a browser would run.

Blobs are named by their hash and carry no type.  HTML, SVG, XML and scripts are answered as plain text: a blob
came from anybody, and it is served from the origin of the application.
"""

from __future__ import annotations

# Unit: bytes.  The longest mark below ends at byte 262 (tar).
HEAD_BYTES = 512

OCTETS = "application/octet-stream"
TEXT = "text/plain; charset=utf-8"

_MARKS: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    (0, b"GIF87a", "image/gif"),
    (0, b"GIF89a", "image/gif"),
    (0, b"BM", "image/bmp"),
    (0, b"II*\0", "image/tiff"),
    (0, b"MM\0*", "image/tiff"),
    (0, b"\xff\x0a", "image/jxl"),
    (0, b"\0\0\0\x0cJXL \r\n\x87\n", "image/jxl"),
    (0, b"%PDF-", "application/pdf"),
    (0, b"fLaC", "audio/flac"),
    (0, b"ID3", "audio/mpeg"),
    (0, b"OggS", "application/ogg"),
    (0, b"\x1aE\xdf\xa3", "video/webm"),
    (0, b"PK\x03\x04", "application/zip"),
    (0, b"\x1f\x8b", "application/gzip"),
    (0, b"(\xb5/\xfd", "application/zstd"),
    (0, b"\xfd7zXZ\0", "application/x-xz"),
    (0, b"SQLite format 3\0", "application/vnd.sqlite3"),
    (257, b"ustar", "application/x-tar"),
)
_RIFF = {b"WEBP": "image/webp", b"WAVE": "audio/wav", b"AVI ": "video/x-msvideo"}
_BRANDS = {
    b"avif": "image/avif", b"avis": "image/avif", b"heic": "image/heic", b"heix": "image/heic", b"mif1": "image/heif",
    b"M4A ": "audio/mp4", b"qt  ": "video/quicktime",
}  # fmt: skip
# Bytes that no text has; tab, line feed, form feed, carriage return and escape are fine.
_BINARY = bytes(b for b in range(32) if b not in b"\t\n\f\r\x1b")

EXTENSIONS = {
    "image/jpeg": "jpg", "image/png": "png", "image/gif": "gif", "image/webp": "webp", "image/avif": "avif",
    "image/tiff": "tif", "application/pdf": "pdf", "audio/wav": "wav", TEXT: "txt",
}  # fmt: skip


def content_type(head: bytes) -> str:
    """The media type for bytes that begin with `head` (`HEAD_BYTES` of them are enough)."""
    for offset, mark, kind in _MARKS:
        if head.startswith(mark, offset):
            return kind
    if head.startswith(b"RIFF"):
        return _RIFF.get(head[8:12], OCTETS)
    if head[4:8] == b"ftyp":
        return _BRANDS.get(head[8:12], "video/mp4")
    return TEXT if _is_text(head) else OCTETS


def _is_text(head: bytes) -> bool:
    if not head or head.translate(None, _BINARY) != head:
        return False
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as fault:
        # the cut at HEAD_BYTES may go through a character: up to three bytes of it stand at the end
        return len(head) == HEAD_BYTES and fault.start >= len(head) - 3
    return True
