"""The pack's part of a node: builds in the background, the schedule of checks, and publishing to the registry."""

from __future__ import annotations

import json
import logging
import threading
from pathlib import Path
from typing import Any

from boxwork import errors, ref_of
from boxwork.packs.images import oci
from boxwork.packs.images.builder import Builder
from boxwork.packs.images.exports import oci_image
from boxwork.packs.images.sbom import bill
from boxwork.packs.images.signing import Signer

log = logging.getLogger("boxwork.images")

SBOM_TYPE = "application/vnd.cyclonedx+json"
SIGNATURE_TYPE = "application/vnd.boxwork.image.signature.v1+json"
EMPTY = b"{}"  # what OCI has in place of a config
EMPTY_TYPE = "application/vnd.oci.empty.v1+json"


class Workshop:
    """One for each node.  `close` ends the schedule; a build that runs is waited for by the node's pool."""

    def __init__(self, work: Any) -> None:
        self.work = getattr(work, "blocking", work)
        self.builder = Builder(self.work)
        self.catalog = self.builder.catalog
        self.signer: Signer = self.builder.signer
        self.builds_max = self.work.settings.integer("images.builds_max")
        self._slots = threading.BoundedSemaphore(self.builds_max)
        self._closing = threading.Event()
        self._schedule: threading.Thread | None = None

    def start_schedule(self) -> None:
        """Look for changed dependencies every `images.check_s`, if that is set."""
        seconds = self.work.settings.number("images.check_s")
        if seconds > 0 and self._schedule is None:
            self._schedule = threading.Thread(
                target=self._check_often, args=(seconds,), name="boxwork-images", daemon=True
            )
            self._schedule.start()

    def _check_often(self, seconds: float) -> None:
        while not self._closing.wait(seconds):
            try:
                for name, found in self.builder.check(who="schedule"):
                    if isinstance(found, errors.BoxworkError):
                        log.warning("%s could not be built: %s", name, found.message)
                    elif found.new:
                        log.info("%s has a new version %d", name, found.number)
            except errors.BoxworkError as fault:
                log.warning("looking for changed dependencies failed: %s", fault.message)

    def start(self, name: str, *, who: str = "", reason: str = "", fresh: bool = False) -> str:
        """Build in the background; the answer is the id of the build.  Raises `Busy` when too many run."""
        if not self._slots.acquire(blocking=False):
            raise errors.Busy(f"{self.builds_max} builds run (setting images.builds_max); try again")
        begun = threading.Event()
        told: dict[str, Any] = {}

        def run() -> None:
            def on_start(id: str) -> None:
                told["id"] = id
                begun.set()

            try:
                age = 0.0 if fresh else None
                self.builder.build_named(name, who=who, reason=reason, age_s_max=age, on_start=on_start)
            except Exception as fault:
                told["fault"] = fault
                log.warning("the build of %s failed: %s", name, fault)
            finally:
                self._slots.release()
                begun.set()

        threading.Thread(target=run, name=f"boxwork-image-{name[:20]}", daemon=True).start()
        begun.wait()  # a build says its id before it does anything that takes long
        if "id" not in told:
            raise told.get("fault") or errors.Busy(f"the build of {name} did not begin")
        return str(told["id"])

    def publish(self, name: str, number: int = 0, tag: str = "") -> dict[str, Any]:
        """Give a version to the registry of this node as NAME:NUMBER and NAME:`tag`, with its bill and signature."""
        repositories = getattr(self.work, "repositories", None)
        if repositories is None:
            raise errors.BadInput("this node has no registry: its version of Boxwork has no `work.repositories`")
        version = self.catalog.version(name, number)
        self.signer.verify(version)
        made = oci_image(self.work, version)
        manifest: bytes = made["manifest"]
        for reference in (str(version["number"]), tag or "latest"):
            repositories.publish(name, reference, manifest, oci.MANIFEST)
        about = {"mediaType": oci.MANIFEST, "digest": str(ref_of(manifest)), "size": len(manifest)}
        sbom = bill(name, version, self.work.get(version["set"]))
        signature = json.dumps(
            {field: version[field] for field in ("name", "set", "tree", "signature", "key")}, sort_keys=True
        ).encode()
        for kind, data in ((SBOM_TYPE, sbom), (SIGNATURE_TYPE, signature)):
            referrer = self._referrer(kind, data, about)
            repositories.publish(name, str(ref_of(referrer)), referrer, oci.MANIFEST)
        return {
            "name": name,
            "number": version["number"],
            "manifest": str(ref_of(manifest)),
            "layers": len(made["layers"]),
            "bytes": made["bytes"],
        }

    def _referrer(self, kind: str, data: bytes, subject: dict[str, Any]) -> bytes:
        """A manifest that hangs one blob on another manifest, as OCI 1.1 has it."""
        blobs = {
            "config": {"mediaType": EMPTY_TYPE, "digest": str(self.work.put(EMPTY, durable=False)), "size": len(EMPTY)},
            "layers": [{"mediaType": kind, "digest": str(self.work.put(data, durable=False)), "size": len(data)}],
        }
        manifest = {"schemaVersion": 2, "mediaType": oci.MANIFEST, "artifactType": kind, **blobs, "subject": subject}
        return json.dumps(manifest, sort_keys=True, separators=(",", ":")).encode()

    def bill(self, name: str, number: int = 0) -> bytes:
        """The bill of materials of a version."""
        version = self.catalog.version(name, number)
        return bill(name, version, self.work.get(version["set"]))

    def place(self) -> Path:
        return Path(self.work.content.root)

    def close(self) -> None:
        self._closing.set()
        if self._schedule is not None:
            self._schedule.join(5)
