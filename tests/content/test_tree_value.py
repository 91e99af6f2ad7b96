"""A tree has one spelling, and a reader takes no other."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boxwork.content.places.memory import MemoryPlace
from boxwork.content.tree import Tree, TreeEntry, decode, diff, encode, follower, held_in, references
from boxwork.content.tree_value import DEPTH_MAX, HEADER
from boxwork.errors import BadInput, BlobCorrupt, BlobMissing, NotFound, TooLarge
from boxwork.keys import canonical, ref_of

GOLDEN = Path(__file__).parent / "golden"
A, B = ref_of(b"a"), ref_of(b"b")
ANY = ref_of(b"any")


def file(name, ref=A, mode=0o644, size=1, **owner):
    return TreeEntry(name, "file", mode, size, ref, **owner)


def link(name, target, **owner):
    return TreeEntry(name, "symlink", target=target, **owner)


def folder(name, ref, mode=0o755, **owner):
    return TreeEntry(name, "directory", mode, 0, ref, **owner)


def put_tree(store, *entries):
    return Tree(store.put(encode(entries)), store)


SAMPLE = (
    file("b.txt", B, 0o755, 12),
    file("a file with spaces", A, 0o600, 0),
    file("line\nfeed", A),
    file("not-utf8-\udcff", A),
    folder("dir", ref_of(HEADER), 0o1777, uid=0, gid=0),
    link("link", "../somewhere else\n"),
    file("ümläut", B, 0o4755, 1 << 40, uid=1000, gid=1000),
)


def test_the_spelling_is_the_golden_one():
    golden = (GOLDEN / "tree-1").read_bytes()
    assert golden == encode(SAMPLE)
    assert (GOLDEN / "tree-1.ref").read_text().strip() == ref_of(golden)
    assert sorted(SAMPLE, key=lambda entry: entry.name.encode("utf-8", "surrogateescape")) == decode(golden, ANY)


SYSTEM = (
    TreeEntry("null", "character", 0o666, uid=0, gid=0, device=(1, 3)),
    TreeEntry("disk", "block", 0o660, uid=0, gid=6, device=(259, 70_000)),
    TreeEntry("pipe", "pipe", 0o600),
    file("ping", B, 0o755, 4, uid=0, gid=0, attributes=(("security.capability", b"\x01\0\xff"), ("user.x", b""))),
    file("perl", A, 0o755, 4, group="usr/bin/perl"),
    folder("kept", ref_of(HEADER), attributes=(("user.y", b"1"),)),
    link("x link", "x 00 target that looks like an attribute"),
)


def test_what_a_system_needs_is_spelled_in_version_2_as_the_golden_one():
    golden = (GOLDEN / "tree-2").read_bytes()
    assert golden == encode(SYSTEM)
    assert (GOLDEN / "tree-2.ref").read_text().strip() == ref_of(golden)
    assert sorted(SYSTEM, key=lambda entry: entry.name) == decode(golden, ANY)
    assert {A, B, ref_of(HEADER)} == set(references(golden, ANY))


H2, F = b"boxwork-tree 2\n", b"f 0644 - 1 " + b"a" * 64 + b" n\0"


@pytest.mark.parametrize(
    "data",
    [
        H2,  # nothing needs version 2
        H2 + F,
        HEADER + F + b"x 00 a\0",  # version 1 has no attributes
        HEADER + b"c 0600 - 1:3 n\0",
        H2 + b"x 00 a\0" + F,  # behind nothing
        H2 + F + b"x 0 a\0",  # half a byte
        H2 + F + b"x 0G a\0",
        H2 + F + b"x 00 b\0x 00 a\0",  # out of order
        H2 + F + b"x 00 a\0x 00 a\0",
        H2 + F + b"h p\0x 00 a\0",  # attributes come first
        H2 + F + b"h p\0h q\0",
        H2 + F + b"h \0",
        H2 + b"p 0600 - n\0h p\0",  # only files share
        H2 + b"c 0600 - 01:3 n\0",
        H2 + b"c 0600 - 4294967296:3 n\0",
        H2 + b"c 0600 - 1 n\0",
        H2 + F + b"x 00 a",
    ],
)
def test_no_other_spelling_of_version_2_is_read(data):
    with pytest.raises(BlobCorrupt):
        decode(data, ANY)


def test_what_no_system_has_is_not_spelled():
    for entry in (
        TreeEntry("n", "character", 0o600),
        TreeEntry("n", "block", 0o600, device=(-1, 0)),
        link("n", "t", group="p"),
        file("n", attributes=(("b", b""), ("a", b""))),
        file("n", attributes=(("", b""),)),
        file("n", attributes=(("a", bytes(65_537)),)),
    ):
        with pytest.raises(BadInput):
            encode([entry])


def test_the_empty_directory_is_the_header_alone():
    assert encode([]) == b"boxwork-tree 1\n"
    assert decode(encode([]), ANY) == []


NAMES = (
    st.binary(min_size=1, max_size=20)
    .filter(lambda raw: b"/" not in raw and b"\0" not in raw and raw not in (b".", b".."))
    .map(lambda raw: raw.decode("utf-8", "surrogateescape"))
)
OWNERS = st.one_of(st.just({}), st.fixed_dictionaries({"uid": st.integers(0, 9), "gid": st.integers(0, 2**32 - 2)}))
ENTRIES = st.lists(
    st.one_of(
        st.builds(
            lambda n, m, s, o: file(n, A, m, s, **o), NAMES, st.integers(0, 0o7777), st.integers(0, 1 << 44), OWNERS
        ),
        st.builds(lambda n, o: folder(n, B, **o), NAMES, OWNERS),
        st.builds(lambda n, t, o: link(n, t, **o), NAMES, NAMES, OWNERS),
    ),
    max_size=8,
    unique_by=lambda entry: entry.name,
)


@settings(max_examples=60, deadline=None)
@given(ENTRIES)
def test_what_is_encoded_is_decoded_and_order_does_not_matter(entries):
    data = encode(entries)
    assert data == encode(reversed(entries)) == encode(decode(data, ANY))
    assert {entry.name: entry for entry in entries} == {entry.name: entry for entry in decode(data, ANY)}


HEX = A.hex.encode()


@pytest.mark.parametrize(
    "body",
    [
        b"f 0644 - 1 %b ..\0" % HEX,
        b"f 0644 - 1 %b .\0" % HEX,
        b"f 0644 - 1 %b \0" % HEX,
        b"f 0644 - 1 %b ../etc/passwd\0" % HEX,
        b"f 0644 - 1 %b /etc/passwd\0" % HEX,
        b"d 0755 - %b a/b\0" % HEX,
        b"l - ..\0target\0",
        b"l - name\0\0",
        b"l - name\0",
        b"f 0644 - 1 %b %b\0" % (HEX, b"n" * 256),
        b"f 0644 - 1 %b b\0f 0644 - 1 %b a\0" % (HEX, HEX),
        b"f 0644 - 1 %b a\0f 0644 - 1 %b a\0" % (HEX, HEX),
        b"f 644 - 1 %b a\0" % HEX,
        b"f 0999 - 1 %b a\0" % HEX,
        b"f 0644 - 01 %b a\0" % HEX,
        b"f 0644 - -1 %b a\0" % HEX,
        b"f 0644 - 99999999999999 %b a\0" % HEX,
        b"f 0644 - 1 %b a\0" % HEX.upper(),
        b"f 0644 - 1 %b a\0" % HEX[:-1],
        b"f 0644 00:0 1 %b a\0" % HEX,
        b"f 0644 4294967295:0 1 %b a\0" % HEX,
        b"f 0644 0 1 %b a\0" % HEX,
        b"c 0644 - 1 %b a\0" % HEX,
        b"f 0644 - 1 %b a" % HEX,
        b"\0",
        b"junk",
    ],
)
def test_every_other_spelling_is_refused(body):
    with pytest.raises(BlobCorrupt) as caught:
        decode(HEADER + body, ANY)
    assert ANY in caught.value.message


def test_another_header_is_no_tree():
    with pytest.raises(BlobCorrupt, match="is not a tree"):
        decode(b"boxwork-tree 2\n", ANY)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/", "nul\0", "n" * 256])
def test_a_name_that_is_none_cannot_be_encoded(name):
    with pytest.raises(BadInput):
        encode([file(name)])


def test_a_name_stands_once_and_a_link_has_a_target():
    with pytest.raises(BadInput, match="twice"):
        encode([file("a"), folder("a", B)])
    for target in ("", "nul\0", "t" * 5000):
        with pytest.raises(BadInput):
            encode([link("a", target)])


def test_subtrees_load_when_they_are_asked_for():
    store = MemoryPlace()
    inner = put_tree(store, file("leaf", store.put(b"leaf"), size=4))
    missing = ref_of(b"a tree that is not here")
    tree = put_tree(store, folder("inner", inner.ref), folder("lost", missing))
    assert tree.find("inner/leaf").size == 4
    assert tree.read("inner/leaf") == b"leaf"
    with pytest.raises(BlobMissing):
        list(tree.walk())
    for path in ("inner/none", "inner/leaf/x", "none", "", "inner/", "/inner", "../inner", "inner/../inner"):
        with pytest.raises(NotFound):
            tree.find(path)
    with pytest.raises(BadInput):
        tree.read("inner")


def test_walk_tells_directories_before_what_they_hold():
    store = MemoryPlace()
    inner = put_tree(store, file("z"), link("a", "z"))
    tree = put_tree(store, folder("m", inner.ref), file("b"))
    assert [path for path, _ in tree.walk()] == ["b", "m", "m/a", "m/z"]


def test_a_tree_that_nests_without_end_is_refused():
    store = MemoryPlace()
    tree = put_tree(store, file("leaf"))
    for _ in range(DEPTH_MAX + 2):
        tree = put_tree(store, folder("d", tree.ref))
    with pytest.raises(TooLarge):
        list(tree.walk())


def test_diff_tells_what_was_added_removed_and_changed_and_skips_equal_subtrees():
    store = MemoryPlace()
    same = ref_of(b"equal on both sides, so it is never loaded")
    before = put_tree(
        store,
        folder("same", same),
        file("gone"),
        file("mode", mode=0o644),
        file("kind"),
        folder("dir", put_tree(store, file("x"), file("y")).ref),
    )
    after = put_tree(
        store,
        folder("same", same),
        file("new"),
        file("mode", mode=0o755),
        link("kind", "mode"),
        folder("dir", put_tree(store, file("x", B), file("y")).ref, 0o700),
    )
    assert [(change.path, change.kind) for change in diff(before, after)] == [
        ("dir", "changed"),
        ("dir/x", "changed"),
        ("gone", "removed"),
        ("kind", "changed"),
        ("mode", "changed"),
        ("new", "added"),
    ]
    assert list(diff(after, after)) == []
    empty = put_tree(store)
    inner = put_tree(store, folder("d", put_tree(store, file("f")).ref))
    assert [(c.path, c.kind) for c in diff(empty, inner)] == [("d", "added"), ("d/f", "added")]
    assert [(c.path, c.kind) for c in diff(inner, empty)] == [("d", "removed"), ("d/f", "removed")]


def test_equal_trees_are_equal_values_and_keys():
    store = MemoryPlace()
    one, two = put_tree(store, file("a")), put_tree(store, file("a"))
    other = put_tree(store, file("b"))
    assert one == two
    assert len({one, two, other}) == 2
    assert canonical(one) == canonical(two) != canonical(other)
    assert canonical(one) != canonical(one.ref)


def test_the_follower_tells_what_a_tree_holds_and_nothing_of_other_blobs():
    store = MemoryPlace()
    follow = follower(store)
    tree = put_tree(store, file("a", A), folder("d", B), link("l", "a"))
    assert list(follow(tree.ref)) == [A, B] == list(references(store.get(tree.ref), tree.ref)) == list(tree.follow())
    assert list(follow(store.put(b"just bytes"))) == []
    assert list(follow(store.put(HEADER + b"a stranger's bytes that begin like a tree"))) == []
    with pytest.raises(BlobMissing):
        follow(ref_of(b"nothing"))


def test_the_follower_does_not_guess_what_a_damaged_tree_held():
    class Damaged(MemoryPlace):
        def open(self, ref):
            import io

            return io.BytesIO(super().get(ref)[:-3])

    store = Damaged()
    tree = put_tree(store, file("a"))
    with pytest.raises(BlobCorrupt):
        follower(store)(tree.ref)


def test_what_a_tree_holds_is_the_same_whether_names_are_read_or_not():
    misleading = link("zz-link", "f 0644 - 3 " + "0" * 64 + " x")
    data = encode(
        [*SAMPLE, misleading, folder("zz-sub", B), TreeEntry("zz-pipe", "pipe"), file("zz-shared", A, group="b.txt")]
    )
    expected = [
        (entry.ref, entry.size if entry.kind == "file" else None)
        for entry in decode(data, ANY)
        if entry.ref is not None
    ]
    assert expected == held_in(data, ANY)
    assert [] == held_in(HEADER, ANY)


@pytest.mark.parametrize("data", [b"no tree", HEADER + b"f 0644\0", HEADER + b"d 0755 -\0", HEADER + b"l - name"])
def test_bytes_that_are_no_tree_hold_nothing(data):
    with pytest.raises(BlobCorrupt):
        held_in(data, ANY)
