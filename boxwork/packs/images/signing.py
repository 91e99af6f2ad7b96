"""Who made a version: an ed25519 signature over its dependency set and its tree, checked before the version is used."""

from __future__ import annotations

import base64
import os
import tempfile
from pathlib import Path
from typing import Any

from boxwork import Ref, errors

# Below `keys` of the data directory, which is private and part of every backup.
KEY = Path("keys") / "images.key"
KEY_BYTES = 32


class Signer:
    """The key of one node, made when it is first needed.  Needs the extra `images`."""

    def __init__(self, root: Path) -> None:
        self.path = root / KEY

    def sign(self, name: str, dependency_set: Ref, tree: Ref) -> dict[str, str]:
        """The fields `signature` and `key` of a version, in base64."""
        key = self._key()
        return {
            "signature": _text(key.sign(statement(name, str(dependency_set), str(tree)))),
            "key": _text(key.public_key().public_bytes_raw()),
        }

    def sign_bytes(self, data: bytes) -> str:
        """A signature over these bytes, in base64."""
        return _text(self._key().sign(data))

    def public(self) -> str:
        """The public key of this node, in base64."""
        return _text(self._key().public_key().public_bytes_raw())

    def verify(self, version: dict[str, Any], key: str = "") -> None:
        """Raises `Forbidden` if the version was not signed by `key` (default: this node's own)."""
        said = f"{version.get('name')} version {version.get('number')}"
        trusted = key or self.public()
        stated = statement(*(str(version.get(field)) for field in ("name", "set", "tree")))
        if not is_signed(stated, str(version.get("signature", "")), trusted):
            raise errors.Forbidden(
                f"{said} is not signed by the key {trusted[:12]}…: it is not used. Build it again, or find out who"
                " changed its facts",
                name=str(version.get("name")),
            )

    def _key(self) -> Any:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        try:
            return Ed25519PrivateKey.from_private_bytes(self.path.read_bytes())
        except FileNotFoundError:
            pass
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        made = Ed25519PrivateKey.generate()
        handle, spare = tempfile.mkstemp(prefix=f".{self.path.name}-", dir=self.path.parent)  # 0600, and nobody else's
        with os.fdopen(handle, "wb") as file:
            file.write(made.private_bytes_raw())
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(spare, self.path)  # the first one to come wins
        except FileExistsError:
            pass
        finally:
            os.unlink(spare)
        return Ed25519PrivateKey.from_private_bytes(self.path.read_bytes())


def is_signed(data: bytes, signature: str, key: str) -> bool:
    """Are these bytes signed by this key (both in base64)."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        public = Ed25519PublicKey.from_public_bytes(base64.b64decode(key, validate=True))
        public.verify(base64.b64decode(signature, validate=True), data)
    except (InvalidSignature, ValueError):
        return False
    return True


def statement(name: str, dependency_set: str, tree: str) -> bytes:
    """What is signed."""
    return f"boxwork-image 1\n{name}\n{dependency_set}\n{tree}\n".encode()


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
