"""The command group `boxwork scans`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from boxwork import errors

SAMPLES = "samples"


def commands(context: Any) -> App:
    """`boxwork scans …`; `context` is the command line's: data directory, output, flags."""
    app = App(name="scans", help="Scans of rooms: from USDZ to GLB with nothing lost silently, and measured.")
    _add_deriving(app, context)
    _add_keeping(app, context)
    return app


def _add_deriving(app: App, context: Any) -> None:
    output = context.output

    @app.command
    def convert(
        file: Path,
        *,
        out: Annotated[Path | None, Parameter(alias="-o")] = None,
        profile: str = "gltf",
        strict: Annotated[bool, Parameter(negative="")] = False,
    ) -> int:
        """Make a GLB of a USDZ, USDC or USDA, and say what did not come along.

        Parameters
        ----------
        file: the scan
        out: where the GLB goes; beside the scan if it is not said
        profile: gltf, or unity for Unity's glTFast
        strict: exit with 1 if anything did not come along
        """
        needs()
        target = out or file.with_suffix(".glb")
        with context.work() as work:
            shelf = work.part("scans")
            scan = _taken(work, shelf, file)
            made = shelf.glb(scan, profile)
            report = json.loads(work.get(shelf.report(scan, profile)))
            write(target, work.get(made))
        output.answer({"glb": str(made), "file": str(target), **report}, wording(target, report))
        return 1 if strict and report["lost"] else 0

    @app.command
    def measure(file: Path, *, csv: Annotated[bool, Parameter(negative="")] = False) -> None:
        """Measure a scan: walls, openings, areas, heights, volumes, each with its interval.

        Parameters
        ----------
        file: the scan
        csv: as CSV, one value a row
        """
        from boxwork.packs.scans.measuring import rows_of

        needs()
        with context.work() as work:
            shelf = work.part("scans")
            scan = _taken(work, shelf, file)
            if csv:
                table = work.get(shelf.table(scan)).decode()
                output.answer({"csv": table}, table.rstrip("\n"))
                return
            found = json.loads(work.get(shelf.measures(scan)))
        if output.as_json:
            output.answer(found)
            return
        rows = [
            {"what": what, "measure": name, "value": f"{value:.3f} ± {doubt:.3f} {unit}", "how": how}
            for what, name, value, doubt, unit, how, _ in rows_of(found)
        ]
        output.table(["what", "measure", "value", "how"], rows)
        for check in found["checks"]:
            output.say(f"note: {check}")


def _add_keeping(app: App, context: Any) -> None:
    output = context.output

    @app.command
    def add(*files: Path) -> None:
        """Keep scans; they are on the page /scans then.

        Parameters
        ----------
        files: USDZ, USDC or USDA
        """
        if not files:
            raise errors.BadInput("give the files to add: boxwork scans add flat.usdz")
        with context.work() as work:
            for file in files:
                scan = work.part("scans").take(readable(file), file.name)
                output.answer({"name": scan.name, "ref": str(scan.ref), "bytes": scan.bytes}, f"{scan.name} {scan.ref}")

    @app.command(name="list")
    def list_() -> None:
        """List the scans, the newest first."""
        with context.work(must_exist=True) as work:
            rows = [
                {"name": one.name, "bytes": one.bytes, "where": one.where, "ref": str(one.ref)}
                for one in work.part("scans").listed()
            ]
        output.table(["name", "bytes", "where", "ref"], rows, "no scan yet: boxwork scans add FILE")

    @app.command
    def sample(folder: Path = Path(SAMPLES)) -> None:
        """Write made-up scans to try things with: a flat as RoomPlan has it, and a room as a noisy mesh.

        Parameters
        ----------
        folder: where they go
        """
        from boxwork.packs.scans.sample import write_samples

        needs()
        made = write_samples(folder)
        output.answer({"files": [str(one) for one in made]}, "\n".join(str(one) for one in made))


def _taken(work: Any, shelf: Any, file: Path) -> Any:
    path = readable(file)
    size = path.stat().st_size
    if size > shelf.bytes_max:
        raise errors.TooLarge(f"{file} has {size:,} bytes; the limit is {shelf.bytes_max:,} (setting scans.bytes_max)")
    # for one answer: kept like other inputs of derivations, and not in the list
    return work.put(path, durable=False)


def readable(file: Path) -> Path:
    if not file.is_file():
        raise errors.NotFound(f"there is no file {str(file)!r}")
    return file


def write(target: Path, data: bytes) -> None:
    """The whole file or none of it."""
    beside = target.with_name(f".{target.name}.part")
    try:
        beside.write_bytes(data)
        beside.replace(target)
    except OSError as fault:
        beside.unlink(missing_ok=True)
        raise errors.BadInput(f"{target} cannot be written: {fault.strerror or fault}") from None


def needs() -> None:
    """Raises `BadInput` that says what to install, where the extra is not there."""
    import importlib.util

    from boxwork.packs.scans.package import NEEDED

    if any(importlib.util.find_spec(name) is None for name in ("pxr", "pygltflib", "mapbox_earcut", "PIL")):
        raise errors.BadInput(NEEDED)


def wording(target: Path, report: dict[str, Any]) -> str:
    """The report for a person."""
    holds = report["holds"]
    lines = [
        f"{target}: {holds['triangles']:,} triangles, {holds['materials']} materials, {holds['pictures']} pictures,"
        f" {holds['nodes']} nodes"
    ]
    for title, entries in (("lost", report["lost"]), ("changed", report["changed"])):
        lines += [f"{title}: {one['count']} x {one['what']}: {one['why']} ({one['paths'][0]})" for one in entries]
    if not report["lost"]:
        lines.append("nothing was lost")
    return "\n".join(lines)
