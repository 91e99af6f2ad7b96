"""Layers of an image: what a step changed, what it took away, the same bytes every time."""

from __future__ import annotations

import io
import json
import tarfile
import zlib
from typing import Any

from boxwork import ref_of
from boxwork.packs.images import oci
from tests.packs.images.test_overlay import tree_of


def names(data: bytes) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return archive.getnames()


def test_a_layer_holds_what_changed_and_a_whiteout_for_what_is_gone(work: Any) -> None:
    before = tree_of(work, {"a": "1", "gone/x": "1", "gone/y": "1", "kept/z": "1", "kept/w": "1"})
    after = tree_of(work, {"a": "2", "kept/z": "1", "new/deep": "1"})
    layer = work.get(work.derive(oci.layer, before=before, after=after))
    assert [".wh.gone", "kept/.wh.w", "a", "new", "new/deep"] == names(layer)


def test_images_that_begin_alike_share_layers_and_the_digests_are_true(work: Any) -> None:
    base, one, two = (tree_of(work, {"a": "1", **more}) for more in ({}, {"b": "1"}, {"b": "2"}))
    first = oci.image(work, [("base", base), ("one", one)], name="one", architecture="amd64", epoch_s=0)
    second = oci.image(work, [("base", base), ("two", two)], name="two", architecture="amd64", epoch_s=0)
    assert first["layers"][0] == second["layers"][0]
    assert first["layers"][1] != second["layers"][1]
    manifest, config = json.loads(first["manifest"]), json.loads(work.get(first["config"]))
    for described, plain in zip(manifest["layers"], config["rootfs"]["diff_ids"], strict=True):
        data = work.get(described["digest"])
        assert (described["size"], plain) == (len(data), str(ref_of(zlib.decompress(data, 31))))
    again = oci.image(work, [("base", base), ("one", one)], name="one", architecture="amd64", epoch_s=0)
    assert first == again
