"""Every limit of rooms, as settings."""

from __future__ import annotations

from boxwork.settings import KiB, MiB, Setting

SETTINGS = (
    Setting("live.tick_ms", 20.0, "ms", "between two writes to a busy room; the first after a quiet time goes at once"),
    Setting("live.tail_frames", 4096, "frames", "of one room kept for those who come back: 20 s at 200 comments/s"),
    Setting("live.tail_bytes", 2 * MiB, "bytes", "the same, for big frames; older ones are read from the log"),
    Setting("live.log_entries_max", 20_000, "entries", "read from the log for one who was away; else a reset"),
    Setting("live.unsent_bytes_max", 64 * KiB, "bytes", "waiting for a slow reader; then it is behind, and resumes"),
    Setting("live.members_max", 20_000, "members", "connected to this node at once; about 30 KB of memory each"),
    Setting("live.rooms_max", 2000, "rooms", "open at once; a room closes when nobody was in it for live.room_idle_s"),
    Setting("live.room_idle_s", 60.0, "s", "an empty room keeps its tail for so long: who was cut off finds it again"),
    Setting("live.presence_s", 10.0, "s", "one whose connection was cut still counts: a tunnel is no leaving"),
    Setting("live.hello_s_max", 10.0, "s", "for the first message of a connection; a page sends it at once"),
    Setting("live.message_bytes_max", 16 * KiB, "bytes", "one message from a member; a long comment has 2 KiB"),
    Setting("live.commands_per_s", 20.0, "a second", "from one member, for ever; a page gathers likes for 100 ms"),
    Setting("live.commands_burst", 60, "commands", "from one member at once, before the rate holds"),
    Setting("live.under_way_max", 16, "commands", "of one member that are not answered yet"),
    Setting("live.ping_s", 20.0, "s", "between pings: proxies cut what is silent for 60 s, and a dead peer shows"),
    Setting("live.pong_s", 20.0, "s", "for the answer to a ping; then the connection is closed"),
    Setting("live.origins", "", "", "further pages that may open rooms: https://a.example, https://b.example"),
)

# One write to one member, and one shared by all.  Unit: bytes.  Reason: a phone reads it in 0.2 s at 10 Mbit/s.
PARCEL_BYTES_MAX = 256 * KiB
# The same snapshot is handed to everybody who joins until so many frames came after it.  Unit: frames.  Reason: to
# make one costs about a millisecond, a frame in the tail behind it nothing.
SNAPSHOT_FRAMES_MAX = 64
# Facts in a snapshot, where the rooms do not say which.  Unit: facts.  Reason: about 1 MB; more wants a choice.
SNAPSHOT_FACTS_MAX = 10_000
