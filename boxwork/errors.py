"""The error tree: every way in which Boxwork says no.

    BoxworkError
    ├── BadInput               what the caller gave cannot be used; it will not get better by itself
    │   ├── BadRef             a text that is not a ref
    │   ├── UnsupportedType    a value with no canonical form
    │   └── Undeclared         a box reads something its key does not see
    ├── Forbidden              the caller may not do this
    ├── NotFound               nothing stands under this name
    │   └── BlobMissing        a well-formed ref whose bytes are not here
    ├── BlobCorrupt            bytes were found, but they are not the ones their name promises
    ├── TooLarge               over a limit that has a setting
    ├── Busy                   a queue is full or a lock is held; the same call may work later
    ├── Timeout                a wait reached its limit
    ├── StorageError           the disk or the bucket said no
    │   ├── StorageFull        no space left, or the quota is reached
    │   └── StorageReadOnly    the directory or bucket does not take writes
    ├── FormatError            the data directory is of another format, or of no format
    ├── DerivationError        a box ran, or should have run, and there is no output
    │   ├── DerivationFailed   the function raised
    │   ├── DerivationCancelled everyone who waited has left
    │   └── InputChanged       a file it read changed while it ran; nothing was stored
    └── StateError             a transaction was not committed, or nobody knows
        ├── Refused            a precondition does not hold: an answer, not a failure
        │   └── BoundReached   a guarded merge would leave its bounds
        ├── TransactionAborted lanes `locking` and `occ` only: somebody else was faster, run it again
        ├── TransactionFailed  over HTTP only: the function raised something else, and nothing was changed
        ├── Impure             a transaction reads clocks, chance, files or the network behind `tx`
        ├── CommitUnknown      the answer was lost: it may have happened; ask again with the same `once`
        ├── LogCorrupt         the log is damaged where it was already durable
        ├── StateInUse         another process owns the facts of this directory
        └── Lagged             a watcher was too slow and missed changes: read again, then watch again

    InvariantBroken            outside the tree: our bug, never caught

A class stands here only where a caller could react differently.  Every class has a stable dotted `code`, an
HTTP status and `retry`; one JSON shape leaves the process (`as_json`).
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal, TypeAlias

Retry: TypeAlias = Literal["never", "now", "later", "unknown"]


class BoxworkError(Exception):
    """The root: `message` says what was wrong, with which value, and what to do."""

    code: ClassVar[str] = "boxwork"
    status: ClassVar[int] = 500
    retry: ClassVar[Retry] = "unknown"

    def __init__(self, message: str, /, **details: Any) -> None:
        self.args = (message,)  # what `super().__init__` does, and a refusal is made in 0.8 of the time
        self.message = message
        self.details = details

    def as_json(self) -> dict[str, Any]:
        """The one shape in which an error leaves the process."""
        return {"error": self.code, "message": self.message, "retry": self.retry, "details": self.details}

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, (type(self), self.message, self.details))


def _rebuild(kind: type[BoxworkError], message: str, details: dict[str, Any]) -> BoxworkError:
    return kind(message, **details)


class BadInput(BoxworkError):
    code = "input.bad"
    status = 400
    retry: ClassVar[Retry] = "never"


class BadRef(BadInput):
    code = "input.ref"


class UnsupportedType(BadInput):
    code = "input.type"


class Undeclared(BadInput):
    code = "box.undeclared"
    status = 422


class Forbidden(BoxworkError):
    code = "access.forbidden"
    status = 403
    retry: ClassVar[Retry] = "never"


class NotFound(BoxworkError):
    code = "missing"
    status = 404
    retry: ClassVar[Retry] = "never"


class BlobMissing(NotFound):
    code = "blob.missing"


class BlobCorrupt(BoxworkError):
    code = "blob.corrupt"
    status = 500
    retry: ClassVar[Retry] = "never"


class TooLarge(BoxworkError):
    code = "limit.size"
    status = 413
    retry: ClassVar[Retry] = "never"


class Busy(BoxworkError):
    code = "busy"
    status = 503
    retry: ClassVar[Retry] = "later"


class Timeout(BoxworkError):
    code = "timeout"
    status = 504
    retry: ClassVar[Retry] = "later"


class StorageError(BoxworkError):
    code = "storage"
    status = 503
    retry: ClassVar[Retry] = "later"


class StorageFull(StorageError):
    code = "storage.full"
    status = 507


class StorageReadOnly(StorageError):
    code = "storage.read_only"


class FormatError(BoxworkError):
    code = "format"
    status = 500
    retry: ClassVar[Retry] = "never"


class DerivationError(BoxworkError):
    code = "derivation"
    status = 500
    retry: ClassVar[Retry] = "unknown"


class DerivationFailed(DerivationError):
    code = "derivation.failed"
    status = 422
    retry: ClassVar[Retry] = "never"


class DerivationCancelled(DerivationError):
    code = "derivation.cancelled"
    status = 409
    retry: ClassVar[Retry] = "now"


class InputChanged(DerivationError):
    code = "derivation.input_changed"
    status = 409
    retry: ClassVar[Retry] = "now"


class StateError(BoxworkError):
    code = "state"
    status = 500
    retry: ClassVar[Retry] = "unknown"


class Refused(StateError):
    code = "transaction.refused"
    status = 409
    retry: ClassVar[Retry] = "never"


class BoundReached(Refused):
    code = "transaction.bound"


class TransactionAborted(StateError):
    code = "transaction.aborted"
    status = 409
    retry: ClassVar[Retry] = "now"


class TransactionFailed(StateError):
    code = "transaction.failed"
    status = 422
    retry: ClassVar[Retry] = "never"


class Impure(StateError):
    code = "transaction.impure"
    status = 422
    retry: ClassVar[Retry] = "never"


class CommitUnknown(StateError):
    code = "commit.unknown"
    status = 503


class LogCorrupt(StateError):
    code = "log.corrupt"
    retry: ClassVar[Retry] = "never"


class StateInUse(StateError):
    code = "state.in_use"
    status = 503
    retry: ClassVar[Retry] = "later"


class Lagged(StateError):
    code = "watch.lagged"
    status = 409
    retry: ClassVar[Retry] = "now"


class InvariantBroken(Exception):
    """Our own bug.  It stands outside the tree so that no handler swallows it."""
