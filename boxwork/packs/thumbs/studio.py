"""Where thumbnails come from, for one application: remembered ones at once, the others through the darkroom."""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import Any

import anyio

from boxwork import Derivation, Ref, errors
from boxwork.packs.thumbs.album import Album, Shot, packed
from boxwork.packs.thumbs.darkroom import Darkroom
from boxwork.packs.thumbs.estimate import HEAD_BYTES, decode_bytes
from boxwork.packs.thumbs.facts import placeholder
from boxwork.packs.thumbs.pace import Pace
from boxwork.packs.thumbs.spec import SHOWN, Spec
from boxwork.packs.thumbs.thumbnail import mezzanine, thumbnail

# Placeholders kept in memory: 36 characters each.  Unit: pictures.
PLACEHOLDERS_MAX = 200_000
# Reasons why pictures cannot be shown are written together: whoever asks for two hundred broken ones makes one entry
# into the inventory's history, not two hundred, each of which has the album read it again.  Unit: s.
NOTES_AFTER_S = 0.2
# Pictures looked at in one go by whoever makes best encodings; a pause after it as long as it took.  Unit: pictures.
POLISH_LOOKS = 100
# What is asked of `thumbnail` for them.
BEST = {**SHOWN.inputs(), "effort": "best"}


class Studio:
    """Used on one event loop; what may block runs in threads."""

    def __init__(self, work: Any) -> None:
        settings = work.settings
        self.work = work
        self.album = Album(work)
        slots = settings.integer("thumbs.at_once") or os.cpu_count() or 1
        self.darkroom = Darkroom(
            slots, settings.integer("thumbs.memory_bytes_max"), settings.integer("thumbs.waiting_max")
        )
        self.pace = Pace(settings.number("thumbs.broken_per_s"))
        self.placeholders: dict[str, str] = {}
        self.wanted: list[tuple[str, Ref]] = []
        self.notes: dict[Ref, str] = {}
        self.noting: asyncio.Task[None] | None = None
        self.warming: asyncio.Future[None] | None = None
        self.tinting: asyncio.Task[None] | None = None
        self.wished_ns = 0  # when somebody last wanted a thumbnail that was not ready as an answer
        self.polish_after_s: float = settings.number("thumbs.polish_after_s")
        self.polishing: asyncio.Task[None] | None = None

    async def thumb(self, ref: Ref, spec: Spec, *, best: bool = False) -> bytes:
        """The bytes of the thumbnail.  Raises what the box raises, `BlobMissing`, `Busy`.

        With `best` it is the best encoding, if that has been made by now: not for an address that is kept for ever.
        """
        self.wished_ns = self.work.clock.monotonic_ns()
        if best and (made := self.work.peek(thumbnail, photo=ref, **spec.inputs(), effort="best")) is not None:
            polished: bytes = self.work.get(made)
            return polished
        source = await self._made(ref, mezzanine, photo=ref) if spec.is_from_mezzanine else ref
        known = await self._made(ref, thumbnail, photo=source, **spec.inputs())
        if spec == SHOWN and ref not in self.placeholders:
            self._tint(ref, known)
        data: bytes = self.work.get(known)
        return data

    async def _made(self, ref: Ref, box: Derivation[..., Any], **inputs: Any) -> Ref:
        """What the box makes of the picture `ref`, or of what was made of it: remembered, or through the darkroom."""
        known: Ref | None = self.work.peek(box, **inputs)
        if known is not None:
            return known
        cost_bytes = await anyio.to_thread.run_sync(self._cost, inputs["photo"])

        async def run() -> Any:
            # somebody may have been through here while this wish looked at the picture's head
            made = self.work.peek(box, **inputs)
            return made or await asyncio.wrap_future(self.work.submit(box, **inputs))

        try:
            made: Ref = await self.darkroom.develop((box.name, *inputs.values()), run, cost_bytes)
        except errors.DerivationFailed as fault:
            self._note(ref, fault.message)
            await asyncio.sleep(self.pace.wait_s(self.work.clock.monotonic_ns()))
            raise
        if ref in self.album.faulty:
            self._note(ref, "")
        return made

    def _note(self, ref: Ref, reason: str) -> None:
        """Have it written down soon, with what others find out meanwhile."""
        self.notes[ref] = reason
        if self.noting is None or self.noting.done():
            self.noting = asyncio.ensure_future(self._write_notes())

    async def _write_notes(self) -> None:
        while self.notes:
            await asyncio.sleep(NOTES_AFTER_S)
            with contextlib.suppress(errors.BoxworkError):  # the disk is full: the next one who asks finds it out again
                await anyio.to_thread.run_sync(self.write_notes)

    def write_notes(self) -> None:
        """Write what was found out until now; whoever reads the list calls it first.  Runs in a thread."""
        notes: dict[Ref, str] = {}
        with contextlib.suppress(KeyError):
            while True:  # one by one: the event loop may put another one in between
                ref, reason = self.notes.popitem()
                notes.setdefault(ref, reason)
        if notes:
            self.work.inventory.note_all(notes)

    def _cost(self, ref: Ref) -> int:
        with self.work.open(ref) as file:
            return decode_bytes(file.read(HEAD_BYTES), self.work.size(ref))

    def window(self, words: str, first: int, count: int) -> tuple[int, int, list[list[str]]]:
        """(version, how many there are, the rows from `first`): a row is ref, name and placeholder.

        Runs in a thread.  A placeholder that is not made yet is the empty text.
        """
        self.refresh()
        found = self.album.find(words)
        rows = [[shot.ref[7:], shot.name, self._placeholder(shot)] for shot in found[first : first + count]]
        return self.album.version, len(found), rows

    def refresh(self) -> None:
        """The album as the inventory is now.  Runs in a thread."""
        self.write_notes()
        self.album.refresh()

    def _placeholder(self, shot: Shot) -> str:
        known = self.placeholders.get(shot.ref)
        if known is None:
            thumb = self.work.peek(thumbnail, photo=Ref(shot.ref), **SHOWN.inputs())
            made = self.work.peek(placeholder, thumb=thumb) if thumb is not None else None
            if made is None:
                if thumb is not None:
                    self.wanted.append((shot.ref, thumb))
                return ""
            known = self._keep(shot.ref, self.work.get(made))
        return known

    def _keep(self, ref: str, colours: bytes) -> str:
        if len(self.placeholders) >= PLACEHOLDERS_MAX:
            self.placeholders.clear()
        text = self.placeholders[ref] = packed(colours)
        return text

    def _tint(self, ref: str, thumb: Ref) -> None:
        self.wanted.append((ref, thumb))
        self.work_off()

    def work_off(self) -> None:
        """Make the placeholders that are wanted, one at a time, in the background; and best encodings when idle."""
        if self.warming is None:
            self.warming = asyncio.get_running_loop().run_in_executor(None, self._warm)
        if self.polish_after_s and self.polishing is None:
            self.polishing = asyncio.ensure_future(self._polish())
        if self.wanted and (self.tinting is None or self.tinting.done()):
            self.tinting = asyncio.ensure_future(self._make_placeholders())

    def _warm(self) -> None:
        """Load what placeholders are made with, and look at the code of the boxes.

        Both take 10 ms and more the first time, and a box is looked at again when a library it reads was loaded since:
        here it is nobody's answer that waits for it.
        """
        import PIL.Image
        import PIL.WebPImagePlugin

        PIL.Image.preinit()  # as `open` does before it looks at anything; the boxes read some of what it loads
        for box in (thumbnail, mezzanine, placeholder):
            with contextlib.suppress(errors.BoxworkError):  # whoever uses it is told
                self.work.peek(box, b"")

    async def _make_placeholders(self) -> None:
        if self.warming is not None:
            await self.warming
        while self.wanted:
            ref, thumb = self.wanted.pop()
            if ref in self.placeholders:
                continue
            try:
                made = await asyncio.wrap_future(self.work.submit(placeholder, thumb=thumb))
                self._keep(ref, self.work.get(made))
            except errors.BoxworkError:
                self.placeholders[ref] = ""  # not again in this life of the process

    def _rest_s(self) -> float:
        """How long there has to be quiet yet: nobody scrolls, and nothing is being developed."""
        if self.darkroom.running or self.darkroom.stack:
            return self.polish_after_s
        return self.polish_after_s - self._since_s(self.wished_ns)

    def _since_s(self, began_ns: int) -> float:
        passed_ns: int = self.work.clock.monotonic_ns() - began_ns
        return passed_ns / 1e9

    async def _quiet(self) -> None:
        while (rest_s := self._rest_s()) > 0:
            await asyncio.sleep(rest_s)

    async def _polish(self) -> None:
        """For as long as the server runs: the best encoding of what the gallery shows, while nobody waits.

        One at a time, and as long a pause after each as it took: a laptop on a knee stays cool.  Whoever scrolls puts
        it off: half a processor is what a page takes to be in time on a small machine.
        """
        done = (0, 0)
        while True:
            await asyncio.sleep(self.polish_after_s)
            now = (self.album.version, self.darkroom.begun)
            shots = self.album.shots if now != done else ()
            for first in range(0, len(shots), POLISH_LOOKS):
                await self._quiet()
                began_ns = self.work.clock.monotonic_ns()
                found = await anyio.to_thread.run_sync(self._unpolished, shots[first : first + POLISH_LOOKS])
                await asyncio.sleep(self._since_s(began_ns))
                for ref in found:
                    await self._quiet()
                    began_ns = self.work.clock.monotonic_ns()
                    with contextlib.suppress(errors.BoxworkError):
                        await asyncio.wrap_future(self.work.submit(thumbnail, photo=ref, **BEST))
                    await asyncio.sleep(self._since_s(began_ns))
            done = now

    def _unpolished(self, shots: tuple[Shot, ...]) -> list[Ref]:
        """Those of them that are shown and have no best encoding yet.  Runs in a thread: 0.1 ms for each."""
        refs = [Ref(shot.ref) for shot in shots]
        return [
            ref
            for ref in refs
            if self.work.peek(thumbnail, photo=ref, **SHOWN.inputs()) is not None
            and self.work.peek(thumbnail, photo=ref, **BEST) is None
        ]
