from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from boxwork.packs.scans.package import checked_entries, kind_of, opened
from tests.packs.scans.stages import picture, square, stage, text, zipped

LAYER = b"#usda 1.0\n"


def test_what_a_file_is_stands_in_its_first_bytes(flat: bytes) -> None:
    assert ["usdz", "usdc", "usda"] == [kind_of(one) for one in (flat, b"PXR-USDC....", LAYER)]
    with pytest.raises(ValueError, match=r"not a USD scan .* begins with b'solid x' \(7 bytes\)"):
        kind_of(b"solid x")
    with pytest.raises(ValueError, match="it has no bytes"):
        kind_of(b"")


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"a.usda": LAYER, "../../etc/passwd": b"x"}, "'../../etc/passwd' of the USDZ leads out of the package"),
        ({"a.usda": LAYER, "/etc/passwd": b"x"}, "leads out of the package"),
        ({"a.usda": LAYER, "C:\\x": b"x"}, "leads out of the package"),
        ({"readme.txt": b"x", "a.usda": LAYER}, "first file of a USDZ is its scene .* here it is 'readme.txt'"),
        ({"a.usda": LAYER, "x" * 600: b"x"}, "has a name of 600 characters"),
        ({}, "empty package"),
    ],
)
def test_a_package_that_is_not_in_order_is_refused_with_the_entry_that_is_not(
    files: dict[str, bytes], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        checked_entries(zipped(files))


def test_nothing_in_a_package_unpacks_to_more_than_it_weighs() -> None:
    bomb = zipped({"a.usda": LAYER + b" " * 50_000_000}, zipfile.ZIP_DEFLATED)
    assert len(bomb) < 100_000
    with pytest.raises(ValueError, match="'a.usda' of the USDZ is compressed, .* pack it again"):
        checked_entries(bomb)


def test_entries_that_share_their_bytes_are_refused() -> None:
    """The other zip bomb: many names for the same bytes."""
    whole = bytearray(zipped({"a.usda": LAYER * 50, "b.usda": LAYER * 50}))
    second = whole.rindex(b"PK\x01\x02")
    whole[second + 42 : second + 46] = (0).to_bytes(4, "little")  # its header is where the first one's is
    with pytest.raises(ValueError, match="lie over one another|no readable ZIP"):
        checked_entries(bytes(whole))


def test_a_package_that_ends_in_the_middle_is_refused(flat: bytes) -> None:
    for share in (0.1, 0.5, 0.99):
        with pytest.raises(ValueError, match="no readable ZIP package|cut off"):
            checked_entries(flat[: int(len(flat) * share)])


def test_a_scan_that_reaches_for_a_file_of_this_machine_is_not_read(tmp_path: Path) -> None:
    secret = tmp_path / "secret.usda"
    secret.write_bytes(text_of_square())
    reaching = LAYER + f'def "A" (references = @{secret}@</Square>) {{}}\n'.encode()
    for scan in (reaching, zipped({"a.usda": reaching})):
        with pytest.raises(ValueError, match="takes in a file from outside of itself"), opened(scan):
            pass


def test_a_picture_of_this_machine_is_not_carried_over(tmp_path: Path) -> None:
    from boxwork.packs.scans.converting import report_of, scan_to_glb
    from tests.packs.scans.stages import textured

    (tmp_path / "secret.png").write_bytes(picture())
    made = stage()
    textured(made, square(made), {"diffuseColor": (str(tmp_path / "secret.png"), "rgb")})
    report = report_of(scan_to_glb(text(made)))
    assert report["holds"]["pictures"] == 0
    assert [(one["what"], one["why"]) for one in report["lost"]] == [
        ("texture", "the picture 'secret.png' is not in the file")
    ]


@pytest.mark.parametrize("scan", [LAYER + b'def "A" {', b"PXR-USDC" + b"\0" * 200, zipped({"a.usdc": b"PXR-USDC\0"})])
def test_a_broken_layer_is_told_without_the_path_of_the_temporary_file(scan: bytes) -> None:
    with pytest.raises(ValueError, match="cannot be read: .+") as caught, opened(scan):
        pass
    assert "/tmp" not in str(caught.value)
    assert "boxwork-scan-" not in str(caught.value)


def text_of_square() -> bytes:
    made = stage()
    square(made)
    return text(made)
