"""The bill of materials of a version, as CycloneDX 1.6 in JSON: what is in the image, by name, version and hash.

Made from the dependency set alone, so equal sets have equal bills; it is derived by cyclonedx-python-lib, the
reference implementation of the format (extra `images`).
"""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime
from typing import Any

# The namespace of serial numbers made from dependency sets; any fixed one does.
NAMESPACE = uuid.UUID("9d2f1d9c-4b54-5f5e-9a2b-2f6d0c5c8f11")


def bill(name: str, version: dict[str, Any], dependency_set: bytes) -> bytes:
    """The bill of materials of a version."""
    from cyclonedx.model import HashAlgorithm, HashType, Property
    from cyclonedx.model.bom import Bom
    from cyclonedx.model.component import Component, ComponentType
    from cyclonedx.output.json import JsonV1Dot6
    from packageurl import PackageURL

    said = json.loads(dependency_set)
    base = said["steps"][0]
    bom = Bom(serial_number=uuid.uuid5(NAMESPACE, version["set"]))
    bom.metadata.timestamp = datetime.fromtimestamp(int(base["epoch_s"]), UTC)
    bom.metadata.component = root = Component(
        name=name, version=str(version["number"]), type=ComponentType.OPERATING_SYSTEM, bom_ref=f"image:{name}",
        properties=[Property(name=f"boxwork:{part}", value=version[part]) for part in ("set", "tree")],
    )  # fmt: skip
    found: list[Any] = []
    for step in said["steps"]:
        for package, number, architecture, ref in step.get("packages", ()):
            url = PackageURL("deb", "debian", package, number, {"arch": architecture, "distro": base["suite"]})
            found.append(
                Component(
                    name=package,
                    version=number,
                    type=ComponentType.LIBRARY,
                    purl=url,
                    bom_ref=url.to_string(),
                    hashes=[HashType(alg=HashAlgorithm.SHA_256, content=ref.removeprefix("sha256:"))],
                )
            )
        for path, ref in step.get("files", {}).items():
            hashes = [HashType(alg=HashAlgorithm.SHA_256, content=ref[7:])] if ref.startswith("sha256:") else []
            found.append(
                Component(
                    name=f"/{path}",
                    type=ComponentType.FILE,
                    bom_ref=f"file:/{path}:{step['tree'][7:19]}",
                    hashes=hashes,
                )
            )
    for component in found:
        bom.components.add(component)
    bom.register_dependency(root, found)
    text = JsonV1Dot6(bom).output_as_string(indent=1)
    return json.dumps(json.loads(text), sort_keys=True, indent=1).encode()
