"""Every limit of the edge, as settings: this file imports no server, so that the node can read it without one."""

from __future__ import annotations

from boxwork.settings import GiB, KiB, MiB, Setting

SETTINGS = (
    Setting("serve.host", "127.0.0.1", "", "loopback only, until somebody decides who may come in"),
    Setting("serve.port", 8080, "", "the first port tried; the next free one is taken when it is in use"),
    Setting("serve.ports_tried_max", 50, "ports", "then something else is wrong, and saying so is better"),
    Setting("serve.certificate", "", "", "a PEM file, its chain behind it: then the server speaks https only"),
    Setting("serve.certificate_key", "", "", "the PEM file of its private key; empty: it is in the certificate's file"),
    Setting("serve.signed_links", False, "", "true: a stranger with a link that was signed here may read that address"),
    Setting("serve.requests_max", 1000, "requests", "answered at the same time; above it 503 with Retry-After"),
    Setting("serve.blob_bytes_max", 4 * GiB, "bytes", "one uploaded blob; it is streamed, so this guards the disk"),
    Setting("serve.push_open_max", 64, "uploads", "blobs on their way into /v2 at once; each holds a file, or 32 KiB"),
    Setting("serve.push_idle_s_max", 900.0, "s", "an upload to /v2 that gets no byte for so long is dropped"),
    Setting("serve.body_bytes_max", 1 * MiB, "bytes", "a body that is read into memory: JSON inputs and lists"),
    Setting("serve.body_idle_s_max", 30.0, "s", "a client that sends nothing for so long while it owes a body is cut"),
    Setting("serve.derive_s_max", 120.0, "s", "a derivation asked for over HTTP answers within this, or with 504"),
    Setting("serve.commit_s_max", 60.0, "s", "a commit asked for over HTTP answers within this, or nobody knows: 503"),
    Setting("serve.stop_s_max", 10.0, "s", "after SIGTERM: what still runs then is cut; systemd waits 90"),
    Setting("serve.head_s_max", 10.0, "s", "for a request line and its headers; a browser sends them at once"),
    Setting("serve.head_bytes_max", 64 * KiB, "bytes", "request line and headers; nginx takes 32 KiB"),
    Setting("serve.keep_alive_s", 20.0, "s", "an idle connection is kept this long: a person reads, then scrolls on"),
    Setting("serve.threads", 8, "threads", "for reading large blobs and taking uploads; disks do no more at once"),
    Setting("serve.hot_bytes_max", 64 * MiB, "bytes", "ready-made public answers in memory; the least recent go first"),
    Setting("serve.hot_item_bytes_max", 256 * KiB, "bytes", "a larger answer is not kept ready"),
)

# Up to this size a blob is read inside the event loop: a hand-over to a thread and back costs about 100 µs on the
# machine of research/edge.md, reading and copying 64 KiB about 15.  Unit: bytes.
INLINE_READ_BYTES_MAX = 64 * KiB

# A large blob leaves in pieces of this size: big enough that the hand-over per piece does not show (100 µs against
# about 300 µs to read and send it), small enough that 1,000 slow readers hold 256 MiB at most.  Unit: bytes.
CHUNK_BYTES = 256 * KiB

# A request id that came with the request is taken over up to this length.  Unit: characters.
REQUEST_ID_LENGTH_MAX = 64

# An idempotency id, or who commits.  Unit: characters.  Reason: a UUID has 36; it is kept for a day beside the answer.
HEADER_LENGTH_MAX = 200
