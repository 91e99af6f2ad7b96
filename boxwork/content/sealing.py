"""How private bytes are spelled before they become a blob.

sealed   `boxwork-sealed 1` LF, key id (16 bytes), chunk size (4 bytes, big-endian), then the chunks, each sealed with
         AES-256-SIV (RFC 5297) as 16 bytes of tag and the ciphertext.  SIV is deterministic: equal bytes of one
         subject make equal blobs, so they are stored once, and nobody without the key can tell.
         The associated data of a chunk is the header, its index, whether it is the last, and the tag of the chunk
         before: chunks cannot be cut off, moved, repeated, or mixed between two blobs.
salted   `boxwork-salted 1` LF, the space's salt (32 bytes), then the bytes as they are: for spaces without encryption.
         The salt keeps deduplication inside the space: the same photo put elsewhere has another name.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO, Protocol

from boxwork.content.subject_keys import SubjectKey
from boxwork.errors import BadInput, BlobCorrupt
from boxwork.keys import Buffer
from boxwork.settings import MiB

SEALED = b"boxwork-sealed 1\n"
SALTED = b"boxwork-salted 1\n"
SALT_BYTES = 32
TAG_BYTES = 16

# A range request decrypts whole chunks, so a chunk should be small; each costs 16 bytes and one call.  Unit: bytes.
# Written into every header: a change does not touch what is there, but ends its deduplication.
CHUNK_BYTES = MiB
CHUNK_BYTES_MAX = 64 * MiB

_size = struct.Struct(">I")
_index = struct.Struct(">Q?")


class Sealer(Protocol):
    """Turns bytes into what is stored, and back."""

    def seal(self, chunks: Iterable[Buffer]) -> Iterator[bytes]: ...

    def open(self, file: BinaryIO) -> BinaryIO: ...


class Salted:
    """Bytes as they are behind the space's salt."""

    def __init__(self, salt: bytes) -> None:
        self._header = SALTED + salt

    def seal(self, chunks: Iterable[Buffer]) -> Iterator[bytes]:
        yield self._header
        for chunk in chunks:
            yield bytes(chunk)

    def open(self, file: BinaryIO) -> BinaryIO:
        if file.read(len(self._header)) != self._header:
            raise _broken("it does not begin as a blob of this space")
        return io.BufferedReader(_Behind(file, len(self._header)))


class Sealed:
    """AES-256-SIV under a subject's key."""

    def __init__(self, key: SubjectKey, chunk_bytes: int = CHUNK_BYTES) -> None:
        self._id = key.id
        self._cipher = _aes_siv(key.key)
        self._chunk_bytes = chunk_bytes

    def seal(self, chunks: Iterable[Buffer]) -> Iterator[bytes]:
        header = SEALED + self._id + _size.pack(self._chunk_bytes)
        yield header
        tag, index = b"", 0
        waiting = bytearray()
        step = self._chunk_bytes
        for chunk in chunks:
            view = memoryview(chunk).cast("B")
            for start in range(0, len(view), step):
                waiting += view[start : start + step]
                if len(waiting) > step:  # not >=: the last chunk must be known as the last
                    sealed = self._cipher.encrypt(bytes(waiting[:step]), [header, _index.pack(index, False), tag])
                    del waiting[:step]
                    tag, index = sealed[:TAG_BYTES], index + 1
                    yield sealed
        yield self._cipher.encrypt(bytes(waiting), [header, _index.pack(index, True), tag])

    def open(self, file: BinaryIO) -> BinaryIO:
        header = file.read(len(SEALED) + len(self._id) + _size.size)
        if header[: -_size.size] != SEALED + self._id:
            raise _broken("it does not begin as a blob that this key has sealed")
        chunk_bytes = _size.unpack(header[-_size.size :])[0]
        if not 0 < chunk_bytes <= CHUNK_BYTES_MAX:
            raise _broken(f"its chunks would have {chunk_bytes} bytes")
        return io.BufferedReader(_Unsealed(file, self._cipher, header, chunk_bytes), CHUNK_BYTES)


class _Window(io.RawIOBase):
    """A seekable file over something that knows its size and can answer with the bytes at a position."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._size = size
        self._position = 0

    def _at(self, position: int, count: int) -> bytes:
        raise NotImplementedError

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = (0, self._position, self._size)[whence]
        if start + offset < 0:
            raise ValueError(f"seek to {start + offset}: before the beginning")
        self._position = start + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        data = self._at(self._position, min(len(view), max(0, self._size - self._position)))
        view[: len(data)] = data
        self._position += len(data)
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()


class _Behind(_Window):
    def __init__(self, file: BinaryIO, offset: int) -> None:
        super().__init__(file, file.seek(0, io.SEEK_END) - offset)
        self._offset = offset

    def _at(self, position: int, count: int) -> bytes:
        self._file.seek(self._offset + position)
        return self._file.read(count)


class _Unsealed(_Window):
    """Decrypts the chunk it stands in; one chunk is kept."""

    def __init__(self, file: BinaryIO, cipher: Any, header: bytes, chunk_bytes: int) -> None:
        body = file.seek(0, io.SEEK_END) - len(header)
        self._chunks = max(1, -(-body // (chunk_bytes + TAG_BYTES)))
        size = body - self._chunks * TAG_BYTES
        # Before anything is refused: what is half made is closed too.
        super().__init__(file, size)
        # Only the blob of nothing has an empty chunk; elsewhere no reader would come to it and notice the cut.
        if size < 0 or (self._chunks > 1 and size <= (self._chunks - 1) * chunk_bytes):
            raise _broken("it ends too early")
        self._cipher = cipher
        self._header = header
        self._chunk_bytes = chunk_bytes
        self._open_index = -1
        self._open_bytes = b""
        if self._size == 0:
            self._chunk(0)  # there is nothing to read, so nothing else would notice that it was cut off

    def _at(self, position: int, count: int) -> bytes:
        if count == 0:
            return b""
        index, offset = divmod(position, self._chunk_bytes)
        return self._chunk(index)[offset : offset + count]

    def _chunk(self, index: int) -> bytes:
        if index != self._open_index:
            from cryptography.exceptions import InvalidTag

            step = self._chunk_bytes + TAG_BYTES
            tag = b""
            if index:
                self._file.seek(len(self._header) + (index - 1) * step)
                tag = self._file.read(TAG_BYTES)
            self._file.seek(len(self._header) + index * step)
            sealed = self._file.read(step)
            last = index == self._chunks - 1
            try:
                self._open_bytes = self._cipher.decrypt(sealed, [self._header, _index.pack(index, last), tag])
            except (InvalidTag, ValueError):
                raise _broken(f"chunk {index} of {self._chunks} does not open with the key of its subject") from None
            self._open_index = index
        return self._open_bytes


def _aes_siv(key: bytes) -> Any:
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESSIV
    except ImportError as reason:
        raise BadInput("encrypted spaces need the package cryptography: pip install 'boxwork[spaces]'") from reason
    return AESSIV(key)


def _broken(what: str) -> BlobCorrupt:
    return BlobCorrupt(f"a sealed blob was altered, or its key is another one: {what}; restore it from a backup")
