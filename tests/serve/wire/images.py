"""Small images for the registry's tests: made here, so that nothing has to be fetched."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from boxwork.content.repositories import OCI_MANIFEST
from boxwork.keys import Ref, ref_of

CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


def descriptor(kind: str, data: bytes) -> dict[str, Any]:
    return {"mediaType": kind, "digest": str(ref_of(data)), "size": len(data)}


def layer_of(files: dict[str, bytes]) -> tuple[bytes, Ref]:
    """(gzipped tar, digest of the plain tar)."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), 0o755
            archive.addfile(entry, io.BytesIO(data))
    return gzip.compress(plain.getvalue(), mtime=0), ref_of(plain.getvalue())


@dataclass
class Image:
    """An image of one layer: its blobs and its manifest."""

    files: dict[str, bytes]
    extra: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.layer, plain = layer_of(self.files)
        config = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [plain]}}
        self.config = json.dumps({**config, "config": {"Cmd": ["/hello"]}}).encode()
        self.manifest = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": OCI_MANIFEST,
                "config": descriptor(CONFIG, self.config),
                "layers": [descriptor(LAYER, self.layer)],
                **self.extra,
            }
        ).encode()
        self.ref = ref_of(self.manifest)

    def write_layout(self, folder: Path) -> Path:
        """As an OCI image layout, which skopeo and others read."""
        blobs = folder / "blobs" / "sha256"
        blobs.mkdir(parents=True)
        for data in (self.layer, self.config, self.manifest):
            (blobs / ref_of(data).hex).write_bytes(data)
        (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
        (folder / "index.json").write_text(
            json.dumps({"schemaVersion": 2, "manifests": [descriptor(OCI_MANIFEST, self.manifest)]})
        )
        return folder


def push_blob(client: httpx.Client, repository: str, data: bytes) -> httpx.Response:
    begun = client.post(f"/v2/{repository}/blobs/uploads/")
    assert begun.status_code == 202
    return client.put(begun.headers["location"], params={"digest": ref_of(data)}, content=data)


def push_manifest(
    client: httpx.Client, repository: str, reference: str, data: bytes, kind: str = OCI_MANIFEST
) -> httpx.Response:
    return client.put(f"/v2/{repository}/manifests/{reference}", content=data, headers={"content-type": kind})


def push(client: httpx.Client, repository: str, tag: str, image: Image) -> None:
    for data in (image.layer, image.config):
        assert push_blob(client, repository, data).status_code == 201
    assert push_manifest(client, repository, tag, image.manifest).status_code == 201
