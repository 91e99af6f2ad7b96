"""Write the reference pages that the code already knows: docs/settings.md, docs/errors.md, docs/hops.md.

    make docs-tables

Nobody edits those pages; a test compares them with what this script would write.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from boxwork import errors
from boxwork.pack import find_packs
from boxwork.settings import GiB, KiB, MiB, Setting, Value

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "boxwork"
NOTE = "<!-- Written by docs/_generate.py (`make docs-tables`); do not edit. -->\n"


def pages() -> dict[Path, str]:
    """Every generated page with its text."""
    return {
        ROOT / "docs" / "settings.md": settings_page(),
        ROOT / "docs" / "errors.md": errors_page(),
        ROOT / "docs" / "hops.md": hops_page(),
    }


# --- settings


def declared_settings() -> dict[str, list[Setting]]:
    """Module name -> the settings written in it; those of a pack stand in its `PACK`, wherever it keeps them."""
    found: dict[str, list[Setting]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.is_relative_to(PACKAGE / "packs"):
            continue
        tree = ast.parse(path.read_text("utf-8"))
        targets = [n.target for n in tree.body if isinstance(n, ast.AnnAssign)]
        targets += [target for n in tree.body if isinstance(n, ast.Assign) for target in n.targets]
        if any(isinstance(target, ast.Name) and target.id == "SETTINGS" for target in targets):
            name = module_name(path)
            found[name] = list(importlib.import_module(name).SETTINGS)
    for pack in find_packs():
        if pack.settings:
            found[f"boxwork.packs.{pack.name}"] = list(pack.settings)
    return found


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def spelled(value: Value, unit: str) -> str:
    """A default as a person would say it: 65,536 bytes is 64 KiB."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f"`{value}`" if value else "empty"
    if unit == "bytes" and value:
        for name, size in (("GiB", GiB), ("MiB", MiB), ("KiB", KiB)):
            if value % size == 0:
                return f"{value // size:,} {name}"
    return f"{value:,} {unit}" if unit else str(value)


def settings_page() -> str:
    out = [
        NOTE,
        "# Settings\n",
        "Every setting has a default that is meant to be right; change one when you know why.  What counts, from weak"
        "\nto strong: the default, `boxwork.toml` in the data directory, the environment, a flag of the command.\n",
        "```toml\n# data/boxwork.toml\n[content]\ninline_bytes_max = 16384\n```\n",
        "```sh\nBOXWORK_CONTENT_INLINE_BYTES_MAX=16384 boxwork up\n```\n",
        "A name that does not exist, or a value of the wrong kind, is refused at start with what was expected.\n",
    ]
    groups: dict[str, list[Setting]] = {}
    for rows in declared_settings().values():
        for row in rows:
            groups.setdefault(row.name.split(".")[0], []).append(row)
    for group in sorted(groups):
        out.append(f"## {group}\n")
        out.append("| setting | default | why |\n|---|---|---|")
        out.extend(
            f"| `{row.name}` | {spelled(row.default, row.unit)} | {cell(row.reason)} |"
            for row in sorted(groups[group], key=lambda row: row.name)
        )
        out.append("")
    return "\n".join(out)


# --- errors


def error_classes() -> list[type[errors.BoxworkError]]:
    """The tree in the order of the source."""
    return [
        kind
        for kind in vars(errors).values()
        if inspect.isclass(kind) and issubclass(kind, errors.BoxworkError) and kind.__module__ == errors.__name__
    ]


def drawn_tree() -> dict[str, tuple[str, str]]:
    """Class name -> (parent, meaning), read from the drawing at the top of errors.py."""
    rows: dict[str, tuple[str, str]] = {}
    path: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        bare = line.lstrip(" │├└─")
        words = bare.split(None, 1)
        drawn = line != bare and words and words[0].isidentifier() and words[0][:1].isupper()
        if not drawn or not (line.startswith("    ")):
            continue
        depth = len(line) - len(bare)
        while path and path[-1][0] >= depth:
            path.pop()
        rows[words[0]] = (path[-1][1] if path else "", words[1] if len(words) > 1 else "")
        path.append((depth, words[0]))
    return rows


