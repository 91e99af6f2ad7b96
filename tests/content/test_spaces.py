"""Private bytes: who may read them, what a stranger learns, what altering them does, and how they are forgotten."""

import contextlib
import io
import os
import stat

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boxwork.content import sealing
from boxwork.content.content import Content
from boxwork.content.sealing import SEALED, Salted, Sealed
from boxwork.content.spaces import TABLES, Spaces
from boxwork.content.subject_keys import ERASED, SubjectKey, SubjectKeys, subject_digest
from boxwork.errors import BadInput, BlobCorrupt, BlobMissing, Forbidden, FormatError, NotFound, StorageError
from boxwork.keys import ref_of
from boxwork.settings import MiB
from boxwork.testing.clock import FakeClock
from boxwork.testing.stores import content_settings

KEY = SubjectKey(bytes(range(16)), bytes(range(64)))


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def content(tmp_path, clock):
    with contextlib.closing(Content(tmp_path / "data", content_settings(), clock, durable_tables=TABLES)) as opened:
        yield opened


@pytest.fixture
def spaces(content, clock):
    return Spaces(content, content.root / "keys", clock)


@pytest.fixture
def clinic(spaces):
    clinic = spaces.create("clinic", owner="dr")
    clinic.grant("nurse", "read", by="dr")
    clinic.grant("scanner", "write", by="dr")
    return clinic


# --- sealing


def sealed(data, chunk_bytes=16, key=KEY):
    return b"".join(Sealed(key, chunk_bytes).seal([data]))


def unsealed(blob, key=KEY):
    with Sealed(key).open(io.BytesIO(blob)) as file:
        return file.read()


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=100), st.integers(1, 20))
def test_what_is_sealed_comes_back_whatever_the_chunks(data, step):
    pieces = [data[at : at + step] for at in range(0, len(data), step)]
    blob = b"".join(Sealed(KEY, 16).seal(pieces))
    assert blob == sealed(data)
    assert unsealed(blob) == data
    assert data not in blob or len(data) < 4


def test_the_sealed_form_is_the_golden_one():
    assert ref_of(sealed(b"")).hex == "e385c224964026053b2c233b4f1fd5cc2600947d3d6c3a76609a61c09774d130"
    three_chunks = sealed(b"0123456789abcdef" * 3)
    assert ref_of(three_chunks).hex == "676b559630e3e677bf865f5556ef2f69bb52ff5c653401d9ab8e4ef3d5c8ff48"


