"""Links for strangers: what is signed, for how long, and that nothing else lets them in."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from boxwork.app.work import Work
from boxwork.clock import SECOND_NS
from boxwork.errors import BadInput, Forbidden, FormatError
from boxwork.keys import is_signed, link_signature
from boxwork.serve.http import asgi
from boxwork.serve.links import LIFE_S_MAX, Links
from boxwork.testing.clock import FakeClock

DAY_S = 24 * 3600


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(now_ns=1_700_000_000 * SECOND_NS)


@pytest.fixture
def links(tmp_path: Path, clock: FakeClock) -> Links:
    return Links(tmp_path / "keys", clock)


def parts(link: str) -> tuple[str, str]:
    path, _, query = link.partition("?")
    return path, query


def test_the_signature_of_a_link_stays_what_it_is() -> None:
    signature = link_signature(bytes(range(32)), "/blobs/x?name=y", 1_700_000_000)
    assert "fa403be96666c4cff46e397493d93b15" == signature
    assert is_signed(bytes(range(32)), "/blobs/x?name=y", 1_700_000_000, signature)
    assert not is_signed(bytes(32), "/blobs/x?name=y", 1_700_000_000, signature)
    assert not is_signed(bytes(range(32)), "/blobs/x?name=y", 1_700_000_000, "")


@pytest.mark.parametrize("target", ["/thumbs/320/ab.webp", "/blobs/sha256:ab?name=a%20b.jpg", "/a?x=1&y=2"])
def test_a_link_is_good_until_it_expires(links: Links, clock: FakeClock, target: str) -> None:
    link = links.sign(target, DAY_S)
    assert link.startswith(target)
    links.check(*parts(link))
    clock.advance((DAY_S - 1) * SECOND_NS)
    links.check(*parts(link))
    clock.advance(SECOND_NS)
    with pytest.raises(Forbidden, match="expired"):
        links.check(*parts(link))


def test_nothing_in_a_link_can_be_changed(links: Links) -> None:
    path, query = parts(links.sign("/thumbs/320/ab.webp?x=1", DAY_S))
    links.check(path, query)
    for at, sign in enumerate(query):
        for other in ("0", "1", "&", "=", ""):
            if other != sign:
                with pytest.raises(Forbidden):
                    links.check(path, query[:at] + other + query[at + 1 :])
    for other in ("/thumbs/321/ab.webp", "/thumbs/320/ab.webp/", "/thumbs/320/ab.web", "/", ""):
        with pytest.raises(Forbidden):
            links.check(other, query)
    for more in (f"{query}&x=2", f"x=2&{query}", query.partition("&")[2], "", "\n" + query, query + "\n"):
        with pytest.raises(Forbidden):
            links.check(path, more)


def test_what_moves_between_path_and_query_is_noticed(links: Links) -> None:
    path, query = parts(links.sign("/a%3Fb", DAY_S))
    links.check(path, query)
    with pytest.raises(Forbidden):
        links.check("/a", f"b&{query}")
    path, query = parts(links.sign("/a?b", DAY_S))
    links.check(path, query)
    for other in ("/a%3Fb", "/a", "/ab"):
        with pytest.raises(Forbidden):
            links.check(other, query.removeprefix("b&"))


def test_links_outlive_a_new_key_and_end_when_keys_are_forgotten(links: Links, clock: FakeClock) -> None:
    old = links.sign("/a", LIFE_S_MAX)
    links.rotate()
    new = links.sign("/a", LIFE_S_MAX)
    assert parts(old)[1][:12] != parts(new)[1][:12]
    links.check(*parts(old))
    links.check(*parts(new))
    links.rotate(forget=True)
    for link in (old, new):
        with pytest.raises(Forbidden, match="key has been replaced"):
            links.check(*parts(link))
    links.check(*parts(links.sign("/a", 1)))


def test_a_key_is_dropped_when_its_last_link_has_expired(links: Links, clock: FakeClock) -> None:
    def ids() -> list[str]:
        return [line.split()[0] for line in links.path.read_text().splitlines()[1:]]

    first = links.rotate()
    second = links.rotate()
    link = links.sign("/a", LIFE_S_MAX)  # by the second one
    clock.advance((LIFE_S_MAX - 1) * SECOND_NS)
    third = links.rotate()
    assert [first, second, third] == ids()
    clock.advance(2 * SECOND_NS)
    fourth = links.rotate()
    assert [second, third, fourth] == ids()  # a link of the second one may have been made 2 s ago
    with pytest.raises(Forbidden, match="expired"):
        links.check(*parts(link))


def test_another_process_sees_new_keys_and_forgotten_ones(links: Links, clock: FakeClock) -> None:
    other = Links(links.path.parent, clock)
    link = links.sign("/a", DAY_S)
    other.check(*parts(link))
    links.rotate()
    other.check(*parts(links.sign("/a", DAY_S)))
    links.rotate(forget=True)
    with pytest.raises(Forbidden):
        other.check(*parts(link))


def test_keys_are_for_nobody_else_to_read(links: Links) -> None:
    links.sign("/a", 1)
    assert 0o600 == links.path.stat().st_mode & 0o777
    assert [links.path] == list(links.path.parent.iterdir())
    assert links.path.read_text().splitlines()[1].split()[1] not in repr(links._read())


def test_a_damaged_ring_lets_nobody_in(links: Links) -> None:
    link = links.sign("/a", DAY_S)
    for damage in ("", "boxwork-links 1\nx", "\xff"):
        links.path.write_text(damage, "latin-1")
        with pytest.raises(FormatError, match="ring"):
            links.check(*parts(link))


@pytest.mark.parametrize("target", ["", "a", "/a b", "/ä", "/a#b", "/" + "a" * 2000, "/a\n"])
def test_what_is_no_address_is_not_signed(links: Links, target: str) -> None:
    with pytest.raises(BadInput, match="address"):
        links.sign(target, 1)
    with pytest.raises(BadInput, match="seconds"):
        links.sign("/a", LIFE_S_MAX + 1)


# --- through the application


async def _ask(app: Any, peer: str, method: str, url: str, **options: Any) -> httpx.Response:
    transport = httpx.ASGITransport(app, client=(peer, 5000))
    host = "localhost" if peer == "127.0.0.1" else "photos.example"
    async with httpx.AsyncClient(transport=transport, base_url=f"http://{host}") as client:
        return await client.request(method, url, **options)


def ask(app: Any, peer: str, method: str, url: str, **options: Any) -> httpx.Response:
    return asyncio.run(_ask(app, peer, method, url, **options))


@pytest.fixture
def work(make_work: Any) -> Work:
    return make_work((), serve__signed_links=True)  # type: ignore[no-any-return]


def test_a_stranger_reads_what_the_link_points_to_and_nothing_else(work: Work) -> None:
    app = asgi(work)
    ref, other = work.put(b"for a friend"), work.put(b"for nobody")
    given = {"path": f"/blobs/{ref}", "seconds": 60}
    link = ask(app, "127.0.0.1", "POST", "/links", json=given).json()["url"]
    assert b"for a friend" == ask(app, "10.0.0.7", "GET", link).content
    assert 200 == ask(app, "10.0.0.7", "HEAD", link).status_code
    for url in (f"/blobs/{ref}", f"/blobs/{other}", link.replace(ref, other), "/", "/items", "/healthz", link + "0"):
        assert 403 == ask(app, "10.0.0.7", "GET", url).status_code
    for method in ("POST", "PUT", "DELETE"):
        assert 403 == ask(app, "10.0.0.7", method, link).status_code
    assert 403 == ask(app, "10.0.0.7", "POST", "/links", json=given).status_code
    assert 403 == ask(app, "10.0.0.7", "POST", "/links/keys", json={"forget": True}).status_code
    assert 201 == ask(app, "127.0.0.1", "POST", "/links/keys", json={"forget": True}).status_code
    assert 403 == ask(app, "10.0.0.7", "GET", link).status_code
    assert 200 == ask(app, "127.0.0.1", "GET", f"/blobs/{ref}").status_code


def test_without_the_setting_a_link_lets_nobody_in(make_work: Any) -> None:
    work = make_work(())
    app = asgi(work)
    ref = work.put(b"x")
    link = ask(app, "127.0.0.1", "POST", "/links", json={"path": f"/blobs/{ref}", "seconds": 60}).json()["url"]
    assert 200 == ask(app, "127.0.0.1", "GET", link).status_code
    assert 403 == ask(app, "10.0.0.7", "GET", link).status_code


@pytest.mark.parametrize("given", [{}, [], {"path": "/a"}, {"path": 1, "seconds": 1}, {"path": "/a", "seconds": True}])
def test_what_cannot_be_signed_is_refused(work: Work, given: Any) -> None:
    assert 400 == ask(asgi(work), "127.0.0.1", "POST", "/links", json=given).status_code
    assert 400 == ask(asgi(work), "127.0.0.1", "POST", "/links/keys", json={"forget": 1}).status_code
