from __future__ import annotations

import pytest

import boxwork
from boxwork import errors
from boxwork.serve.wire.oci_uploads import Uploads
from boxwork.testing.clock import FakeClock


def test_an_abandoned_upload_is_dropped_with_its_bytes(tmp_path: object) -> None:
    clock = FakeClock()
    with boxwork.open(f"{tmp_path}/data", clock=clock) as work:
        uploads = Uploads(work.content, clock, work.settings)
        left, kept = uploads.begin("demo"), uploads.begin("demo")
        left.writer.write(bytes(100_000))
        assert list((work.node.root / "tmp").iterdir())
        clock.advance(800 * 10**9)
        uploads.take(kept)
        uploads.leave(kept)
        clock.advance(200 * 10**9)
        assert uploads.expire() == 1
        assert not list((work.node.root / "tmp").iterdir())
        with pytest.raises(errors.NotFound, match="begin again"):
            uploads.find("demo", left.id)
        assert uploads.find("demo", kept.id) is kept


def test_an_upload_that_is_being_written_to_is_never_dropped(tmp_path: object) -> None:
    clock = FakeClock()
    with boxwork.open(f"{tmp_path}/data", clock=clock) as work:
        uploads = Uploads(work.content, clock, work.settings)
        upload = uploads.begin("demo")
        uploads.take(upload)
        clock.advance(10**13)
        assert uploads.expire() == 0
        with pytest.raises(errors.Busy, match="another request"):
            uploads.take(upload)
