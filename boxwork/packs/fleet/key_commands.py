"""`boxwork fleet key`, `keys` and `token`: what documents are signed with, and what a host shows."""

from __future__ import annotations

from typing import Annotated, Any

from cyclopts import App, Parameter

from boxwork.packs.fleet import wording


def add_keys(app: App, context: Any, at: Any) -> None:
    """The three, into the group."""
    output = context.output

    @app.command
    def token(host: str) -> None:
        """The token that a host of another machine shows; it opens the addresses of this host only."""
        from boxwork.packs.fleet.counter import token as make

        with context.work() as work:
            found = make(work, host, at(work, "").keys())
        output.answer({"host": host, "token": found}, found)

    @app.command
    def key() -> None:
        """The public key, which agents are given: they take no document that was not signed with its other half."""
        with context.work() as work:
            found = at(work, "").keys()
            found = [row["key"] for row in found if row["state"] == "in use"][-1]
        output.answer({"public_key": found}, found)

    app.command(_keys(context, at))


def _of_tokens(row: Any, now_ns: int) -> str:
    if row["state"] == "in use":
        return "taken"
    until_ns = row["tokens_until_ns"] or 0
    return f"taken until {wording.moment(until_ns)}" if until_ns > now_ns else "refused"


def _keys(context: Any, at: Any) -> App:
    group = App(name="keys", help="The keys that documents are signed with: list, new, retire.")
    output = context.output

    @group.default
    @group.command(name="list")
    def show(*, server: str = "") -> None:
        """Every key, whether it is in use, and who decided that."""
        with context.work() as work:
            found, now_ns = at(work, server).keys(), work.clock.now_ns()
        rows = (
            {**row, **(row["events"][-1] if row["events"] else {"who": "", "why": "the first"}), "tokens": tokens}
            for row in found
            for tokens in (_of_tokens(row, now_ns),)
        )
        output.table(["key", "state", "tokens", "who", "why"], rows, "there is no key yet")

    @group.command
    def new(*, reason: str, author: str = "", server: str = "") -> None:
        """Make the next key. Hosts learn it by themselves, from a document that the old one signed.

        Parameters
        ----------
        reason: why; it stands in the history
        author: who; the default is the user of this machine
        server: the URL of the server, if it is not on this machine's usual port
        """
        with context.work() as work:
            found = at(work, server).new_key(author or context.user, reason)
        output.answer(found, f"{found['key']}\nwhen `fleet status` says that every host is well, retire the old one")

    @group.command
    def retire(
        key: str,
        *,
        reason: str,
        author: str = "",
        anyway: Annotated[bool, Parameter(negative="")] = False,
        grace_s: float | None = None,
        server: str = "",
    ) -> None:
        """Take a key out of use: no host takes a document any more that only this key signed.

        Of a key that is out of use already, the grace of its tokens is changed: 0 s for one that was stolen.

        Parameters
        ----------
        key: the begin of the public key
        reason: why; it stands in the history
        author: who; the default is the user of this machine
        anyway: also if hosts have not said that they know the other key
        grace_s: so long the server takes tokens of hosts by this key (the default is fleet.token_grace_s); hosts fetch
            the next one by themselves
        server: the URL of the server, if it is not on this machine's usual port
        """
        with context.work() as work:
            found = at(work, server).retire_key(key, author or context.user, reason, anyway, grace_s)
        output.answer(found, f"{found['key']} is retired")

    return group
