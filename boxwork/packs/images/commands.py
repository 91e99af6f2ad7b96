"""The command group `boxwork images`."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from boxwork import errors

# Between two looks at the log of a step that runs.  Unit: s.  A person does not notice it; a look costs 30 us.
LOOK_S = 0.1


def commands(context: Any) -> App:
    """`boxwork images …`; `context` is the command line's: data directory, output, flags."""
    from boxwork.packs.images import boot_commands, drive_commands

    app = App(
        name="images", help="Operating system images: built once per dependency set, listed, compared, rolled back."
    )
    for register in (_building, _reading, _deciding, _giving, boot_commands.register, drive_commands.register):
        register(app, context)
    return app


def _building(app: App, context: Any) -> None:
    """Commands that build."""
    from boxwork.packs.images.watching import Narrator
    from boxwork.packs.images.workshop import Workshop

    output = context.output

    @app.command
    def build(recipe: str, *, fresh: Annotated[bool, Parameter(negative="")] = False, reason: str = "") -> None:
        """Build an image, if anything it depends on is not what it was; shows the log of what runs.

        Parameters
        ----------
        recipe: the file of a recipe, or the name of an image that was built from one
        fresh: fetch the package indices, whatever their age
        reason: why, for the log; a difference of packages is found by itself
        """
        with context.work() as work:
            narrator = Narrator(work, output, threading.Event())
            builder = Workshop(work).builder
            with narrator:
                built = builder.build_named(
                    recipe, who=context.user, reason=reason, age_s_max=0.0 if fresh else None, on_start=narrator.follow
                )
            _tell(output, built)

    @app.command
    def check() -> int:
        """Look at what every image depends on, and build a new version where something changed."""
        failed = 0
        with context.work(must_exist=True) as work:
            rows: list[dict[str, Any]] = []
            for name, found in Workshop(work).builder.check(who=context.user):
                if isinstance(found, errors.BoxworkError):
                    failed += 1
                    rows.append({"image": name, "version": "", "state": f"failed: {found.message}"})
                else:
                    rows.append({"image": name, "version": found.number, "state": "new" if found.new else "unchanged"})
            output.table(["image", "version", "state"], rows, "no image was built yet")
        return 1 if failed else 0


def _tell(output: Any, built: Any) -> None:
    steps = [{"kind": kind, "title": title, "state": state} for kind, title, state in built.steps]
    said = f"{built.name} version {built.number}" + ("" if built.new else ": nothing it depends on changed")
    about = {"name": built.name, "version": built.number, "new": built.new, "steps": steps}
    output.answer({**about, "tree": str(built.tree), "set": str(built.set)}, f"{said}\n{built.tree}")


def _reading(app: App, context: Any) -> None:
    """Commands that show images and their versions."""
    from boxwork.packs.images.workshop import Workshop

    output = context.output

    @app.command(name="list")
    def list_() -> None:
        """List the images."""
        with context.work(must_exist=True) as work:
            catalog = Workshop(work).catalog
            rows = [_row(catalog.version(name)) for name in catalog.names()]
            output.table(
                ["image", "version", "packages", "files", "size", "made", "reason"], rows, "no image was built yet"
            )

    @app.command
    def versions(name: str) -> None:
        """List the versions of an image, the newest first."""
        with context.work(must_exist=True) as work:
            rows = [
                {**_row(one), "counts": "✓" if one["current"] else ""} for one in Workshop(work).catalog.versions(name)
            ]
            output.table(["version", "counts", "packages", "files", "size", "made", "reason", "tree"], rows)

    @app.command
    def show(name: str, number: int = 0) -> None:
        """Show a version: its steps, its refs, its packages.  Without a number the one that counts."""
        with context.work(must_exist=True) as work:
            from boxwork.packs.images.difference import packages_of

            version = Workshop(work).catalog.version(name, number)
            packages = packages_of(work.get(version["set"]))
            lines = [
                f"{name} version {version['number']}: {version['reason']}",
                f"tree {version['tree']}",
                f"set  {version['set']}",
            ]
            lines += [f"  {step['kind']:9} {step['title']}" for step in version["steps"]]
            lines += [f"  {package} {number}" for package, number in packages.items()]
            output.answer({**version, "package_versions": packages}, "\n".join(lines))

    @app.command
    def diff(name: str, before: int, after: int, *, files: Annotated[bool, Parameter(negative="")] = False) -> None:
        """Compare two versions package by package; with --files file by file as well."""
        from boxwork.packs.images.difference import files_between, packages_between

        with context.work(must_exist=True) as work:
            catalog = Workshop(work).catalog
            old, new = catalog.version(name, before), catalog.version(name, after)
            rows = [
                {"what": "package", "name": package, "before": was, "after": now}
                for package, was, now in packages_between(work.get(old["set"]), work.get(new["set"]))
            ]
            if files:
                rows += [
                    {"what": row["kind"], "name": row["path"], "before": row["before"], "after": row["after"]}
                    for row in files_between(work.tree(old["tree"]), work.tree(new["tree"]))
                ]
            output.table(
                ["what", "name", "before", "after"], rows, "the same packages" if not files else "nothing differs"
            )