RETRY = {
    "never": "the same call gives the same answer",
    "now": "ask again at once",
    "later": "ask again after a pause",
    "unknown": "nobody can say",
}


def errors_page() -> str:
    drawing = drawn_tree()
    out = [
        NOTE,
        "# Errors\n",
        "Everything Boxwork refuses or fails at is one of these.  In Python they are classes of `boxwork.errors`; over"
        "\nHTTP and with `--json` they have one shape:\n",
        '```json\n{"error": "input.ref", "message": "…", "retry": "never", "details": {"ref": "…"}}\n```\n',
        "`error` is stable, branch on it; `message` is for people and says what to do.  `retry` says whether the same"
        "\ncall can work: " + "; ".join(f"*{word}*, {meaning}" for word, meaning in RETRY.items()) + ".\n",
        "| class | code | HTTP | retry | meaning |\n|---|---|---|---|---|",
    ]
    for kind in error_classes():
        depth = len(kind.__mro__) - len(errors.BoxworkError.__mro__)
        meaning = drawing.get(kind.__name__, ("", ""))[1] or "the root of the tree"
        out.append(
            f"| {'· ' * depth}`{kind.__name__}` | `{kind.code}` | {kind.status} | {kind.retry} | {cell(meaning)} |"
        )
    out.append("\n`InvariantBroken` stands outside the tree: it is a bug of ours, and no handler should swallow it.\n")
    return "\n".join(out)


# --- hops


@dataclass(frozen=True, order=True)
class Hop:
    name: str
    module: str
    labels: tuple[str, ...]


def hops() -> list[Hop]:
    """Every series that the source records, found by reading it.

    A name is the literal first argument of `.series(…)`, or of a function with a parameter `hop` that hands it on.
    """
    found: set[Hop] = set()
    for path in sorted(PACKAGE.rglob("*.py")):
        module = module_name(path)
        tree = ast.parse(path.read_text("utf-8"))
        handing_on = dict(_handing_on(tree))
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            name = _called(call)
            literal = next(
                (a.value for a in call.args if isinstance(a, ast.Constant) and isinstance(a.value, str)), None
            )
            if literal is None:
                continue
            if name == "series":
                found.add(Hop(literal, module, _labels(call)))
            elif name in handing_on:
                found.add(Hop(literal, module, handing_on[name]))
    return sorted(found)


def _handing_on(tree: ast.Module) -> Iterator[tuple[str, tuple[str, ...]]]:
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef) and any(a.arg == "hop" for a in function.args.args):
            for call in ast.walk(function):
                if isinstance(call, ast.Call) and _called(call) == "series":
                    yield function.name, _labels(call)


def _called(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def _labels(call: ast.Call) -> tuple[str, ...]:
    return tuple(sorted(k.arg for k in call.keywords if k.arg and k.arg not in {"interval_seconds", "unit"}))


def hops_page() -> str:
    out = [
        NOTE,
        "# Hops\n",
        "A hop is one timed step.  Each is recorded as a live histogram, in nanoseconds unless its name says otherwise;"
        "\n`work.pulse.series(name, **labels)` answers with it, and `/metrics` shows all of them.\n",
        "| hop | labels | recorded in |\n|---|---|---|",
    ]
    out.extend(
        f"| `{hop.name}` | {', '.join(f'`{label}`' for label in hop.labels) or '–'} | `{hop.module}` |"
        for hop in hops()
    )
    return "\n".join(out) + "\n"


def cell(text: str) -> str:
    """Text for a table: one line, and no bar that would end the cell."""
    return " ".join(text.split()).replace("|", "\\|")


def main() -> None:
    for path, text in pages().items():
        if not path.exists() or path.read_text("utf-8") != text:
            path.write_text(text, "utf-8")
            sys.stdout.write(f"wrote {path.relative_to(ROOT)}\n")


if __name__ == "__main__":
    main()
