"""What can be set about a fleet, on the side of the server."""

from __future__ import annotations

from boxwork import Setting

MiB = 1024 * 1024

SERVER_SETTINGS = (
    Setting(
        "fleet.source",
        "",
        "",
        "where the rows of hosts come from: folder:DIR, tree:PIN, csv:URL-or-FILE, sqlite:FILE?table=hosts, postgresql://…",
    ),
    Setting(
        "fleet.source_poll_s", 30.0, "s", "between two looks at the source; a spreadsheet's publisher caches longer"
    ),
    Setting(
        "fleet.source_timeout_s", 20.0, "s", "for one whole answer of the source; then the last good table is served on"
    ),
    Setting("fleet.source_bytes_max", 16 * MiB, "bytes", "one reading of the source; 5,000 rows are about 1 MiB"),
    Setting(
        "fleet.on_source_change",
        "rollout",
        "",
        "rollout: a change in the source is rolled out by itself; hold: it becomes a version and waits",
    ),
    Setting("fleet.waiting_max", 10_000, "hosts", "that wait for news at the same time, 12 KiB each; above it 503"),
    Setting("fleet.wait_s_max", 55.0, "s", "one question of a host is held at most this long; proxies cut after 60"),
    Setting("fleet.reports_max", 20_000, "reports", "waiting to be written; above it 503, and the host says it again"),
    Setting(
        "fleet.token_grace_s",
        7 * 86_400.0,
        "s",
        "a host's token by a retired key is taken so long; hosts fetch another in a minute, one that is off does not",
    ),
    Setting("fleet.plan", "exponential", "", "rollouts that begin by themselves: exponential, linear or once"),
    Setting("fleet.first_share", 0.01, "of the hosts", "in the first step of a rollout; at least one host"),
    Setting(
        "fleet.growth", 2.0, "times", "exponential: each step is so many times the one before; linear: this share more"
    ),
    Setting("fleet.bake_s", 60.0, "s", "so long every host of a step is well before the next step"),
    Setting("fleet.failures_max", 0, "hosts", "that may fail before everything goes back"),
    Setting("fleet.ack_s", 120.0, "s", "a host that says nothing for so long counts as silent; many silent ones pause"),
    Setting("fleet.latency_series", "", "", "a pulse pattern such as http{route=/cart}; empty: no gate on latency"),
    Setting("fleet.latency_p99_ms", 500.0, "ms", "above this p99 of that series a rollout goes back"),
)
