"""When a name with an effect is harmless after all: what the arguments of its calls say.

`open(path)` is fine when `path` is an input whose content is in the key, and when it is a constant that the box
declares; `os.environ["TZ"]` when the box declares `TZ`; `random.Random(seed)` with a seed.  A helper that opens
what it is given is judged at its callers.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import types
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from boxwork.derive.calls import PATH_METHODS, PATH_ONLY_METHODS, TEMPORARY, Argument, Call
from boxwork.derive.effects import EFFECTS, Effect, effect_of

if TYPE_CHECKING:
    from boxwork.derive.walk import Scope, Walk

# Annotations of parameters that bring their content into the key, by the name of the class.
CONTENT = frozenset(
    {"File", "Blob", "Tree", "Ref", "bytes", "bytearray", "memoryview", "BytesIO", "ndarray", "BinaryIO"}
)
# Functions that only look at the text of a path, or show it.
_TEXT_ONLY = frozenset(
    {
        "Path",
        "PurePath",
        "str",
        "repr",
        "print",
        "len",
        "join",
        "basename",
        "dirname",
        "abspath",
        "splitext",
        "split",
        "debug",
        "info",
        "warning",
        "error",
        "exception",
        "isinstance",
        "ValueError",
        "warn",
        "fspath",
        "relpath",
        "File",
    }
)
_WRITING = frozenset("wax")
_UNKNOWN: Argument = ("other",)


class Need:
    """A helper asks its callers: these parameters of mine name a file, a variable or an attribute."""

    __slots__ = ("effect", "name", "parameters")

    def __init__(self, effect: Effect, name: str, parameters: frozenset[str]) -> None:
        self.effect = effect
        self.name = name
        self.parameters = parameters


class Rules:
    def __init__(self, walk: Walk) -> None:
        self._walk = walk
        self.annotations: Mapping[str, Any] = {}
        self._needs: dict[str, list[Need]] = {}

    def apply(self, scope: Scope, name: str, chain: tuple[str, ...], value: object) -> None:
        """Judge every use of the object called `name`, which `scope` reads as `chain`."""
        effect = effect_of(name)
        if effect is None or self._walk.ignored(scope, name, name.removeprefix("builtins."), ".".join(chain)):
            return
        if effect.kind == "address" and scope.function.__name__ == "__hash__":
            return
        if effect.kind in {"zone", "locale"}:
            self._walk.ambient["time zone" if effect.kind == "zone" else "locale"] = None
            return
        if effect.kind == "address" and name == "builtins.id":
            self._walk.notes[f"{scope.label} uses id(): its output must not show it"] = None
            return
        if effect.kind not in {"moment", "environment", "file", "attribute", "seeded", "zoned", "path"}:
            self.refuse(scope, effect, name, chain)
            return
        for use in self.uses(scope, chain):
            self._judge(scope, effect, name, chain, use, value)

    def apply_methods(self, scope: Scope, chain: tuple[str, ...], value: object, rest: tuple[str, ...]) -> None:
        """Path methods on a global path, or on something made in the function."""
        if rest and isinstance(value, pathlib.PurePath):
            effect = effect_of(f"pathlib.Path.{rest[0]}")
            if effect is not None and not self._walk.ignored(scope, ".".join(chain), f"pathlib.Path.{rest[0]}"):
                self._path(scope, effect, ".".join(chain), chain, str(value))

    def passed_on(self, scope: Scope, name: str, chain: tuple[str, ...]) -> None:
        """A foreign module or class taken as a value: what is then loaded from it cannot be told from its name."""
        if scope.facts.calls is None:
            return
        if not any(call.form == "bare" and call.chain[1:] == chain for call in scope.facts.calls):
            return
        for attribute in sorted(scope.facts.attributes):
            effect = effect_of(f"{name}.{attribute}")
            if effect is not None and effect.kind not in {"zone", "zoned", "locale", "attribute", "file", "path"}:
                self.apply(scope, f"{name}.{attribute}", (*chain, attribute), None)

    def uses(self, scope: Scope, chain: tuple[str, ...]) -> list[Call]:
        """How `scope` uses a name.  Without its source, in a way nobody can follow."""
        calls = scope.facts.calls
        found = [call for call in calls or () if call.chain[1:] == chain and call.chain[0] != "@"]
        return found or [Call(("g", *chain), "bare", scope.function.__code__.co_firstlineno)]

    def refuse(
        self,
        scope: Scope,
        effect: Effect,
        name: str,
        chain: tuple[str, ...],
        declare: str = "",
        what: str = "",
        advice: str = "",
    ) -> None:
        short = name.removeprefix("builtins.")
        self._walk.refusals.add(
            scope.spot(".".join(chain)),
            short,
            what or f"{effect.what} ({short})",
            advice or effect.advice,
            scope.methods,
            declare,
        )

    def _judge(self, scope: Scope, effect: Effect, name: str, chain: tuple[str, ...], use: Call, value: object) -> None:
        kind = effect.kind
        if kind == "seeded":
            given = [*use.arguments, *use.keywords.values()]
            if use.form == "bare" and isinstance(value, type) and scope.facts.calls is not None:
                return  # the class as a type, in isinstance or an annotation
            if use.form != "call" or not (given or use.more) or all(one == ("const", "None") for one in given):
                self.refuse(scope, effect, name, chain)
        elif kind == "moment":
            if use.form != "call" or use.more or len(use.arguments) + len(use.keywords) < effect.argument:
                self.refuse(scope, effect, name, chain)
            self._walk.ambient["time zone"] = None
        elif kind == "zoned":
            zone = len(use.arguments) > 1 or "tz" in use.keywords
            if use.form != "call" or not zone or use.more:
                self._walk.ambient["time zone"] = None
        elif kind == "attribute":
            self._attribute(scope, effect, name, chain, use)
        elif kind == "environment":
            self._environment(scope, effect, name, chain, use)
        else:
            self._file(scope, effect, name, chain, use)

    # --- attributes by name ---

    def _attribute(self, scope: Scope, effect: Effect, name: str, chain: tuple[str, ...], use: Call) -> None:
        if name in {"operator.attrgetter", "operator.methodcaller"}:
            if use.form == "call" and use.arguments and use.arguments[0][0] == "const":
                self._walk.attributes.update(use.arguments[0][1].split("."))
            else:
                self.refuse(scope, effect, name, chain)
            return
        if name == "builtins.vars":
            if use.form != "call" or any(one[0] == "name" for one in use.arguments):
                self.refuse(scope, effect, name, chain)
            return
        if use.form != "call" or len(use.arguments) < 2 or use.more:
            self.refuse(scope, effect, name, chain)
            return
        owner, attribute = use.arguments[:2]
        if attribute[0] == "const":
            self._walk.attributes.add(attribute[1])
            if owner[0] == "name":
                kind = owner[1] if owner[1] in "gi" else "g"
                path = (*owner[2:], attribute[1])
                if kind == "g" and path[0] in scope.function.__code__.co_freevars:
                    kind = "c"
                self._walk.read(scope, (kind, path))
            return
        if owner[0] == "name":
            self.refuse(scope, effect, name, chain)
            return
        # The owner was made here or came in.  Any method of its class may be meant, and is in the key with the
        # class; what such a method reads must then be declared as if it were called.
        self._walk.attributes.add("*")

    # --- the environment ---

    def _environment(self, scope: Scope, effect: Effect, name: str, chain: tuple[str, ...], use: Call) -> None:
        accessor = name.rpartition(".")[2] in {"environ", "environb"} and use.form in {"item", "in"}
        getter = use.form == "call" and name.rpartition(".")[2] in {"get", "getenv", "__getitem__", "getenvb"}
        if not (accessor or getter) or not use.arguments:
            self.refuse(
                scope,
                effect,
                name,
                chain,
                what=f"reads the whole environment ({name})",
                advice="read the variables it needs by name",
            )
            return
        self._variable(scope, effect, name, chain, use.arguments[0])

    def _variable(self, scope: Scope, effect: Effect, name: str, chain: tuple[str, ...], argument: Argument) -> None:
        argument = self._fixed(scope, argument)
        if argument[0] == "const":
            if argument[1] not in scope.terms.env:
                self.refuse(
                    scope,
                    effect,
                    name,
                    chain,
                    f"env=[{argument[1]!r}]",
                    f"reads the environment variable {argument[1]}",
                    "pass its value as an input",
                )
        elif argument[0] == "input" and self._ask_callers(scope, effect, name, argument):
            return
        else:
            self.refuse(
                scope,
                effect,
                name,
                chain,
                what=f"reads an environment variable whose name is only known when it runs ({name})",
                advice="read it by its name, and declare it",
            )

    # --- files ---

    def _file(self, scope: Scope, effect: Effect, name: str, chain: tuple[str, ...], use: Call) -> None:
        if use.form != "call":
            self.refuse(scope, effect, name, chain)
            return
        path = (
            use.arguments[effect.argument]
            if len(use.arguments) > effect.argument
            else next((use.keywords[one] for one in effect.keywords if one in use.keywords), _UNKNOWN)
        )
        mode = use.arguments[1] if len(use.arguments) > 1 else use.keywords.get("mode", ("other",))
        if name.endswith("open") and mode[0] == "const" and _WRITING & set(mode[1]) and "+" not in mode[1]:
            self._walk.notes[f"{scope.label} writes a file: what it writes is not part of the output"] = None
            return
        if name in {"builtins.open", "io.open", "pathlib.Path.read_text", "codecs.open"}:
            self._walk.ambient["locale"] = None  # it decides the default encoding
        self._path_argument(scope, effect, name, chain, path)

    def _path_argument(self, scope: Scope, effect: Effect, name: str, chain: tuple[str, ...], path: Argument) -> None:
        if path[0] == "memory" or TEMPORARY in path[1:]:
            return
        path = self._fixed(scope, path)
        if path[0] == "const":
            self._path(scope, effect, name, chain, path[1])
            return
        if path[0] == "input":
            if scope.label.startswith("function "):
                if any(self._brings_content(one) for one in path[1:]):
                    return
                shown = " and ".join(path[1:])
                self.refuse(
                    scope,
                    effect,
                    name,
                    chain,
                    what=f"{effect.what} whose path comes in as {shown}"
                    f" ({name.removeprefix('builtins.')}), and a path says nothing of what lies there",
                    advice=f"annotate it as a file ({path[1]}: boxwork.File) and pass boxwork.File(path)",
                )
                return
            if self._ask_callers(scope, effect, name, path):
                return
        self.refuse(
            scope,
            effect,
            name,
            chain,
            what=f"{effect.what} whose path nobody can see ({name.removeprefix('builtins.')})",
            advice="give the path as a constant and declare it in files=[…], or pass boxwork.File(path)",
        )

    def _path(self, scope: Scope, effect: Effect, name: str, chain: tuple[str, ...], path: str) -> None:
        wanted = os.path.abspath(path)
        for declared in scope.terms.files:
            there = os.path.abspath(declared)
            if wanted == there or wanted.startswith(there + os.sep):
                return
        self.refuse(
            scope,
            effect,
            name,
            chain,
            f"files=[{path!r}]",
            f"{effect.what} at the fixed path {path!r}",
            "pass boxwork.File(path) as an input",
        )

    def _brings_content(self, parameter: str) -> bool:
        """Whether the annotation of a parameter of the box says that its content is in the key."""
        annotation = self.annotations.get(parameter)
        text = annotation if isinstance(annotation, str) else ""
        if not text:
            text = annotation.__qualname__ if isinstance(annotation, type) else str(annotation or "")
        words = text.replace("[", "|").replace(",", "|").split("|")
        return any(word.strip(" []'\"").rpartition(".")[2] in CONTENT for word in words)

    # --- between functions ---

    def _ask_callers(self, scope: Scope, effect: Effect, name: str, argument: Argument) -> bool:
        """Leave the question to whoever calls `scope`.  The box itself and methods have no caller one can see."""
        if scope.kind is not None or scope.label.startswith("function "):
            return False
        self._needs.setdefault(scope.label, []).append(Need(effect, name, frozenset(argument[1:])))
        return True

    def settle(self) -> None:
        """Judge the callers of helpers that left a question, until no new question arises."""
        answered: set[tuple[str, str, str, frozenset[str]]] = set()
        progress = True
        while progress:
            progress = False
            for scope in list(self._walk.scopes):
                for chain, label in list(scope.edges):
                    for need in list(self._needs.get(label, ())):
                        mark = (scope.label, label, need.name, need.parameters)
                        if mark not in answered:
                            answered.add(mark)
                            progress = True
                            self._settle_one(scope, chain, label, need)

    def _settle_one(self, scope: Scope, chain: tuple[str, ...], label: str, need: Need) -> None:
        callee = next(one for one in self._walk.scopes if one.label == label)
        name = f"{label.partition(' ')[2]} → {need.name.removeprefix('builtins.')}"
        if self._walk.ignored(scope, need.name, need.name.removeprefix("builtins."), ".".join(chain)):
            return
        for use in self.uses(scope, chain):
            if use.form != "call" or use.more:
                self.refuse(scope, need.effect, need.name, chain)
                continue
            given = dict(zip(callee.parameters, use.arguments, strict=False)) | use.keywords
            arguments = [given[one] for one in callee.parameters if one in need.parameters and one in given]
            if not arguments:
                for parameter in need.parameters:
                    self._settle_default(callee, scope, need, chain, parameter)
                continue
            good = [one for one in arguments if one[0] in {"input", "memory"}]
            if need.effect.kind == "environment":
                for one in arguments:
                    self._variable(scope, need.effect, name, chain, one)
            elif good:
                self._path_argument(
                    scope,
                    need.effect,
                    name,
                    chain,
                    ("input", *{x for g in good for x in g[1:]}) if all(g[0] == "input" for g in good) else ("memory",),
                )
            else:
                self._path_argument(scope, need.effect, name, chain, arguments[0])

    def _settle_default(self, callee: Scope, scope: Scope, need: Need, chain: tuple[str, ...], parameter: str) -> None:
        """The caller leaves the parameter out, so its default names the file or the variable."""
        function = callee.function
        names = function.__code__.co_varnames[: function.__code__.co_argcount]
        defaults = function.__defaults__ or ()
        held = dict(zip(reversed(names), reversed(defaults), strict=False)) | (function.__kwdefaults__ or {})
        default = held.get(parameter)
        argument: Argument = ("const", os.fspath(default)) if isinstance(default, (str, os.PathLike)) else _UNKNOWN
        if need.effect.kind == "environment":
            self._variable(scope, need.effect, need.name, chain, argument)
        elif default is not None:
            self._path_argument(scope, need.effect, need.name, chain, argument)

    def unnamed(self, scope: Scope, use: Call) -> None:
        """`Path("x").read_text()`: a path method on something made in the function."""
        name = f"pathlib.Path.{use.chain[1]}"
        effect = effect_of(name)
        if effect is None or use.chain[1] not in PATH_METHODS | PATH_ONLY_METHODS:
            self._texts(scope, use)
            return
        if self._walk.ignored(scope, name, use.chain[1]):
            return
        if use.chain[1] == "open" and len(use.arguments) > 1 and _WRITING & set(use.arguments[1][1]):
            return
        self._walk.ambient["locale"] = None
        self._path_argument(scope, effect, name, use.chain, use.arguments[0])

    def texts(self, scope: Scope, use: Call) -> None:
        """A call of a function that is not in the table, with a constant that is the path of a file: whatever it is,
        it may read that file."""
        last = use.chain[-1]
        helpers = {chain for chain, label in scope.edges if label.startswith("helper ")}
        if use.form != "call" or last in _TEXT_ONLY or use.chain[1:] in helpers:
            return
        self._texts(scope, use)

    def _texts(self, scope: Scope, use: Call) -> None:
        for one in (*use.arguments, *use.keywords.values()):
            if one[0] not in {"const", "name", "text"} or one[2:] == ("__file__",):
                continue
            text = self._fixed(scope, one)[1:]
            if text and _is_file(text[0]) and not self._walk.ignored(scope, use.chain[-1], ".".join(use.chain[1:])):
                effect = EFFECTS["builtins.open"]
                self._path(scope, effect, ".".join(use.chain[1:]), use.chain[1:], text[0])

    def _fixed(self, scope: Scope, argument: Argument) -> Argument:
        """A named or composed text as the constant it is now; other arguments unchanged."""
        if argument[0] not in {"name", "text"}:
            return argument
        held: object = None
        if argument[0] == "name":
            held = self._resolve(scope, argument)
        else:
            function = scope.function
            names = dict(function.__globals__)
            for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=False):
                with contextlib.suppress(ValueError):
                    names[name] = cell.cell_contents
            with contextlib.suppress(Exception):  # it would fail in the box just as well
                held = eval(argument[1], names)  # the box's own words: constants, names, and what joins paths
        return ("const", os.fspath(held)) if isinstance(held, (str, os.PathLike)) else _UNKNOWN

    def _resolve(self, scope: Scope, argument: Argument) -> object:
        """The value a described name stands for right now, if it is a simple one."""
        kind, first = argument[1:3]
        rest = argument[3:]
        function = scope.function
        value: Any = None
        if kind == "g" and first in function.__code__.co_freevars:
            cells = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=False))
            try:
                value = cells[first].cell_contents
            except ValueError:
                return None
        elif kind == "g":
            value = function.__globals__.get(first)
        for name in rest:
            value = getattr(value, name, None) if not isinstance(value, types.FunctionType) else None
        return value


# Longer texts are no paths.  Unit: characters; PATH_MAX of Linux.
_PATH_CHARACTERS_MAX = 4096


def _is_file(text: str) -> bool:
    if not 0 < len(text) < _PATH_CHARACTERS_MAX or ("/" not in text and "." not in text) or "\0" in text:
        return False
    return os.path.isfile(text)
