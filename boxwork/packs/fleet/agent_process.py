"""The agent as a process of its own: `python -m boxwork.packs.fleet.agent_process`, started by `boxwork fleet agent`.

The command line of Boxwork is large; this is what remains of it once the process has replaced itself: no terminal
library, no numpy, no server.  It ends on SIGTERM and SIGINT at once; every step can be cut off (agent_change.py).
"""

from __future__ import annotations

import logging
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import msgspec

from boxwork import errors, journal
from boxwork.packs.fleet.agent import Agent
from boxwork.packs.fleet.agent_client import Client
from boxwork.packs.fleet.agent_settings import AgentSettings
from boxwork.packs.fleet.agent_token import Token
from boxwork.packs.fleet.protocol import KEY_BYTES

LEVELS = {"info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


class Orders(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What the process is told, as one JSON argument."""

    servers: list[str]
    host: str
    root: str
    key: str
    token_file: str = ""
    authority: str = ""
    settings: dict[str, Any] = {}
    log_level: str = "info"
    log_form: str = "auto"
    once: bool = False


def read_key(text: str) -> bytes:
    """A public key: 64 hexadecimal digits, or the path of a file that begins with them."""
    spelled = text if len(text) == 2 * KEY_BYTES else _first_word(Path(text))
    try:
        key = bytes.fromhex(spelled)
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise errors.BadInput(
            f"--key {text[:80]!r} is neither {2 * KEY_BYTES} hexadecimal digits nor a file of them: ask the server,"
            " `boxwork fleet key`"
        )
    return key


def make_agent(orders: Orders, **seams: Any) -> Agent:
    """The agent that these orders describe; `seams` are the arguments of `Agent` that tests set."""
    token = _first_word(Path(orders.token_file)) if orders.token_file else ""
    client = Client(orders.servers, orders.host, token, orders.authority or None)
    settings = AgentSettings(orders.settings)
    root = Path(orders.root)
    seams.setdefault("token", Token(root, orders.host, token))
    return Agent(root, orders.host, read_key(orders.key), client, settings, **seams)


def main(arguments: list[str]) -> int:
    """Run until a signal; with `once`, until one question was answered and what follows from it is done."""
    orders = msgspec.json.decode(arguments[0], type=Orders)
    journal.configure(orders.log_level, orders.log_form)
    logger = logging.getLogger("boxwork.fleet.agent")

    def log(level: str, message: str) -> None:
        logger.log(LEVELS[level], message)

    def end(signum: int, frame: FrameType | None) -> None:
        raise SystemExit(0)

    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, end)
    try:
        agent = make_agent(orders, log=log)
    except errors.BoxworkError as reason:
        logger.error(reason.message)
        return 2
    try:
        log("info", f"host {orders.host}: asking {', '.join(orders.servers)}")
        if orders.once:
            agent.start()
            agent.step()
            agent.deliver()
        else:
            agent.run()
    except errors.BoxworkError as reason:
        logger.error(reason.message)
        return 1
    finally:
        agent.close()
    return 0


def _first_word(path: Path) -> str:
    try:
        words = path.read_text("utf-8").split()
    except (OSError, UnicodeDecodeError) as reason:
        raise errors.BadInput(f"{path} cannot be read: {reason}") from None
    return words[0] if words else ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
