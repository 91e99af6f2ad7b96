"""The pictures of a MongoDB collection, wherever its documents keep them, as thumbnails with stable addresses.

    pip install 'boxwork[serve,thumbs,mongodb]'
    python app.py mongodb://127.0.0.1:27017

It fills `shop.products` with three products if there are none: one has its picture in the document, one in GridFS,
one as the path of a file.  Then it takes the collection in and prints what each product has become.  The gallery:

    boxwork up 'mongodb://127.0.0.1:27017/shop.products?field=photo&name=title&folder=media'

which also watches: an inserted, changed or removed document shows within seconds.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

import gridfs
import pymongo
from PIL import Image

import boxwork
from boxwork.packs.thumbs import thumbnail


def picture(colour: str) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (1200, 800), colour).save(out, "JPEG")
    return out.getvalue()


def fill(shop: pymongo.database.Database) -> None:
    Path("media").mkdir(exist_ok=True)
    Path("media/table.jpg").write_bytes(picture("saddlebrown"))
    stored = gridfs.GridFSBucket(shop).upload_from_stream("chair.jpg", picture("teal"))
    shop.products.insert_many(
        [
            {"title": "lamp", "photo": picture("gold")},
            {"title": "chair", "photo": stored},
            {"title": "table", "photo": "table.jpg"},
        ]
    )


def main(server: str) -> None:
    with pymongo.MongoClient(server) as client, boxwork.open("data") as work:
        if not client.shop.products.find_one():
            fill(client.shop)
        source = f"{server}/shop.products?field=photo&name=title&folder={Path('media').resolve()}"
        for seen in work.inventory.scan(source):
            name = seen.path.rpartition("/")[2]
            if seen.ref is None:
                print(f"{name}: {seen.state}, {seen.reason}")
                continue
            small = work.derive(thumbnail, photo=seen.ref, width=320)
            print(f"{name}: {seen.state}, /thumbs/320/{seen.ref.hex}.webp ({work.size(small)} bytes)")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "mongodb://127.0.0.1:27017")