@pytest.mark.parametrize("size", [0, 1, 16, 17, 48, 50])
def test_cut_off_moved_or_repeated_chunks_are_noticed(size):
    data = bytes(range(size))
    blob = sealed(data)
    head, step = len(SEALED) + 20, 32
    chunks = [blob[at : at + step] for at in range(head, len(blob), step)]
    assert len(chunks) == max(1, -(-size // 16))
    broken = [blob[:head], blob[:-1], blob + b"x", blob + bytes(step)]
    broken += [blob[:head] + b"".join(chunks[:count]) for count in range(len(chunks))]
    if len(chunks) > 2:
        broken.append(blob[:head] + chunks[1] + chunks[0] + b"".join(chunks[2:]))
        broken.append(blob[:head] + chunks[0] + b"".join(chunks))
        broken.append(blob[:head] + chunks[0] + b"".join(chunks[2:]))
    for index in range(len(blob)):
        broken.append(blob[:index] + bytes([blob[index] ^ 1]) + blob[index + 1 :])
    for bad in broken:
        with pytest.raises(BlobCorrupt):
            unsealed(bad)


def test_chunks_of_two_blobs_cannot_be_mixed():
    one, two = sealed(b"a" * 16 + b"b" * 16 + b"c" * 16), sealed(b"A" * 16 + b"B" * 16 + b"C" * 16)
    head, step = len(SEALED) + 20, 32
    with pytest.raises(BlobCorrupt):
        unsealed(one[: head + step] + two[head + step :])


def test_another_key_does_not_open():
    for other in (SubjectKey(KEY.id, bytes(64)), SubjectKey(bytes(16), KEY.key)):
        with pytest.raises(BlobCorrupt):
            unsealed(sealed(b"secret"), other)


def test_a_sealed_file_is_seekable():
    data = bytes(range(256)) * 40
    with Sealed(KEY).open(io.BytesIO(sealed(data, 1000))) as file:
        assert file.seek(0, io.SEEK_END) == len(data)
        for at, count in ((9_990, 100), (0, 3), (999, 2), (5_000, 2_500), (len(data), 5), (20_000, 1)):
            file.seek(at)
            assert file.read(count) == data[at : at + count]
        with pytest.raises(ValueError, match="before"):
            file.seek(-1)


def test_a_salted_blob_has_another_name_in_every_space():
    one, two = (b"".join(Salted(salt).seal([b"photo"])) for salt in (bytes(32), b"\1" * 32))
    assert len({ref_of(one), ref_of(two), ref_of(b"photo")}) == 3
    with Salted(bytes(32)).open(io.BytesIO(one)) as file:
        file.seek(2)
        assert file.read() == b"oto"
    with pytest.raises(BlobCorrupt):
        Salted(bytes(32)).open(io.BytesIO(two))


# --- spaces


@pytest.mark.parametrize("encrypted", [True, False])
def test_what_is_put_is_read_back_by_who_may(spaces, content, encrypted):
    space = spaces.create("private", owner="ada", encrypted=encrypted)
    for size in (0, 1, 40_000, 2 * MiB + 5):
        data = os.urandom(size)
        ref = space.put(data, principal="ada", subject="patient 17")
        assert ref != ref_of(data)
        assert data == space.get(ref, principal="ada")
        assert size == space.size(ref, principal="ada")
        with space.open(ref, principal="ada") as file:
            file.seek(size // 2)
            assert data[size // 2 :] == file.read()
        assert ref == space.put_stream(iter([data[:100], data[100:]]), principal="ada", subject="patient 17")
        assert not spaces.is_public(ref)
    stored = content.get(space.put(b"the diagnosis" * 10, principal="ada"))
    assert (b"diagnosis" in stored) != encrypted
    assert spaces.is_public(content.put(b"holiday"))
    assert spaces.is_public(ref_of(b"nothing"))


def test_deduplication_stays_inside_the_subject(clinic, spaces):
    ref = clinic.put(b"scan", principal="dr", subject="a")
    assert ref == clinic.put(b"scan", principal="scanner", subject="a")
    assert ref != clinic.put(b"scan", principal="dr", subject="b")
    assert ref != spaces.create("other", owner="dr").put(b"scan", principal="dr", subject="a")


def test_rights_are_kept_apart(clinic, spaces):
    ref = clinic.put(b"x", principal="scanner")
    assert clinic.get(ref, principal="nurse") == b"x"
    with pytest.raises(Forbidden, match="may not write"):
        clinic.put(b"y", principal="nurse")
    with pytest.raises(Forbidden, match="may not read"):
        clinic.get(ref, principal="scanner")
    with pytest.raises(Forbidden, match="may not own"):
        clinic.grant("me", "own", by="nurse")
    assert [spaces.may(who, "clinic", "read") for who in ("dr", "nurse", "scanner", "me", "")] == [
        True,
        True,
        False,
        False,
        False,
    ]
    assert spaces.may("", "public", "read")
    assert not spaces.may("", "public", "write")
    assert clinic.grants(principal="dr") == [("dr", ("own",)), ("nurse", ("read",)), ("scanner", ("write",))]
    clinic.revoke("nurse", by="dr")
    with pytest.raises(NotFound):
        clinic.get(ref, principal="nurse")
    with pytest.raises(BadInput, match="last owner"):
        clinic.revoke("dr", "own", by="dr")
    clinic.grant("dr2", "own", by="dr")
    clinic.revoke("dr", by="dr2")
    assert not spaces.may("dr", "clinic", "read")
    for wrong in ("delete", ""):
        with pytest.raises(BadInput):
            spaces.may("dr", "clinic", wrong)


def test_nothing_tells_a_stranger_whether_a_blob_or_a_space_exists(clinic, spaces):
    there, absent = clinic.put(b"x", principal="dr"), ref_of(b"absent")
    answers = set()
    for ref in (there, absent):
        for ask in (clinic.get, clinic.open, clinic.size):
            with pytest.raises(NotFound) as caught:
                ask(ref, principal="stranger")
            answers.add((type(caught.value), caught.value.message, str(caught.value.details)))
        assert not clinic.has(ref, principal="stranger")
    with pytest.raises(NotFound) as caught:
        clinic.put(b"x", principal="stranger")
    answers.add((type(caught.value), caught.value.message, str(caught.value.details)))
    assert len(answers) == 1
    with pytest.raises(NotFound) as caught:
        spaces.space("nowhere")
    assert caught.value.message.replace("nowhere", "clinic") in {message for _, message, _ in answers}


def test_a_blob_of_one_space_is_not_read_through_another(clinic, spaces, content):
    other = spaces.create("other", owner="dr")
    ref = clinic.put(b"x", principal="dr")
    public = content.put(b"public")
    for wrong in (ref, public):
        with pytest.raises(NotFound, match="there is no"):
            other.get(wrong, principal="dr")
    assert not other.delete(ref, principal="dr")
    assert list(other.refs(principal="dr")) == []


def test_an_altered_blob_is_corrupt_and_never_served(clinic, content):
    ref = clinic.put(b"secret" * 10, principal="dr")
    raw = bytearray(content.get(ref))
    raw[-1] ^= 1
    content.durable_db.update(lambda edit: edit.put("bytes", ref.digest, bytes(raw)))
    with pytest.raises(BlobCorrupt):
        clinic.get(ref, principal="dr")


def test_keys_lie_in_files_that_nobody_else_may_read(clinic, content):
    clinic.put(b"x", principal="dr", subject="patient 17")
    keys = content.root / "keys"
    assert stat.S_IMODE(keys.stat().st_mode) == 0o700
    assert os.listdir(keys) == [subject_digest("clinic", "patient 17").hex()]
    for path in keys.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert b"patient" not in b"".join(path.read_bytes() for path in keys.iterdir())
    assert "key=" not in repr(KEY)


def test_a_key_that_is_away_or_damaged_is_told_as_such(clinic, content):
    ref = clinic.put(b"x", principal="dr", subject="s")
    path = next((content.root / "keys").iterdir())
    good = path.read_bytes()
    path.unlink()
    with pytest.raises(StorageError, match="restore the keys"):
        clinic.get(ref, principal="dr")
    path.write_bytes(good[:50])
    with pytest.raises(FormatError, match="damaged"):
        clinic.get(ref, principal="dr")
    path.write_bytes(good[:-10] + b"0" * 9 + b"\n")
    with pytest.raises(BlobCorrupt):
        clinic.get(ref, principal="dr")
    path.write_bytes(good)
    assert clinic.get(ref, principal="dr") == b"x"


def test_erasing_a_subject_is_forgetting_its_key(clinic, spaces, content, monkeypatch):
    gone = clinic.put(b"a", principal="dr", subject="a")
    kept = clinic.put(b"b", principal="dr", subject="b")
    path = content.root / "keys" / subject_digest("clinic", "a").hex()
    inode = os.open(path, os.O_RDONLY)
    with pytest.raises(Forbidden):
        clinic.erase("a", by="nurse", reason="no")
    assert clinic.erase("a", by="dr", reason="asked to be forgotten")
    assert not clinic.erase("a", by="dr", reason="again")
    assert set(os.read(inode, 1000)) == {0}  # the bytes were overwritten before the name went
    os.close(inode)
    assert not path.exists()
    with pytest.raises(NotFound, match="asked to be forgotten") as caught:
        clinic.get(gone, principal="dr")
    assert not isinstance(caught.value, BlobMissing)
    assert not clinic.has(gone, principal="dr")
    with pytest.raises(NotFound) as caught:
        clinic.get(gone, principal="stranger")
    assert "forgotten" not in caught.value.message
    assert clinic.get(kept, principal="dr") == b"b"
    assert [ref for _, ref in spaces.roots()] == [kept] == list(clinic.refs(principal="dr"))


def test_an_erased_subject_may_come_back_with_a_new_key(clinic):
    old = clinic.put(b"a", principal="dr", subject="a")
    clinic.erase("a", by="dr", reason="r")
    new = clinic.put(b"a", principal="dr", subject="a")
    assert new != old
    assert clinic.get(new, principal="dr") == b"a"
    with pytest.raises(NotFound, match="erased"):
        clinic.get(old, principal="dr")


def test_a_put_that_runs_into_an_erasure_keeps_nothing(clinic, content):
    def chunks():
        yield b"half"
        clinic.erase("a", by="dr", reason="meanwhile")
        yield b"other half"

    clinic.put(b"first", principal="dr", subject="a")
    before = set(content.refs())
    with pytest.raises(NotFound, match="meanwhile"):
        clinic.put_stream(chunks(), principal="dr", subject="a")
    assert before == set(content.refs())


def test_an_erasure_that_was_cut_short_is_finished_at_the_next_start(clinic, spaces, content, clock, monkeypatch):
    ref = clinic.put(b"a", principal="dr", subject="a")
    monkeypatch.setattr(SubjectKeys, "note_erasure", lambda self, erasure: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        clinic.erase("a", by="dr", reason="cut short")
    monkeypatch.undo()
    again = Spaces(content, content.root / "keys", clock)
    assert os.listdir(content.root / "keys") == [ERASED]
    with pytest.raises(NotFound, match="cut short"):
        again.space("clinic").get(ref, principal="dr")


def test_an_erased_key_that_is_put_back_is_destroyed_at_the_next_start(clinic, content, clock):
    ref = clinic.put(b"a", principal="dr", subject="a")
    path = content.root / "keys" / subject_digest("clinic", "a").hex()
    copy = path.read_bytes()
    clinic.erase("a", by="dr", reason="r")
    path.write_bytes(copy)
    with pytest.raises(NotFound, match="erased"):
        clinic.get(ref, principal="dr")
    Spaces(content, content.root / "keys", clock)
    assert not path.exists()


def test_a_space_without_encryption_cannot_erase_but_delete(spaces, content):
    space = spaces.create("plain", owner="ada", encrypted=False)
    ref = space.put(b"x", principal="ada")
    with pytest.raises(BadInput, match="not encrypted"):
        space.erase("", by="ada", reason="r")
    assert space.delete(ref, principal="ada")
    assert not content.has(ref)
    assert not space.delete(ref, principal="ada")


def test_a_space_is_made_once_and_found_again(spaces):
    made = spaces.create("clinic", owner="dr")
    assert spaces.space("clinic").name == made.name
    assert list(spaces.names()) == ["clinic"]
    for name in ("clinic", "public", "", "n" * 300):
        with pytest.raises(BadInput):
            spaces.create(name, owner="dr")
    with pytest.raises(BadInput):
        made.grant("", "read", by="dr")


def test_without_the_library_the_advice_is_to_install_it(spaces, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "cryptography.hazmat.primitives.ciphers.aead", None)
    with pytest.raises(BadInput, match=r"boxwork\[spaces\]"):
        spaces.create("clinic", owner="dr")
    assert list(spaces.names()) == []
    spaces.create("plain", owner="dr", encrypted=False)


def test_a_stream_is_sealed_in_bounded_memory(spaces):
    space = spaces.create("big", owner="ada")
    seen = []

    def chunks():
        for _ in range(5):
            seen.append(1)
            yield b"x" * sealing.CHUNK_BYTES

    ref = space.put_stream(chunks(), principal="ada")
    assert space.size(ref, principal="ada") == 5 * sealing.CHUNK_BYTES
    with space.open(ref, principal="ada") as file:
        file.seek(4 * sealing.CHUNK_BYTES + 10)
        assert file.read(3) == b"xxx"
