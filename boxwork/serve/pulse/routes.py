"""`/pulse`: the API that the pages use and anybody may, and `/metrics` for a Prometheus.

Queries run in two threads of their own: a page that asks for a year must not hold up a download.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, TypeVar

import anyio
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from boxwork.clock import MILLISECOND_NS, SECOND_NS
from boxwork.errors import NotFound, StorageError
from boxwork.pulse import page
from boxwork.pulse.series_name import Pattern, SeriesName
from boxwork.pulse.sinks import prometheus
from boxwork.pulse.sinks.sink import SeriesInfo
from boxwork.serve.bodies import json_reply
from boxwork.serve.pulse import asking, pages
from boxwork.serve.pulse.machine import MachineView
from boxwork.serve.pulse.mesh import MeshView
from boxwork.serve.pulse.overview import Overview
from boxwork.serve.pulse.stream import events

T = TypeVar("T")

# A day in minutes: the longest line of columns a page asks for.  Unit: columns.
COLUMNS_MAX = 1440
# An interval that ended this long ago has been handed over by the aggregator, which looks four times a second.
SETTLED_NS = 600 * MILLISECOND_NS
THREADS = 2
# The newest events that a page shows; the log has all.  Unit: events.
EVENTS_MAX = 50


class PulseRoutes:
    """The endpoints over one node."""

    def __init__(self, work: Any) -> None:
        self.work = work
        self.limiter = anyio.CapacityLimiter(THREADS)

    # The parts are made at the first question: a mounted node that nobody watches pays nothing.

    @functools.cached_property
    def overview(self) -> Overview:
        return Overview(self.work.pulse)

    @functools.cached_property
    def machine_view(self) -> MachineView:
        return MachineView(self.work.pulse)

    @functools.cached_property
    def mesh_view(self) -> MeshView:
        return MeshView(self.work.pulse)

    async def in_thread(self, call: Callable[[], T]) -> T:
        return await anyio.to_thread.run_sync(call, limiter=self.limiter)

    @property
    def away(self) -> str:
        """Why a history on another machine does not answer; what this node has itself is shown all the same."""
        return str(getattr(self.work.pulse.history, "away", ""))

    def range_of(self, request: Request) -> asking.Range:
        return asking.range_of(request.query_params, self.work.clock.now_ns())

    # --- pages

    async def latency(self, request: Request) -> Response:
        """`GET /pulse`: the live page."""
        rows = await self.in_thread(lambda: self.overview.look(past=False))
        return pages.latency(request, rows, self.overview.total)

    async def paths(self, request: Request) -> Response:
        """`GET /pulse/paths`: sites and venues as a matrix."""
        return pages.paths(request)

    async def machine(self, request: Request) -> Response:
        """`GET /pulse/machine`: what the machine does."""
        await self.in_thread(self.machine_view.begin)
        return pages.machine(request)

    async def watch(self, request: Request) -> Response:
        """`GET /pulse/watch`: the rules, how each stands, and what changed."""
        return pages.watch(request, self._alarms())

    # --- the API

    async def series(self, request: Request) -> Response:
        """`GET /pulse/series`: every series, its unit and interval."""
        return json_reply({"series": await self.in_thread(lambda: page.catalog(self.work.pulse))})

    async def query(self, request: Request) -> Response:
        """`GET /pulse/query`: exact quantiles and coverage of a series or pattern in a range of time and of values."""
        pattern, span = asking.series_of(request.query_params), self.range_of(request)
        low = asking.number_of(request.query_params, "low", -math.inf)
        high = asking.number_of(request.query_params, "high", math.inf)
        answer = await self.in_thread(
            lambda: page.rectangle(self.work.pulse, pattern, span.start_ns, span.end_ns, low, high)
        )
        if not answer["series"] and self.away:
            raise StorageError(f"the history of the histograms does not answer: {self.away}")
        if not answer["series"]:
            raise NotFound(f"no series matches {pattern!r}; /pulse/series lists them", series=pattern)
        return json_reply({"from_ns": span.start_ns, "to_ns": span.end_ns, **_within_64_bits(answer)})

    async def percentiles(self, request: Request) -> Response:
        """`GET /pulse/percentiles`: the percentile plot, [1 / (1 - q), value] for each point."""
        pattern, span = asking.series_of(request.query_params), self.range_of(request)
        return json_reply(
            await self.in_thread(lambda: page.percentiles(self.work.pulse, pattern, span.start_ns, span.end_ns))
        )

    async def columns(self, request: Request) -> Response:
        """`GET /pulse/columns`: the quantiles of a series by time, as JSON."""
        series, span = asking.series_of(request.query_params), self.range_of(request)
        most = asking.count_of(request.query_params, "columns", 900, COLUMNS_MAX)
        return json_reply(
            await self.in_thread(
                lambda: page.columns(self.work.pulse, series, span.start_ns, span.end_ns, columns_max=most)
            )
        )

    async def history(self, request: Request) -> Response:
        """`GET /pulse/history`: the columns of a heatmap, binary; `pulse-until` says from where a stream goes on."""
        series, span = asking.series_of(request.query_params), self.range_of(request)
        most = asking.count_of(request.query_params, "columns", 900, COLUMNS_MAX)

        def ask() -> tuple[bytes, int, str]:
            info = self._info(series)
            width = page.width_for(info, span.start_ns, span.end_ns, most)
            end = span.end_ns
            if span.live:  # up to the column that is being written; its intervals so far come by the stream
                end -= SETTLED_NS
                end -= end % width
            return page.history(self.work.pulse, series, end - span.length_ns, end, columns_max=most), end, info.unit

        data, until, unit = await self.in_thread(ask)
        return Response(
            data,
            200,
            {
                "cache-control": "no-store",
                "content-type": "application/octet-stream",
                "pulse-until": str(until),
                "pulse-unit": unit,
                **({"pulse-away": self.away.encode("ascii", "replace").decode()} if self.away else {}),
            },
        )

    def _info(self, text: str) -> SeriesInfo:
        name = SeriesName.parse(text)
        found: SeriesInfo | None = next((info for info in self.work.pulse.catalog() if info.name == name), None)
        if found is None:
            raise NotFound(f"there is no series {text!r}; /pulse/series lists them", series=text)
        return found

    async def live(self, request: Request) -> Response:
        """`GET /pulse/live`: server-sent events of finished intervals; resumes after Last-Event-ID or `after`."""
        request.scope["boxwork.endless"] = True  # how long somebody looked is no latency
        query = request.query_params
        last = request.headers.get("last-event-id", "") or query.get("after", "")
        after = asking.time_ns(last, 0) if last else None
        pattern = query.get("series", "")
        body = events(
            self.work.pulse,
            asking.series_of(query) if pattern else "",
            after,
            self.in_thread,
            self.overview if "overview" in query else None,
            self._alarms if "rules" in query else None,
            lambda: request.app.state.stopping,
        )
        return StreamingResponse(
            body,
            200,
            {
                "cache-control": "no-store",
                "content-type": "text/event-stream; charset=utf-8",
                "x-accel-buffering": "no",  # nginx would hold events back
            },
        )

    async def rules(self, request: Request) -> Response:
        """`GET /pulse/rules`: the rules (those that see `series`), the last events, and how the measuring itself is."""
        return json_reply(self._alarms(request.query_params.get("series", "")[: asking.SERIES_LENGTH_MAX]))

    def _alarms(self, series: str = "") -> dict[str, Any]:
        alarms = self.work.alarms
        rules = alarms.rules()
        if series:
            name = SeriesName.parse(series)
            rules = [rule for rule in rules if Pattern.parse(rule["pattern"]).matches(name)]
        health = alarms.pulse.health()
        return {
            "rules": rules,
            "health": health,
            "events": [event.as_json() for event in list(alarms.events)[-EVENTS_MAX:][::-1]],
        }

    async def mesh(self, request: Request) -> Response:
        """`GET /pulse/mesh`: for each path between two places its quantiles, loss, coverage and a sparkline."""
        span = self.range_of(request)
        name = request.query_params.get("name", "path")[: asking.SERIES_LENGTH_MAX]

        found = await self.in_thread(lambda: self.mesh_view.look(name, span))
        return json_reply({**found, **({"away": self.away} if self.away else {})})

    async def machine_figures(self, request: Request) -> Response:
        """`GET /pulse/machine/figures`: CPU, memory, disk, network, pressure and drops by time."""
        span = self.range_of(request)
        width = max(SECOND_NS, span.length_ns // 600)
        return json_reply(
            {"series": await self.in_thread(lambda: self.machine_view.figures(span.start_ns, span.end_ns, width))}
        )

    async def processes(self, request: Request) -> Response:
        """`GET /pulse/machine/processes`: the busiest processes since the last look; nothing is read before."""
        limit = asking.count_of(request.query_params, "limit", 20, 200)
        return json_reply({"processes": await self.in_thread(lambda: self.machine_view.processes(limit))})

    async def metrics(self, request: Request) -> Response:
        """`GET /metrics`: for a Prometheus; native histograms when it takes protobuf, classic ones as text."""
        accept = request.headers.get("accept", "")
        kind, body = await self.in_thread(lambda: prometheus.metrics(self.work.pulse, accept))
        return Response(body, 200, {"cache-control": "no-store", "content-type": kind})


def _within_64_bits(answer: dict[str, Any]) -> dict[str, Any]:
    """A sum is an integer of any size; JSON of others ends at 64 bits, and a float says enough."""
    return {
        key: float(value) if isinstance(value, int) and abs(value) >= 2**63 else value for key, value in answer.items()
    }


def routes(work: Any) -> list[BaseRoute]:
    """What `serve.http` mounts."""
    own = PulseRoutes(work)
    shown = [
        ("/pulse", own.latency),
        ("/pulse/paths", own.paths),
        ("/pulse/machine", own.machine),
        ("/pulse/watch", own.watch),
    ]
    asked = [
        ("/pulse/series", own.series),
        ("/pulse/query", own.query),
        ("/pulse/percentiles", own.percentiles),
        ("/pulse/columns", own.columns),
        ("/pulse/history", own.history),
        ("/pulse/live", own.live),
        ("/pulse/mesh", own.mesh),
        ("/pulse/rules", own.rules),
        ("/pulse/machine/figures", own.machine_figures),
        ("/pulse/machine/processes", own.processes),
        ("/metrics", own.metrics),
    ]
    return [
        *(Route(path, endpoint, methods=["GET"], include_in_schema=False) for path, endpoint in shown),
        *(Route(path, endpoint, methods=["GET"]) for path, endpoint in asked),
    ]
