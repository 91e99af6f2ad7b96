from __future__ import annotations

import pytest

from boxwork.serve.sniff import HEAD_BYTES, OCTETS, TEXT, content_type


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"\xff\xd8\xff\xe0....JFIF", "image/jpeg"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "image/webp"),
        (b"RIFF\0\0\0\0WAVEfmt ", "audio/wav"),
        (b"\0\0\0\x1cftypavif", "image/avif"),
        (b"\0\0\0\x1cftypisom", "video/mp4"),
        (b"%PDF-1.7", "application/pdf"),
        (b"plain words", TEXT),
        ("größer".encode(), TEXT),
        (b"", OCTETS),
        (b"\0\1\2", OCTETS),
        (b"caf\xe9", OCTETS),
        (("a" * 511 + "é").encode()[:HEAD_BYTES], TEXT),
    ],
)
def test_kinds_are_told_by_their_first_bytes(head: bytes, expected: str) -> None:
    assert expected == content_type(head)


@pytest.mark.parametrize(
    "head", [b"<!doctype html><script>", b"<svg xmlns=", b"<?xml version=", b"#!/bin/sh\n", b"\xef\xbb\xbf<html>"]
)
def test_nothing_that_runs_keeps_its_kind(head: bytes) -> None:
    assert content_type(head) == TEXT
