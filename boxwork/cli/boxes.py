"""Commands that derive: derive, why, audit, boxes."""

from __future__ import annotations

import importlib
import inspect
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cyclopts import App

from boxwork.app.work import Work
from boxwork.box import Derivation
from boxwork.cli.program import Context
from boxwork.derive.audit import Auditor
from boxwork.derive.explain import Why
from boxwork.derive.handles import File
from boxwork.errors import BadInput
from boxwork.keys import PREFIX, Ref
from boxwork.pack import Pack
from boxwork.transactions import Transaction


def register(app: App, context: Context) -> None:
    """Add the commands of this file."""
    output = context.output

    @app.command
    def derive(box: str, *inputs: str) -> None:
        """Run a box, or remember: prints the ref of its output.

        Parameters
        ----------
        box: the name of a box (see `boxwork boxes`), or module:function of your own
        inputs: name=value. A value is JSON (dpi=150, mode='"fast"'), a word (mode=fast), sha256:… for kept bytes,
            @path for the bytes of a file, or file:path for a file that the box reads by itself
        """
        with context.work() as work:
            target = find_box(work, box)
            given = dict(input_of(target, pair) for pair in inputs)
            remembered = work.peek(target, **given)
            ref = remembered or work.derive(target, **given)
            miss = None if remembered else work.last_miss(target)
            output.say("remembered" if remembered else f"computed ({miss})")
            output.answer({"ref": ref, "remembered": bool(remembered), "miss": str(miss) if miss else None}, ref)

    @app.command
    def why(name: str) -> None:
        """Say where an output comes from: function, inputs, files, versions, duration, lineage, and why it ran.

        Parameters
        ----------
        name: the ref of an output (sha256:…), or a key (64 hexadecimal digits)
        """
        with context.work(must_exist=True) as work:
            found = work.why(name)
        output.answer(found.as_json(), "\n".join(_lines(found)))

    @app.command
    def audit(*names: str, share: float = 0.05, seed: int = 0) -> int:
        """Run a share of the remembered derivations again and name the boxes that answer differently.

        Parameters
        ----------
        names: boxes, as for `derive`; without any, those of all packs
        share: of the remembered calls, from 0 to 1
        seed: decides which calls
        """
        with context.work(must_exist=True) as work:
            chosen = [find_box(work, name) for name in names] or list(work.boxes.values())
            report = Auditor(work.node.deriver, chosen).audit(share, seed=seed)
        for finding in report.findings:
            output.say(str(finding))
        for reason, count in report.skipped.items():
            output.say(f"{count} calls were left out: {reason}")
        output.answer(
            {"compared": report.compared, "not_deterministic": report.unsteady, "skipped": report.skipped},
            f"{report.compared.total()} outputs derived again: "
            + (f"not deterministic: {', '.join(report.unsteady)}" if report.findings else "all the same"),
        )
        return 1 if report.findings else 0

    @app.command
    def boxes() -> None:
        """List the boxes of all packs with their inputs."""
        with context.work() as work:
            output.table(
                ["box", "inputs", "about"],
                (
                    {"box": name, "inputs": signature(box), "about": (box.__doc__ or "").strip().split("\n")[0]}
                    for name, box in sorted(work.boxes.items())
                ),
                "no boxes",
            )


def find_box(work: Work, name: str) -> Derivation[..., Any]:
    """A box by its name in a pack, or by `module:function`; the working directory is looked in."""
    if ":" not in name:
        found = work._box(name)
        if isinstance(found, Derivation):
            return found
        raise BadInput(f"{name!r} is no box of a pack")
    value = imported(name)
    if not isinstance(value, Derivation):
        raise BadInput(f"{name!r} is {type(value).__name__}, not a box: put @derivation above it")
    return value


def imported(name: str) -> Any:
    """What stands at `module:function`; the working directory is looked in."""
    module, _, attribute = name.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        value: Any = importlib.import_module(module.removesuffix(".py").replace("/", "."))
        for part in attribute.split("."):
            value = getattr(value, part)
    except (ImportError, AttributeError) as reason:
        raise BadInput(f"{name!r} cannot be found: {reason}; give module:function, as in mybox:shout") from reason
    return value


def own_pack(modules: Sequence[str]) -> Pack:
    """The derivations and transactions that stand in these modules, as a pack; the working directory is looked in."""
    derivations: dict[str, Derivation[..., Any]] = {}
    transactions: dict[str, Transaction[..., Any]] = {}
    for name in modules:
        if os.getcwd() not in sys.path:
            sys.path.insert(0, os.getcwd())
        try:
            values = list(vars(importlib.import_module(name.removesuffix(".py").replace("/", "."))).values())
        except ImportError as reason:
            raise BadInput(f"--boxes {name}: {reason}; give modules that can be imported") from reason
        found = {value.name: value for value in values if isinstance(value, (Derivation, Transaction))}
        if not found:
            raise BadInput(f"--boxes {name}: no @derivation and no @transaction stands in this module", module=name)
        derivations.update((name, box) for name, box in found.items() if isinstance(box, Derivation))
        transactions.update((name, box) for name, box in found.items() if isinstance(box, Transaction))
    return Pack(
        "own",
        f"Boxes of {', '.join(modules)}.",
        boxes=tuple(derivations.values()),
        transactions=tuple(transactions.values()),
    )


def input_of(box: Derivation[..., Any] | Transaction[..., Any], pair: str) -> tuple[str, Any]:
    """Name and value of one input of a box or a transaction, as it is typed: name=value."""
    name, equals, text = pair.partition("=")
    if not equals:
        raise BadInput(f"{pair!r}: write an input as name=value; {box.name} takes {signature(box)}")
    if text.startswith("@"):
        try:
            return name, Path(text[1:]).expanduser().read_bytes()
        except OSError as reason:
            raise BadInput(f"{name}={text}: the file cannot be read ({reason.strerror})") from reason
    if text.startswith("file:") and isinstance(box, Derivation):
        return name, File(Path(text[5:]).expanduser())
    if text.startswith(PREFIX):
        return name, Ref.parse(text)
    try:
        return name, json.loads(text)
    except json.JSONDecodeError:
        return name, text


def signature(box: Derivation[..., Any] | Transaction[..., Any]) -> str:
    """The inputs of a box or a transaction, as they are declared; `tx` is not one of them."""
    parameters = list(inspect.signature(box.function).parameters.values())
    return ", ".join(map(str, parameters[isinstance(box, Transaction) :]))


def _lines(why: Why, indent: str = "") -> list[str]:
    told = why.as_json()
    lines = [
        f"{indent}{told['output']['ref']}",
        f"{indent}  {told['output']['type']} of {told['output']['bytes']} bytes, by {told['box']}"
        f" in {told['duration_ms']:.2f} ms at {told['at']} ({told['worker']})",
        f"{indent}  key       {told['key']}",
        *(f"{indent}  input     {name} = {text}" for name, text in told["inputs"].items()),
        *(f"{indent}  file      {name}" for name in told["files"]),
        *(f"{indent}  version   {name}" for name in told["versions"]),
        *(f"{indent}  code      {name}" for name in told["code"]),
        f"{indent}  ran as    {told['miss']}",
    ]
    for below in why.lineage:
        lines += [f"{indent}  derived from", *_lines(below, indent + "    ")]
    return lines