def _deciding(app: App, context: Any) -> None:
    """Commands that decide which version counts and which are kept, and say what was decided and by whom."""
    from boxwork.packs.images.workshop import Workshop

    output = context.output

    @app.command
    def rollback(name: str, number: int = 0, *, reason: str = "") -> None:
        """Let an earlier version count: the one before, or the one of this number."""
        with context.work(must_exist=True) as work:
            before, now = Workshop(work).builder.rollback(name, number, who=context.user, reason=reason)
            output.answer({"name": name, "before": before, "now": now}, f"{name}: version {now} counts, {before} did")

    @app.command
    def prune(name: str, keep: int) -> None:
        """Forget all versions but the newest KEEP and the one that counts; `boxwork gc` then frees what they held."""
        with context.work(must_exist=True) as work:
            gone = Workshop(work).builder.prune(name, keep, who=context.user)
            output.answer({"name": name, "gone": gone}, f"{len(gone)} versions of {name} are forgotten")

    @app.command
    def log(name: str) -> None:
        """Show what happened to an image: released, rolled back, when, by whom, why."""
        with context.work(must_exist=True) as work:
            rows = [
                {"time": _time(at_ns), "what": what, "version": number, "who": who, "why": why}
                for at_ns, what, number, who, why in Workshop(work).catalog.log(name)
            ]
            output.table(["time", "what", "version", "who", "why"], rows, "nothing happened yet")

    @app.command
    def verify(name: str, number: int = 0, *, key: str = "") -> None:
        """Check the signature of a version with a public key (default: this node's)."""
        with context.work(must_exist=True) as work:
            workshop = Workshop(work)
            version = workshop.catalog.version(name, number)
            workshop.signer.verify(version, key)
            output.answer(
                {"name": name, "number": version["number"], "key": version["key"]},
                f"{name} version {version['number']} is signed by {version['key']}",
            )

    @app.command
    def key() -> None:
        """Print this node's public key: other nodes name it in images.peer_keys to believe what this one built."""
        with context.work() as work:
            public = Workshop(work).signer.public()
        output.answer({"key": public}, public)


def _giving(app: App, context: Any) -> None:
    """Commands that take a version out."""
    from boxwork.packs.images.workshop import Workshop

    output = context.output

    @app.command
    def export(name: str, target: Path, number: int = 0, *, form: str = "tar") -> None:
        """Write a version to a file or folder, after its signature was verified.

        Parameters
        ----------
        form: tar, squashfs, or oci (a folder that podman and skopeo read as oci:TARGET)
        """
        from boxwork.packs.images.exports import export as write

        with context.work(must_exist=True) as work:
            workshop = Workshop(work)
            version = workshop.catalog.version(name, number)
            workshop.signer.verify(version)
            path = write(work, version, form, target)
            output.answer({"path": str(path), "form": form, "version": version["number"]}, str(path))

    @app.command
    def publish(name: str, number: int = 0, *, tag: str = "") -> None:
        """Give a version to this node's registry as NAME:NUMBER and NAME:latest (or NAME:TAG)."""
        with context.work(must_exist=True) as work:
            made = Workshop(work).publish(name, number, tag)
            output.answer(made, f"{name}:{made['number']} {made['manifest']}")

    @app.command
    def sbom(name: str, number: int = 0) -> None:
        """Print the bill of materials of a version (CycloneDX, JSON)."""
        with context.work(must_exist=True) as work:
            text = Workshop(work).bill(name, number).decode()
            output.out.print(text, markup=False, highlight=False)


def _row(version: dict[str, Any]) -> dict[str, Any]:
    return {
        "image": version["name"], "version": version["number"], "packages": version["packages"],
        "files": version["files"], "size": f"{version['bytes'] / 1e6:,.0f} MB", "made": _time(version["at_ns"]),
        "reason": version["reason"], "tree": version["tree"],
    }  # fmt: skip


def _time(at_ns: int) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(at_ns / 1e9, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
