"""A FastAPI application with a media API and a gallery in it.

    pip install 'boxwork[serve,thumbs]' fastapi
    SHOP_TOKEN=secret uvicorn app:app            # in this folder; pictures lie in ./photos

    GET /products/{name}     a route of the application: it knows the thumbnail of a product by its file's name
    /media/                  the gallery; /media/thumbs/320/{ref}.webp, /media/items and the rest of the API

The guard lets in who has the shop's token, as a header or as the cookie that `/login` sets; without it nobody sees a
picture, and the application's own routes stay the application's business.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import RedirectResponse
from starlette.concurrency import run_in_threadpool

import boxwork
from boxwork.packs.thumbs import thumbnail

TOKEN = os.environ.get("SHOP_TOKEN", "")
PHOTOS = Path(os.environ.get("SHOP_PHOTOS", "photos"))
work = boxwork.open(os.environ.get("SHOP_DATA", "data"))


async def staff_only(request: Request) -> None:
    given = request.headers.get("x-shop-token") or request.cookies.get("shop", "")
    if not TOKEN or not hmac.compare_digest(given, TOKEN):
        raise boxwork.errors.Forbidden("say who you are: /login?token=…")


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    if PHOTOS.is_dir():
        await run_in_threadpool(lambda: list(work.inventory.scan(PHOTOS)))
    yield
    work.close()


app = FastAPI(title="Shop", lifespan=lifespan)
app.mount("/media", boxwork.asgi(work, guard=staff_only))


@app.get("/login")
async def login(token: str) -> RedirectResponse:
    if not TOKEN or not hmac.compare_digest(token, TOKEN):
        raise HTTPException(403, "that is not the token")
    answer = RedirectResponse("/media/", 303)
    answer.set_cookie("shop", token, httponly=True, samesite="strict")
    return answer


@app.get("/products/{name}")
def product(name: str) -> dict[str, object]:
    found = work.inventory.items(contains=f"{name}.", limit=1).items
    if not found or found[0].ref is None:
        raise HTTPException(404, f"there is no product {name!r}")
    photo = found[0].ref
    small = work.derive(thumbnail, photo=photo, width=320)  # once; then remembered
    return {"name": name, "thumbnail": f"/media/thumbs/320/{photo.hex}.webp", "bytes": work.size(small)}
