"""A lying server, and agents that ask it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from boxwork.packs.fleet.agent import Agent
from boxwork.packs.fleet.agent_client import Client
from boxwork.packs.fleet.agent_settings import AgentSettings
from tests.packs.fleet.agent._server import Server


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    (tmp_path / "server").mkdir()
    one = Server(tmp_path / "server")
    yield one
    one.close()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "host"


@pytest.fixture
def make_agent(server: Server, root: Path) -> Iterator[Callable[..., Agent]]:
    made: list[Agent] = []

    def make(servers: list[str] | None = None, settings: dict[str, object] | None = None, **seams: Any) -> Agent:
        client = Client(servers or [server.url], "web1")
        values = AgentSettings({"wait_s": 0.05, **(settings or {})}, environment={})
        place = seams.pop("root", root)
        key = seams.pop("key", server.key)
        agent = Agent(place, "web1", key, client, values, **seams)
        made.append(agent)
        return agent

    yield make
    for agent in made:
        agent.close()
