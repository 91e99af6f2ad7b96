"""`/commit`: run a transaction of a pack; the answer comes when it is durable, with its receipt."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from boxwork.clock import MILLISECOND_NS, monotonic_ns
from boxwork.errors import BadInput, BoxworkError, CommitUnknown, InvariantBroken, NotFound, Timeout, TransactionFailed
from boxwork.serve.bodies import ClientLeft, json_reply, read_json
from boxwork.serve.derivations import result_of
from boxwork.serve.inputs import from_json, schema
from boxwork.serve.limits import HEADER_LENGTH_MAX
from boxwork.serve.readable import readable
from boxwork.transactions import LANES, Transaction

# The header of the IETF's draft draft-ietf-httpapi-idempotency-key-header, which many clients send by themselves.
ONCE = "idempotency-key"
WHO = "boxwork-who"


def transaction_of(request: Request) -> Transaction[..., Any]:
    """The transaction that the address names."""
    work, name = request.app.state.work, request.path_params["transaction"]
    found: Transaction[..., Any] | None = work.offered_transactions.get(name)
    if found is None:
        known = (
            ", ".join(sorted(work.offered_transactions)) or "none: a pack offers them, or `boxwork up --boxes MODULE`"
        )
        raise NotFound(f"there is no transaction {name[:80]!r}; there are: {known}", transaction=name[:80])
    return found


def about(box: Transaction[..., Any]) -> dict[str, Any]:
    """What somebody must know to call it."""
    text = (box.function.__doc__ or "").strip()
    return {
        "name": box.name, "summary": text.partition("\n")[0], "lane": box.rules.lane, "slow": box.rules.slow,
        "awaits": box.awaits, "inputs": schema(box),
    }  # fmt: skip


async def list_transactions(request: Request) -> Response:
    """`GET /commit`: the transactions there are, with their inputs as JSON schemas."""
    boxes = request.app.state.work.offered_transactions
    return json_reply({"transactions": [about(box) for _, box in sorted(boxes.items())]})


async def commit(request: Request) -> Response:
    """`POST /commit/{transaction}`: inputs as a JSON object; answers when it is durable, with its receipt."""
    work, box = request.app.state.work, transaction_of(request)
    options = {
        "once": _header(request, ONCE),
        "who": _header(request, WHO),
        "lane": request.query_params.get("lane", ""),
    }
    if options["lane"] not in LANES:
        raise BadInput(f"lane={options['lane'][:20]!r}: there are {', '.join(LANES[1:])}")
    inputs = from_json(box, await read_json(request))
    started = monotonic_ns()
    future = work.commit_soon(box, **options, **inputs)
    limit_s = work.settings.number("serve.commit_s_max")
    try:
        answer, receipt = await result_of(request, future, limit_s)
    except Timeout:
        raise CommitUnknown(
            f"{box.name} took longer than {limit_s:g} s (setting serve.commit_s_max): it may still happen; ask again"
            " with the same Idempotency-Key",
            transaction=box.name,
        ) from None
    except (BoxworkError, ClientLeft, InvariantBroken):
        raise
    except Exception as reason:  # in process it comes out as it is
        raise TransactionFailed(
            f"{box.name} raised {type(reason).__name__}: {reason}; nothing was changed", transaction=box.name
        ) from reason
    return json_reply(
        {
            "answer": readable(answer), "receipt": str(receipt), "version": receipt.version, "index": receipt.index,
            "duration_ms": round((monotonic_ns() - started) / MILLISECOND_NS, 3),
        }
    )  # fmt: skip


def _header(request: Request, name: str) -> str:
    text = request.headers.get(name, "")
    if len(text) > HEADER_LENGTH_MAX or not text.isprintable():
        raise BadInput(f"the header {name} has up to {HEADER_LENGTH_MAX} printable characters, not {len(text)}")
    return text


ROUTES = [
    Route("/commit", list_transactions, methods=["GET"]),
    Route("/commit/{transaction}", commit, methods=["POST"]),
]
